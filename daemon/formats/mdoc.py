"""SerialEM's mdoc: what was noted of each image, section by section; of it, where the stage stood for which movie."""

import math
import re
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from daemon.domain.stage_position import StagePosition
from daemon.formats.byte_source import ByteSource

_MOST_BYTES = 8 * 2**20
"""A series of a thousand tilts has 2 MiB."""
_SECTION = re.compile(r"^\[(?:ZValue|FrameSet)\s*=\s*\d+\]\s*$", re.MULTILINE)
_FIELD = re.compile(r"^(?P<key>TiltAngle|StagePosition|SubFramePath)\s*=\s*(?P<value>\S.*?)\s*$", re.MULTILINE)
_HIGHEST_DEG = 90.0


@dataclass(frozen=True)
class MdocSection:
    """One image: the name of its movie, where the file gives one, and the stage."""

    movie_name: str | None
    stage: StagePosition


def read_mdoc(path: Path) -> list[MdocSection]:
    """Return the sections that say how the stage was tilted, in the file's order. Raises FileUnreadable."""
    with ByteSource(path) as source:
        text = source.read_up_to(0, _MOST_BYTES).decode("utf-8", "replace").replace("\r\n", "\n")
    sections = (_read_section(part) for part in _SECTION.split(text)[1:])
    return [section for section in sections if section is not None]


def _read_section(text: str) -> MdocSection | None:
    fields: dict[str, str] = {}
    for found in _FIELD.finditer(text):
        fields.setdefault(found["key"], found["value"])
    alpha_deg = _numbers(fields.get("TiltAngle", ""))
    if len(alpha_deg) != 1 or abs(alpha_deg[0]) > _HIGHEST_DEG:
        return None
    place_um = _numbers(fields.get("StagePosition", ""))
    name = PureWindowsPath(fields.get("SubFramePath", "")).name  # which also cuts at slashes
    place = (place_um[0], place_um[1]) if len(place_um) == 2 else None
    return MdocSection(name or None, StagePosition(alpha_deg[0], place))


def _numbers(text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split()]
    except ValueError:
        return []
    return numbers if all(map(math.isfinite, numbers)) else []
