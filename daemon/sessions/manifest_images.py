"""The images of session.json: one flat list out of the tree, with units made ours."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from daemon.domain.names import name_problem
from daemon.errors import Problem
from daemon.sessions.naming import parse_leginon_name
from daemon.sessions.quantities import Note, read_count, read_length_m, read_positive, read_quantity
from daemon.sessions.roots import resolve_under

DEEPEST = 32
_HIGHEST_VOLTAGE_KV = 3000.0
_HIGHEST_CS_M = 0.02
_ANG_PER_M = 1e10
_UM_PER_M = 1e6
_MM_PER_M = 1e3
_MOST_WARNINGS = 50
_MOST_PROBLEMS = 50
_HOPELESS = 10_000

Json = Mapping[str, Any]


@dataclass(frozen=True)
class ManifestImage:
    """One image of the tree; None is unknown. `raw` keeps what the file said, without its nulls and children."""

    name: str
    oid: str | None = None
    parent_name: str | None = None
    level: int | None = None
    path: str | None = None
    frame_name: str | None = None
    frame_count: int | None = None
    magnification: int | None = None
    pixel_size_ang: float | None = None
    """Of a stored pixel: the camera's pixel at the specimen × binning."""
    total_dose_e_per_ang2: float | None = None
    nominal_defocus_um: float | None = None
    """Positive is underfocus."""
    voltage_kv: float | None = None
    spherical_aberration_mm: float | None = None
    raw: Json = field(default_factory=dict)

    def image_path(self, raw_directory: Path, roots: Sequence[Path]) -> Path | None:
        """Return where its file really lies, None when the manifest does not say. Raises PathOutsideRoots."""
        return None if self.path is None else resolve_under(self.path, roots, base=raw_directory)


