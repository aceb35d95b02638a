"""Rows of raw frames, corrected: less dark, times gain, defects replaced. The twin of FrameCorrection.window."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from daemon.numerics.kernels.compiling import compiled

_U = np.uint64
"""Indices that cannot be negative: numba then spares itself a question at every pixel, and vectorises."""

Floats = npt.NDArray[np.float32]
Whole = npt.NDArray[np.int64]
Whole32 = npt.NDArray[np.int32]
Raw = npt.NDArray[Any]


class Camera(NamedTuple):
    """Dark and gain of frames of height × width px, flat, or empty; and their defects.

    Those of row y are the columns `defects[defect_rows[y]:defect_rows[y + 1]]`.
    """

    height: int
    width: int
    dark: Floats
    gain: Floats
    defect_rows: Whole
    defects: Whole


@compiled
def sum_frames(movie_tyx: Raw, total_yx: Whole32) -> None:
    """Add whole numbers of all frames to a total."""
    for y in range(total_yx.shape[0]):
        total_x = total_yx[y]
        for t in range(movie_tyx.shape[0]):
            frame_x = movie_tyx[t, y]
            for x in range(_U(total_x.size)):
                total_x[x] += np.int32(frame_x[x])


@compiled
def mirrored(position: int, size: int) -> int:
    """Index within an axis that a position, mirrored at the centres of the outermost pixels, falls on."""
    if 0 <= position < size:
        return position
    if size == 1:
        return 0
    within = position % (2 * (size - 1))
    return min(within, 2 * (size - 1) - within)


@compiled
def _correct(
    raw: Raw,
    raw_at: int,
    dark: Floats,
    gain: Floats,
    at: int,
    out: Floats,
    out_at: int,
    size: int,
    count: int,
    pitches: tuple[int, int],
) -> None:
    """Some rows of raw pixels less dark, times gain, where there are such; pitches: from row to row."""
    pixels = _U(size)
    for line in range(count):
        first, known, to = _U(raw_at + line * pitches[0]), _U(at + line * pitches[0]), _U(out_at + line * pitches[1])
        if dark.size and gain.size:
            for x in range(pixels):
                out[to + x] = (np.float32(raw[first + x]) - dark[known + x]) * gain[known + x]
        elif gain.size:
            for x in range(pixels):
                out[to + x] = np.float32(raw[first + x]) * gain[known + x]
        elif dark.size:
            for x in range(pixels):
                out[to + x] = np.float32(raw[first + x]) - dark[known + x]
        else:
            for x in range(pixels):
                out[to + x] = np.float32(raw[first + x])


@compiled
def correct_rows(
    raw: Raw,
    repairs: Floats,
    camera: Camera,
    frame: int,
    t: int,
    y: int,
    count: int,
    start: int,
    out: Floats,
    size: int,
) -> None:
    """Fill rows of `out` with corrected pixels from (y, start) on, mirrored beyond the edges of the frame."""
    height, width, dark, gain = camera.height, camera.width, camera.dark, camera.gain
    stop = start + size
    left, right = max(start, 0), min(stop, width)
    if left >= right:
        left = right = stop
    together = count if y >= 0 and y + count <= height else 1
    for line in range(0, count, together):
        known = mirrored(y + line, height) * width
        at, to = frame * height * width + known, line * size - start
        pitches = (width, size)
        _correct(raw, at + left, dark, gain, known + left, out, to + left, right - left, together, pitches)
        for x in range(start, left):
            column = mirrored(x, width)
            _correct(raw, at + column, dark, gain, known + column, out, to + x, 1, together, pitches)
        for x in range(right, stop):
            column = mirrored(x, width)
            _correct(raw, at + column, dark, gain, known + column, out, to + x, 1, together, pitches)
    if camera.defects.size:
        for line in range(count):
            row = mirrored(y + line, height)
            first, last = camera.defect_rows[row], camera.defect_rows[row + 1]
            _repair_row(camera.defects, repairs, first, last, t * camera.defects.size, out, line * size, start, size)
            if first < last and (start < 0 or stop > width):
                _repair_mirrored(camera, repairs, first, last, t * camera.defects.size, out, line * size, start, size)


@compiled
def _repair_row(
    defects: Whole, repairs: Floats, first: int, last: int, begin: int, out: Floats, at: int, start: int, size: int
) -> None:
    """Replace the defects from first to last that lie within a run of columns; their repairs begin at `begin`."""
    for index in range(first, last):
        x = defects[index] - start
        if 0 <= x < size:
            out[at + x] = repairs[begin + index]


@compiled
def _repair_mirrored(
    camera: Camera, repairs: Floats, first: int, last: int, begin: int, out: Floats, at: int, start: int, size: int
) -> None:
    """Replace what shows a defect beyond the edges."""
    for x in range(size):
        if start + x < 0 or start + x >= camera.width:
            column = mirrored(start + x, camera.width)
            for index in range(first, last):
                if camera.defects[index] == column:
                    out[at + x] = repairs[begin + index]
