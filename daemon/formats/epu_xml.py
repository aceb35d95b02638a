"""EPU's XML beside each image; of it, where the stage stood."""

import math
import re
from pathlib import Path

from daemon.domain.stage_position import StagePosition
from daemon.formats.byte_source import ByteSource

_MOST_BYTES = 2**20
_UM_PER_M = 1e6
_STAGE = re.compile(
    rb"<(?:\w+:)?stage>.{0,2000}?<(?:\w+:)?Position\b[^>]*>(?P<fields>.{0,2000}?)</(?:\w+:)?Position>", re.DOTALL
)
_FIELD = re.compile(rb"<(?:\w+:)?(?P<key>[AXY])>\s*(?P<value>[-+.\deE]{1,40})\s*</")


def read_stage_position(path: Path) -> StagePosition | None:
    """Return where the stage stood (the file gives radians and metres), None where it does not say.

    Raises FileUnreadable.
    """
    with ByteSource(path) as source:
        found = _STAGE.search(source.read_up_to(0, _MOST_BYTES))
    if found is None:
        return None
    values: dict[bytes, float] = {}
    for field in _FIELD.finditer(found["fields"]):
        try:
            values[field["key"]] = float(field["value"])
        except ValueError:
            return None
    if b"A" not in values or not all(math.isfinite(value) for value in values.values()):
        return None
    place = (values[b"X"] * _UM_PER_M, values[b"Y"] * _UM_PER_M) if {b"X", b"Y"} <= values.keys() else None
    return StagePosition(math.degrees(values[b"A"]), place)