class Findings:
    """What is wrong with a file: problems refuse it, notes are oddities whose value counts as unknown."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []
        self._refused = 0
        self._counts: Counter[str] = Counter()
        self._first_place: dict[str, str] = {}

    def refuse(self, where: str, what: str, hint: str = "") -> None:
        """Add a problem; the first of them are kept, the others counted."""
        self._refused += 1
        if self._refused <= _MOST_PROBLEMS:
            self._problems.append(Problem(where, what, hint))

    @property
    def is_hopeless(self) -> bool:
        """Whether so much is wrong that the rest need not be looked at."""
        return self._refused >= _HOPELESS

    def problems(self) -> list[Problem]:
        """Return the first problems, and how many more there are."""
        rest = self._refused - len(self._problems)
        if not rest:
            return list(self._problems)
        said = f"{rest} more problems of these kinds" + (", and the rest was not read" if self.is_hopeless else "")
        return [*self._problems, Problem("file", said)]

    def note(self, where: str, key: str, what: str) -> None:
        """Add an oddity."""
        said = f"{key} {what}"
        self._counts[said] += 1
        self._first_place.setdefault(said, where)

    def forget(self, key: str) -> None:
        """Drop the oddities of a key whose value is known from a better source."""
        for said in [said for said in self._counts if said.startswith(f"{key} ")]:
            del self._counts[said]

    def warnings(self) -> tuple[str, ...]:
        """Return the oddities, each kind once with its first place and how often it was met."""
        told = [
            f"{self._first_place[said]}: {said}" + (f" (met {count} times)" if count > 1 else "")
            for said, count in self._counts.items()
        ]
        rest = len(told) - _MOST_WARNINGS
        return (*told[:_MOST_WARNINGS], f"{rest} more oddities") if rest > 0 else tuple(told)

    def text(self, content: Json, key: str, where: str) -> str | None:
        """Return a text, None when it is empty, absent or (noted) something else."""
        value = content.get(key)
        if isinstance(value, str):
            return value or None
        if value is not None:
            self.note(where, key, f"is not text but {type(value).__name__}")
        return None


def read_images(images: list[Any], findings: Findings) -> tuple[ManifestImage, ...]:
    """Flatten the tree in the file's order, parents before children; names that are missing, unsafe or repeated,
    and trees that are too deep or circular, become problems."""
    records: list[ManifestImage] = []
    nested: dict[str, str | None] = {}
    places: dict[str, str] = {}
    by_oid: dict[str, str] = {}
    for node in _walk(images, findings):
        record = _read_image(node, findings)
        if record is None:
            continue
        if record.name in places:
            said = f"{record.name!r} is the name of {places[record.name]} too"
            findings.refuse(f"{node.where}.name", said, "every image needs a name of its own")
            continue
        places[record.name] = node.where
        nested[record.name] = node.parent
        if record.oid is not None:
            if record.oid in by_oid:
                said = f"{record.oid[:80]!r} is the oid of {by_oid[record.oid]!r} too"
                findings.refuse(f"{node.where}.oid", said, "every image needs an oid of its own, or none")
            by_oid.setdefault(record.oid, record.name)
        records.append(record)
    linked = []
    for record in records:
        parent = nested[record.name] or _named_parent(record, by_oid, places, findings)
        linked.append(replace(record, parent_name=parent))
    _refuse_circles(linked, places, findings)
    return tuple(linked)


@dataclass(frozen=True)
class _Node:
    where: str
    content: dict[str, Any]
    parent: str | None


def _walk(images: list[Any], findings: Findings) -> Iterator[_Node]:
    """Go through the tree without recursion: a hostile file may be deep."""
    levels = [_entries("images", images, None)]
    while levels:
        entry = next(levels[-1], None)
        if entry is None:
            levels.pop()
            continue
        if findings.is_hopeless:
            return
        where, content, parent = entry
        if not isinstance(content, dict):
            findings.refuse(where, "is not an object")
            continue
        yield _Node(where, content, parent)
        children = content.get("children")
        if children is None:
            continue
        if not isinstance(children, list):
            findings.refuse(f"{where}.children", "is not a list")
        elif children and len(levels) == DEEPEST:
            findings.refuse(f"{where}.children", f"lies deeper than {DEEPEST} levels")
        else:
            name = content.get("name")
            levels.append(_entries(f"{where}.children", children, name if isinstance(name, str) else None))


def _entries(where: str, items: list[Any], parent: str | None) -> Iterator[tuple[str, Any, str | None]]:
    for n, item in enumerate(items):
        yield f"{where}[{n}]", item, parent


def _read_image(node: _Node, findings: Findings) -> ManifestImage | None:
    content, where = node.content, node.where
    name = content.get("name")
    if not isinstance(name, str):
        findings.refuse(f"{where}.name", "is missing" if name is None else "is not text")
        return None
    problem = name_problem(name)
    if problem:
        findings.refuse(f"{where}.name", f"{name[:120]!r} {problem}")
        return None

    def note(key: str, what: str) -> None:
        findings.note(where, key, what)

    defocus_m = read_quantity(content.get("defocus"), "defocus", note)
    cs_m = read_positive(content.get("spherical_aberration"), "spherical_aberration", note, highest=_HIGHEST_CS_M)
    voltage = content.get("acceleration_voltage")
    return ManifestImage(
        name=name,
        oid=findings.text(content, "oid", where),
        level=_read_level(content, note),
        path=findings.text(content, "path", where),
        frame_name=findings.text(content, "frame_name", where),
        frame_count=read_count(content.get("frame_count"), "frame_count", note),
        magnification=read_count(content.get("magnification"), "magnification", note),
        pixel_size_ang=_pixel_size_ang(content, note),
        total_dose_e_per_ang2=read_positive(content.get("dose"), "dose", note),
        nominal_defocus_um=None if defocus_m is None else -defocus_m * _UM_PER_M,
        voltage_kv=read_positive(voltage, "acceleration_voltage", note, highest=_HIGHEST_VOLTAGE_KV),
        spherical_aberration_mm=None if cs_m is None else cs_m * _MM_PER_M,
        raw=MappingProxyType({key: v for key, v in content.items() if v is not None and key != "children"}),
    )


def _read_level(content: Json, note: Note) -> int | None:
    level = read_count(content.get("level"), "level", note)
    if level is not None and level > DEEPEST:
        note("level", f"{level} is deeper than {DEEPEST}")
        return None
    return level


def _pixel_size_ang(content: Json, note: Note) -> float | None:
    size_m = read_length_m(content.get("pixel_size"), "pixel_size", note)
    binning_x = read_count(content.get("binning_x"), "binning_x", note) or 1
    binning_y = read_count(content.get("binning_y"), "binning_y", note) or binning_x
    if size_m is None:
        return None
    if binning_x != binning_y:
        note("pixel_size", f"of pixels binned {binning_x}×{binning_y} differs in x and y")
        return None
    return size_m * _ANG_PER_M * binning_x


def _named_parent(
    record: ManifestImage, by_oid: Mapping[str, str], known: Mapping[str, str], findings: Findings
) -> str | None:
    """Find a parent that nesting does not give: by its id, else by Leginon's grammar of names."""
    parent_id = record.raw.get("parent_id")
    if isinstance(parent_id, str) and parent_id in by_oid:
        return by_oid[parent_id]
    if parent_id is not None:
        findings.note(known[record.name], "parent_id", "names no image of this file")
    grammar = parse_leginon_name(record.name)
    return grammar.parent if grammar is not None and grammar.parent in known else None


def _refuse_circles(records: Sequence[ManifestImage], places: Mapping[str, str], findings: Findings) -> None:
    parents = {record.name: record.parent_name for record in records}
    for record in records:
        above = record.parent_name
        for _ in range(DEEPEST):
            above = parents.get(above) if above is not None else None
        if above is not None:
            said = f"the parents of {record.name!r} form a circle or more than {DEEPEST} levels"
            findings.refuse(f"{places[record.name]}.parent_id", said)
