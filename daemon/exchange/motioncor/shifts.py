"""Full-frame shifts as MotionCor2 and MotionCor3 tell them, as domain motion.

Four layouts: the log `*-Full.log` or `*-Patch-Full.log` (frame from 1, x, y), the alignment file `.aln` (section
globalShift, frame from 0), and what the program prints, under "Full-frame alignment shift" as `...... Frame (  1)
shift: x y` or, in MotionCor2 1.6, as a table under `Frame   x Shift   y Shift`. Shifts are px of the sum, to be applied
to a frame: −d. RELION takes them over into rlnMicrographShiftX and Y as they are, and so does MotionCor3's own STAR
(`-OutStar`). Frames are counted from the first one that was read. Local shifts stay with the program: it has applied
them to the sum.
"""

import re

import numpy as np

from daemon.domain.motion import MotionField

_NUMBER = r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?"
_ROW = re.compile(rf"\s*(\d+)\s+({_NUMBER})\s+({_NUMBER})\s*$")
_PRINTED = re.compile(rf"\s*\.*\s*Frame\s*\(\s*(\d+)\)\s*shift:\s*({_NUMBER})\s+({_NUMBER})\s*$")
_STARTS = (
    re.compile(r"# full frame alignment\b", re.IGNORECASE),
    re.compile(r"# Initial alignment based upon full frames\b", re.IGNORECASE),
    re.compile(r"\s*Full-frame alignment shift\b", re.IGNORECASE),
    re.compile(r"\s*Frame\s+x Shift\s+y Shift\s*$", re.IGNORECASE),
    re.compile(r"\s*globalShift\s*$"),
)


def read_shifts(text: str, *, width_px: int, height_px: int, frame_count: int) -> MotionField:
    """Return the whole-frame motion d, zero in the first frame. Raises ValueError where it is not told in full.

    A program's output may hold several tables (iterations, one movie after another): the last one counts.
    """
    tables: list[list[tuple[int, float, float]]] = []
    is_open = False
    for line in text.splitlines():
        if any(start.match(line) for start in _STARTS):
            if not (is_open and not tables[-1]):  # a heading and then the table's own
                tables.append([])
            is_open = True
            continue
        row = (_ROW.match(line) or _PRINTED.match(line)) if is_open else None
        if row is not None:
            tables[-1].append((int(row[1]), float(row[2]), float(row[3])))
        elif is_open and tables[-1]:
            is_open = False
    if not tables or not tables[-1]:
        raise ValueError("no full-frame shifts are told")
    frames, x_px, y_px = (np.array(column, dtype=np.float64) for column in zip(*tables[-1], strict=True))
    if len(frames) != frame_count:
        raise ValueError(f"shifts of {len(frames)} frames are told, the movie has {frame_count}")
    if frames[0] not in {0, 1} or not (np.diff(frames) == 1).all():
        raise ValueError("frames are missing or out of order among the full-frame shifts")
    correction_t2 = np.stack([x_px, y_px], axis=1)
    # Adding 0.0 leaves no negative zero.
    return MotionField(width_px, height_px, correction_t2[0] - correction_t2 + 0.0, None)
