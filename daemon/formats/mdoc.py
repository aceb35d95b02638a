"""SerialEM's mdoc: what was noted of each image, section by section; of it, where the stage stood for which movie.

Read line by line: anyone may have written such a file, and one pattern over the whole of it can hold up all threads.
"""

import io
import math
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from daemon.domain.stage_position import StagePosition
from daemon.formats.byte_source import ByteSource

_MOST_BYTES = 8 * 2**20
"""A series of a thousand tilts has 2 MiB."""
_LONGEST_LINE_BYTES = 4096
_SECTIONS = (b"ZValue", b"FrameSet")
_FIELDS = (b"TiltAngle", b"StagePosition", b"SubFramePath")
_HIGHEST_DEG = 90.0


@dataclass(frozen=True)
class MdocSection:
    """One image: the name of its movie, where the file gives one, and the stage."""

    movie_name: str | None
    stage: StagePosition


def read_mdoc(path: Path) -> list[MdocSection]:
    """Return the sections that say how the stage was tilted, in the file's order. Raises FileUnreadable."""
    with ByteSource(path) as source:
        stored = source.read_up_to(0, _MOST_BYTES)
    sections: list[MdocSection | None] = []
    fields: dict[bytes, str] | None = None
    for line in io.BytesIO(stored):
        if len(line) > _LONGEST_LINE_BYTES:
            continue
        key, equals, value = line.partition(b"=")
        key = key.strip()
        if not equals:
            continue
        if _begins_section(key, value):
            if fields is not None:
                sections.append(_read_section(fields))
            fields = {}
        elif fields is not None and key in _FIELDS:
            fields.setdefault(key, value.strip().decode("utf-8", "replace"))
    if fields is not None:
        sections.append(_read_section(fields))
    return [section for section in sections if section is not None]


def _begins_section(key: bytes, value: bytes) -> bool:
    number, bracket, rest = value.partition(b"]")
    is_named = key.startswith(b"[") and key[1:] in _SECTIONS
    return is_named and bool(bracket) and number.strip().isdigit() and not rest.strip()


def _read_section(fields: dict[bytes, str]) -> MdocSection | None:
    alpha_deg = _numbers(fields.get(b"TiltAngle", ""))
    if len(alpha_deg) != 1 or abs(alpha_deg[0]) > _HIGHEST_DEG:
        return None
    place_um = _numbers(fields.get(b"StagePosition", ""))
    name = PureWindowsPath(fields.get(b"SubFramePath", "")).name  # which also cuts at slashes
    place = (place_um[0], place_um[1]) if len(place_um) == 2 else None
    return MdocSection(name or None, StagePosition(alpha_deg[0], place))


def _numbers(text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split()]
    except ValueError:
        return []
    return numbers if all(map(math.isfinite, numbers)) else []
