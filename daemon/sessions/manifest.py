"""session.json, Magellon's manifest of a session: read tolerantly, refused with every reason at once.

Nothing in it is required: a file written by hand may hold only how the movies were taken, under `acquisition` or, with
nothing else, at the top level. What a program wrote oddly (a number that is none, an unknown key of ours) is told in
`warnings` and counts as unknown; what would name files wrongly or hide images (unsafe, missing or repeated names, a
broken tree) refuses the whole file, and so does a file in which nothing is known: it is some other program's.
"""

import difflib
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
from daemon.sessions.json_mistakes import explain_json
from daemon.sessions.manifest_images import Findings, Json, ManifestImage, read_images
from daemon.sessions.quantities import is_zero

FILE_NAME = "session.json"
MOST_BYTES = 256 * 2**20
MOST_VALUES = 10_000_000
"""Commas and brackets, of which a session of 250,000 images has as many: each value costs memory beyond its bytes."""
OF_MANIFEST = "manifest"
"""Key of the facts of a session that hold what its session.json says of it as a whole."""
NOT_USED = "is not used"
"""What is said of a key that nobody reads; also the key of the facts of a session that hold all of these."""
_LONGEST_FACT = 200
_MOST_FACTS = 20
_NEVER_TWICE = frozenset({"msession", "images", "children"})
_MAY_BE_ZERO = frozenset({"spherical_aberration_mm", "amplitude_contrast"})
"""A corrected lens has no aberration, and contrast may be of phase alone. A text of zero is an exporter's unknown."""
_PARTS = frozenset({"msession", "images", "acquisition", "project", "metadata"})
_SPOKEN_KEYS: Mapping[str, str] = {
    "kv": "voltage_kv",
    "voltage": "voltage_kv",
    "cs": "spherical_aberration_mm",
    "apix": "pixel_size_ang",
    "pixel": "pixel_size_ang",
    "dose": "dose_per_frame_e_per_ang2 (or total_dose_e_per_ang2)",
}
"""What people call our keys, as far as spelling does not lead there."""
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


def describe_manifest(manifest: Manifest) -> dict[str, str]:
    """Return what a manifest says of the session as a whole: its ids and names, and the project's, short texts only."""
    facts = {f"project.{key}": value for key, value in manifest.project.items()} | {
        f"session.{key}": value for key, value in manifest.msession.items()
    }
    said = {key: str(value)[:_LONGEST_FACT] for key, value in facts.items() if isinstance(value, str | int) and value}
    return dict(list(said.items())[:_MOST_FACTS])


def unused_keys(manifest: Manifest) -> list[str]:
    """Return what a manifest says of its keys that are not used, each with the key that was probably meant."""
    said = (warning.partition(": ")[2] for warning in manifest.warnings)
    return [each[:_LONGEST_FACT] for each in said if NOT_USED in each][:_MOST_FACTS]


def project_of(facts: Mapping[str, str]) -> str:
    """Return what people call the project above a session, by `describe_manifest`; empty where nobody has said."""
    keys = ("project.name", "project.title", "project.alias", "project.oid", "project.id", "session.project_id")
    return next((facts[key] for key in keys if key in facts), "")


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
    session_name = findings.text(msession, "name", "msession")
    if session_name is not None and (problem := name_problem(session_name)):
        findings.refuse("msession.name", f"{session_name[:120]!r} {problem}")
    # The id stands in queries, subjects and messages of every other session's import too.
    session_oid = findings.text(msession, "oid", "msession")
    if session_oid is not None and (problem := name_problem(session_oid)):
        findings.refuse("msession.oid", f"{session_oid[:120]!r} {problem}")
    images = content.get("images")
    if images is not None and not isinstance(images, list):
        findings.refuse("images", "is not a list", "leave it out, or give a list, empty at the start of a session")
    records = read_images(images if isinstance(images, list) else [], findings)
    acquisition = _read_acquisition(_acquisition_block(content, findings), findings)
    if acquisition.pixel_size_ang is not None:
        findings.forget("pixel_size")
    project, metadata = _table(content, "project", findings), _table(content, "metadata", findings)
    if problems := findings.problems():
        raise ManifestInvalid(path, problems)
    return Manifest(
        path=path,
        session_name=session_name,
        session_oid=session_oid,
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
        raise ManifestInvalid(path, [explain_json(error)]) from error
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


def _acquisition_block(content: Json, findings: Findings) -> Any:
    """Return what the file says of how the movies were taken: its block, or the file itself where it is only that."""
    stray = content.keys() & AcquisitionSettings.model_fields.keys()
    if content and not stray and content.keys().isdisjoint(_PARTS):
        names = ", ".join(list(content)[:5])
        findings.refuse(
            "top level",
            f"holds nothing that Elcano knows ({names[:120]})",
            'the values go under "acquisition": voltage_kv, spherical_aberration_mm, pixel_size_ang, '
            "dose_per_frame_e_per_ang2",
        )
    if stray and content.keys().isdisjoint(_PARTS):
        return content
    for key in sorted(stray):
        findings.note("file", key, 'is not used here: move it into "acquisition"')
    return content.get("acquisition")


def _read_acquisition(block: Any, findings: Findings) -> AcquisitionSettings:
    """Read Elcano's own block: null, and zero where none is possible, mean unknown.

    Unknown keys are noted, wrong values are problems.
    """
    if block is None:
        return AcquisitionSettings()
    if not isinstance(block, dict):
        findings.refuse("acquisition", "is not an object")
        return AcquisitionSettings()
    known = {}
    for key, value in block.items():
        if key not in AcquisitionSettings.model_fields:
            meant = _guess_key(key)
            findings.note("acquisition", key, f"{NOT_USED}: did you mean {meant}?" if meant else NOT_USED)
        elif key in _BLOCKS and isinstance(value, dict):
            known[key] = _known_part(key, value, findings)
        elif value is not None and (not is_zero(value) or (key in _MAY_BE_ZERO and not isinstance(value, str))):
            known[key] = value
    try:
        return AcquisitionSettings.model_validate(known)
    except ValidationError as error:
        for item in error.errors():
            problem = problem_from(item, AcquisitionSettings)
            findings.refuse(f"acquisition.{problem.where}", problem.what, problem.hint)
        return AcquisitionSettings()


def _guess_key(key: str) -> str | None:
    """Return which of our keys a person may have meant."""
    near = difflib.get_close_matches(key.lower(), AcquisitionSettings.model_fields, n=1, cutoff=0.7)
    return near[0] if near else _SPOKEN_KEYS.get(key.lower().partition("_")[0])


def _known_part(key: str, part: Json, findings: Findings) -> dict[str, Any]:
    fields = _BLOCKS[key].model_fields
    for name in part:
        if name not in fields:
            findings.note("acquisition", f"{key}.{name}", NOT_USED)
    return {name: value for name, value in part.items() if name in fields and value is not None}
