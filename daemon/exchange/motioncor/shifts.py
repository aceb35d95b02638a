"""Shifts of whole frames and of patches as MotionCor2 and MotionCor3 tell them, as domain motion.

Of whole frames, four layouts: the log `*-Full.log` or `*-Patch-Full.log` (frame from 1, x, y), the alignment file
`.aln` (section globalShift, frame from 0), and what the program prints, under "Full-frame alignment shift" as
`...... Frame (  1) shift: x y` or, in MotionCor2 1.6, as a table under `Frame   x Shift   y Shift`. Shifts are px of
the sum, to be applied to a frame: −d. RELION takes them over into rlnMicrographShiftX and Y as they are, and so does
MotionCor3's own STAR (`-OutStar`). Frames are counted from the first one that was read.

Of patches, the log `*-Patch-Patch.log`: for each patch and frame (from 1) the patch's centre x, y in px and its shift
beside the whole frame's, of the same sign; then 1 where the program does not believe it (MotionCor3), or a second
shift, fitted, which is the one that was applied (older MotionCor2).
"""

import re

import numpy as np
import numpy.typing as npt

from daemon.domain.motion import MotionField
from daemon.exchange.relion.motion import evaluate_local, fit_local_coefficients

_NUMBER = r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?"
_ROW = re.compile(rf"\s*(\d+)\s+({_NUMBER})\s+({_NUMBER})\s*$")
_PRINTED = re.compile(rf"\s*\.*\s*Frame\s*\(\s*(\d+)\)\s*shift:\s*({_NUMBER})\s+({_NUMBER})\s*$")
_MOVIE_SIZE = re.compile(r"# Movie size:\s*(\d+)\s+(\d+)\b", re.IGNORECASE)
_PATCH_COUNT = re.compile(r"# Number of patches:\s*(\d+)\s*$", re.IGNORECASE)
_PATCH = re.compile(r"#\s*Patch\s+(\d+)\b", re.IGNORECASE)
_SHIFT_COLUMNS = {5: [3, 4], 6: [3, 4], 7: [5, 6]}
"""Where the shift stands in a row of so many numbers."""
_DOUBT_COLUMN = 5
"""Of six: not zero where the program does not believe its own shift."""
_LOCAL_NODES = 9
_EDGES = {"left": (0, -1), "right": (0, 1), "top": (1, -1), "bottom": (1, 1)}
"""Axis of (x, y) and direction."""
_OUTERMOST_CENTRE = 0.2
"""Of the image's side, from its middle: as the outermost of two patches has it, with room to spare."""
_SAME_LINE = 0.05
"""Centres no farther apart across an edge, as a fraction of the image, are of one row or column of patches."""
_LONGEST_SHOWN = 20

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


def read_patch_shifts(text: str, whole: MotionField) -> tuple[MotionField, float]:
    """Add the patches' motion to that of the whole frame, as RELION's model; also return its rms distance to them, px.

    Raises ValueError where the log is not whole, is that of another movie, does not determine the model, or where the
    program believes too little of it for the model to hold in all frames and up to every edge: a polynomial says
    anything at all where nothing was measured.
    """
    frames = len(whole.global_t2)
    series, rows = _read_patches(text, whole)
    frame, position_px = rows[:, 0].astype(np.int64) - 1, rows[:, 1:3]
    for patch in np.unique(series):
        if not np.array_equal(frame[series == patch], np.arange(frames)):
            raise ValueError(f"patch {patch} does not tell a shift for each of {frames} frames")
    columns = _SHIFT_COLUMNS[rows.shape[1]]
    believed = np.ones(len(rows), bool) if rows.shape[1] != _DOUBT_COLUMN + 1 else rows[:, _DOUBT_COLUMN] == 0
    position = position_px / [whole.width_px - 1, whole.height_px - 1] - 0.5
    if (np.abs(position) > 0.5).any():
        raise ValueError("a patch's centre lies outside the image")
    if (np.abs(rows[believed][:, columns]) > max(whole.width_px, whole.height_px)).any():
        raise ValueError("a patch's shift is larger than the image")
    coefficients, rms_px = fit_local_coefficients(
        frame[believed], position[believed], series[believed], rows[believed][:, columns]
    )
    _check_reach(frame, position, believed)
    local_tyx2 = evaluate_local(coefficients, frames, _LOCAL_NODES, _LOCAL_NODES)
    return MotionField(whole.width_px, whole.height_px, whole.global_t2, local_tyx2), rms_px


def _check_reach(
    frame: npt.NDArray[np.int64], position: npt.NDArray[np.float64], believed: npt.NDArray[np.bool_]
) -> None:
    """Refuse a model that would be drawn on beyond what it was fitted to.

    At each edge half of the patches must be believed, in the first frame, in the last, and of all frames together.
    """
    ends = (("in the first frame", frame == 0), ("in the last frame", frame == frame.max()), ("", frame >= 0))
    for edge, (axis, sign) in _EDGES.items():
        outward = sign * position[:, axis]
        if outward.max() < _OUTERMOST_CENTRE:
            raise ValueError(f"no patch lies near the {edge} edge of the image")
        is_outermost = outward > outward.max() - _SAME_LINE
        for when, is_then in ends:
            told = is_outermost & is_then
            good = np.count_nonzero(told & believed)
            if 2 * good < np.count_nonzero(told):
                raise ValueError(
                    f"the program believes only {good} of its {np.count_nonzero(told)} shifts at the {edge} edge"
                    + (f" {when}" if when else "")
                )


def _read_patches(text: str, whole: MotionField) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the number of the patch of each row, and the rows."""
    patch, told, series, rows = 0, None, list[int](), list[list[float]]()
    for line in text.splitlines():
        if (size := _MOVIE_SIZE.match(line)) is not None and (int(size[1]), int(size[2])) != (
            whole.width_px,
            whole.height_px,
        ):
            raise ValueError(f"the patches are those of a movie of {size[1]} × {size[2]} px")
        if (number := _PATCH_COUNT.match(line)) is not None:
            told = int(number[1])
        elif _PATCH.match(line) is not None:
            patch += 1
        elif line.strip() and not line.lstrip().startswith("#"):
            series.append(patch)
            rows.append([_number(word) for word in line.split()])
    if told != patch or patch == 0:
        raise ValueError(f"{told} patches are announced, {patch} are told")
    if len({len(row) for row in rows}) != 1 or len(rows[0]) not in _SHIFT_COLUMNS:
        raise ValueError("the patches' rows have another layout than any that is known")
    table = np.array(rows)
    if not np.isfinite(table).all():
        raise ValueError("a patch's shift is no number")
    return np.array(series), table


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"{word[:_LONGEST_SHOWN]!r} stands where a patch's shift is to be told") from None
