"""EPU's XML beside each image; of it, where the stage stood.

Each element is looked for by itself within a bounded stretch after the one around it: anyone may have written such a
file, and one pattern over the whole of it can hold up all threads.
"""

import math
import re
from pathlib import Path

from daemon.domain.stage_position import StagePosition
from daemon.formats.byte_source import ByteSource

_MOST_BYTES = 2**20
_UM_PER_M = 1e6
_STRETCH_BYTES = 2000
_PREFIX = rb"(?:\w{1,40}:)?"
_STAGE = re.compile(rb"<" + _PREFIX + rb"stage>")
_POSITION = re.compile(rb"<" + _PREFIX + rb"Position(?:\s[^<>]{0,200})?>")
_POSITION_END = re.compile(rb"</" + _PREFIX + rb"Position>")
_FIELD = re.compile(rb"<" + _PREFIX + rb"(?P<key>[AXY])>\s{0,40}(?P<value>[-+.\deE]{1,40})\s{0,40}</")


def read_stage_position(path: Path) -> StagePosition | None:
    """Return where the stage stood (the file gives radians and metres), None where it does not say.

    Raises FileUnreadable.
    """
    with ByteSource(path) as source:
        fields = _find_fields(source.read_up_to(0, _MOST_BYTES))
    values: dict[bytes, float] = {}
    for field in _FIELD.finditer(fields):
        try:
            values[field["key"]] = float(field["value"])
        except ValueError:
            return None
    if b"A" not in values or not all(math.isfinite(value) for value in values.values()):
        return None
    place = (values[b"X"] * _UM_PER_M, values[b"Y"] * _UM_PER_M) if {b"X", b"Y"} <= values.keys() else None
    return StagePosition(math.degrees(values[b"A"]), place)


def _find_fields(stored: bytes) -> bytes:
    """Return what stands in the position of the first stage, empty where there is none."""
    stage = _STAGE.search(stored)
    if stage is None:
        return b""
    position = _POSITION.search(stored, stage.end(), stage.end() + _STRETCH_BYTES)
    if position is None:
        return b""
    end = _POSITION_END.search(stored, position.end(), position.end() + _STRETCH_BYTES)
    return b"" if end is None else stored[position.end() : end.start()]
