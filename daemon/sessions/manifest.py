"""session.json, Magellon's manifest of a session: read tolerantly, refused with every reason at once.

Only `msession` and `images` are required. What a program wrote oddly (a number that is none, an
unknown key of ours) is told in `warnings` and counts as unknown; what would name files wrongly or
hide images (unsafe, missing or repeated names, a broken tree) refuses the whole file.
"""

import json
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError

from daemon.config.acquisition import AcquisitionSettings, DarkSettings, DefectSettings, EerSettings, GainSettings
from daemon.config.problems import problem_from
from daemon.domain.names import name_problem
from daemon.errors import FileUnreadable, ManifestInvalid, Problem
from daemon.sessions.manifest_images import Findings, Json, ManifestImage, read_images
from daemon.sessions.quantities import is_zero

FILE_NAME = "session.json"
MOST_BYTES = 256 * 2**20
MOST_VALUES = 10_000_000
"""Commas and brackets, of which a session of 250,000 images has as many: each value costs memory beyond its bytes."""
_NEVER_TWICE = frozenset({"msession", "images", "children"})
_BLOCKS: Mapping[str, type[BaseModel]] = {
    "gain": GainSettings,
    "dark": DarkSettings,
    "defects": DefectSettings,
    "eer": EerSettings,
}


@dataclass(frozen=True)
class Manifest:
    """A whole session.json; images stand in the file's order, parents before children."""

    path: Path
    session_name: str | None
    session_oid: str | None
    acquisition: AcquisitionSettings
    """Elcano's own block, empty where there is none."""
    images: tuple[ManifestImage, ...]
    msession: Json
    project: Json
    metadata: Json
    warnings: tuple[str, ...]
    voltage_kv: float | None = None
    """What all images that give it agree on; what may differ from image to image is never inferred this way."""
    spherical_aberration_mm: float | None = None
    """Likewise."""


def find_manifest(raw_directory: Path) -> Path | None:
    """Return the session.json at the root of a raw directory, or None."""
    path = raw_directory / FILE_NAME
    return path if path.is_file() else None


def read_manifest(path: Path) -> Manifest:
    """Read a session.json. Raises FileUnreadable, or ManifestInvalid with every problem."""
    return parse_manifest(path, read_stored(path))


def parse_manifest(path: Path, stored: bytes) -> Manifest:
    """Understand what a session.json holds. Raises ManifestInvalid with every problem."""
    content, repeated = _parse_json(path, stored)
    if not isinstance(content, dict):
        raise ManifestInvalid(path, [Problem("top level", "is not a JSON object")])
    findings = Findings()
    for key, count in repeated.items():
        if key in _NEVER_TWICE:
            findings.refuse(key, "stands twice in one object, of which one would be lost")
        else:
            findings.note("file", key, f"stands {count + 1} times in one object, the last one counts")
    msession = _table(content, "msession", findings)
    if content.get("msession") is None:
        findings.refuse("msession", "is missing", "an object that describes the session")
    session_name = findings.text(msession, "name", "msession")
    if session_name is not None and (problem := name_problem(session_name)):
        findings.refuse("msession.name", f"{session_name[:120]!r} {problem}")
    images = content.get("images")
    if not isinstance(images, list):
        said = "is not a list" if "images" in content else "is missing"
        findings.refuse("images", said, "a list, empty at the start of a session")
    records = read_images(images if isinstance(images, list) else [], findings)
    acquisition = _read_acquisition(content.get("acquisition"), findings)
    if acquisition.pixel_size_ang is not None:
        findings.forget("pixel_size")
    project, metadata = _table(content, "project", findings), _table(content, "metadata", findings)
    if problems := findings.problems():
        raise ManifestInvalid(path, problems)
    return Manifest(
        path=path,
        session_name=session_name,
        session_oid=findings.text(msession, "oid", "msession"),
        acquisition=acquisition,
        images=records,
        msession=msession,
        project=project,
        metadata=metadata,
        warnings=findings.warnings(),
        voltage_kv=_agreed(image.voltage_kv for image in records),
        spherical_aberration_mm=_agreed(image.spherical_aberration_mm for image in records),
    )


def _agreed(values: Iterable[float | None]) -> float | None:
    different = {value for value in values if value is not None}
    return different.pop() if len(different) == 1 else None


def read_stored(path: Path) -> bytes:
    """Return the bytes of a session.json. Raises FileUnreadable, or ManifestInvalid for what is too large."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ManifestInvalid(path, [Problem("file", "is not an ordinary file")])
        if status.st_size > MOST_BYTES:
            said = f"has {status.st_size / 2**20:.0f} MiB, {MOST_BYTES // 2**20} MiB are allowed"
            raise ManifestInvalid(path, [Problem("file", said)])
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise FileUnreadable(path, error) from error


def _parse_json(path: Path, stored: bytes) -> tuple[Any, Counter[str]]:
    """Return what the file says, and which keys stood again in an object that had them (the last one counts)."""
    values = sum(stored.count(mark) for mark in (b",", b"[", b"{"))
    if values > MOST_VALUES:
        said = f"holds {values / 1e6:.0f} million values, {MOST_VALUES / 1e6:.0f} million are allowed"
        raise ManifestInvalid(path, [Problem("file", said)])
    repeated: Counter[str] = Counter()

    def make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # Also the moment at which the parser, which is C, lets other threads run.
        content = dict(pairs)
        if len(content) != len(pairs):
            repeated.update(Counter(key for key, _ in pairs) - Counter(content.keys()))
        return content

    try:
        # Python's own exporters write NaN where they know nothing.
        text = stored.decode("utf-8-sig")
        return json.loads(text, parse_constant=lambda _: None, object_pairs_hook=make_object), repeated
    except UnicodeDecodeError as error:
        raise ManifestInvalid(path, [Problem(f"byte {error.start}", "is not UTF-8 text")]) from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ManifestInvalid(path, [Problem(where, f"is not JSON: {error.msg}")]) from error
    except RecursionError as error:
        raise ManifestInvalid(path, [Problem("file", "is nested too deeply")]) from error
    except ValueError as error:
        raise ManifestInvalid(path, [Problem("file", f"holds a number that cannot be read: {error}")]) from error


def _table(content: Json, key: str, findings: Findings) -> Json:
    value = content.get(key)
    if isinstance(value, dict):
        return MappingProxyType(value)
    if value is not None:
        findings.refuse(key, "is not an object")
    return MappingProxyType({})


def _read_acquisition(block: Any, findings: Findings) -> AcquisitionSettings:
    """Read Elcano's own block: zero and null mean unknown, unknown keys are noted, wrong values are problems."""
    if block is None:
        return AcquisitionSettings()
    if not isinstance(block, dict):
        findings.refuse("acquisition", "is not an object")
        return AcquisitionSettings()
    known = {}
    for key, value in block.items():
        if key not in AcquisitionSettings.model_fields:
            findings.note("acquisition", key, "is not used by this version")
        elif key in _BLOCKS and isinstance(value, dict):
            known[key] = _known_part(key, value, findings)
        elif value is not None and not is_zero(value):
            known[key] = value
    try:
        return AcquisitionSettings.model_validate(known)
    except ValidationError as error:
        for item in error.errors():
            problem = problem_from(item, AcquisitionSettings, {})
            findings.refuse(f"acquisition.{problem.where}", problem.what, problem.hint)
        return AcquisitionSettings()


def _known_part(key: str, part: Json, findings: Findings) -> dict[str, Any]:
    fields = _BLOCKS[key].model_fields
    for name in part:
        if name not in fields:
            findings.note("acquisition", f"{key}.{name}", "is not used by this version")
    return {name: value for name, value in part.items() if name in fields and value is not None}
