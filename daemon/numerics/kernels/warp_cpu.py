"""Frames corrected, warped and mixed into sums on the CPU: one pass over the raw data, block by block.

The twin of `warp.BandWarp`, `detector.FrameCorrection.window` and the mixing that follows them, to rounding. A block
of pixels goes from raw counts into all sums while it lies in the cache of one core. Where a displacement is read, both
compute in float64, so that they read the same weights. No result depends on how the image is cut into blocks,
as long as they begin at multiples of the largest group of pixels that are moved alike.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from daemon.numerics.kernels.blend_cpu import TAPS, blend_rows
from daemon.numerics.kernels.compiling import carray, compiled, intrinsic, types
from daemon.numerics.kernels.frame_rows_cpu import Camera, correct_rows

_BLOCK_ROWS, _BLOCK_COLUMNS = 64, 256
_LARGEST_GROUP = 16
_PITCH = _BLOCK_COLUMNS + _LARGEST_GROUP
"""From row to row of a warped block, whose last group may be larger than what is left."""
_TOGETHER = 3
"""Frames that are warped before they are mixed into the sums, each of which is then read and written once."""
_BEFORE = 3
"""As many of the pixels that make a new one lie before it."""
_STEP_BITS = 10
STEPS_PER_PX = 1 << _STEP_BITS
NODE_PX = 16
_U = np.uint64
"""Indices that cannot be negative: numba then spares itself a question at every pixel, and vectorises."""

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
Unsigned = npt.NDArray[np.uint64]
Raw = npt.NDArray[Any]


class Motion(NamedTuple):
    """Displacements (x, y) px of frames at nodes 16 px apart from first_yx on, constant over groups_px pixels each way.

    weights: of eight pixels, for every step of a pixel, flat.
    """

    nodes_tyx2: Floats
    first_yx: Doubles
    groups_px: Whole
    weights: Floats


class Totals(NamedTuple):
    """Sums of shape_yx, each a plane of float32 of its own, that begin at `begin_px` px of the image on either axis.

    Frame t is added to part planes_t[t], and mixing_tb[t, b] times to sum b. What parts of is_new_p held before is
    overwritten, and with `is_first` what the sums held; a part is of frames that follow one another. Planes are given
    by their addresses: somebody else keeps them.
    """

    shape_yx: tuple[int, int]
    begin_px: int
    parts: Unsigned
    planes_t: Whole
    is_new_p: npt.NDArray[np.bool_]
    sums: Unsigned
    mixing_tb: Floats
    is_first: bool


def _point(context: Any, address: Any) -> tuple[Any, Any]:
    """What lies at an address."""
    del context

    def spell(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.voidptr(address), spell


_at_address: Any = intrinsic(_point)


@compiled
def _cell(position: float, first: float, nodes: int) -> tuple[int, float]:
    """Index of the node before a position and the share of the way to the next; outermost cells go on beyond."""
    steps = (position - first) / NODE_PX
    below = min(max(int(np.floor(steps)), 0), nodes - 2)
    return below, min(max(steps - below, -1.0), 2.0)


@compiled
def _values_y(nodes_yx2: Floats, first_y: float, y: float, column: int, values: Doubles) -> None:
    """Displacement along y at a row, at columns of nodes from one on."""
    below, share = _cell(y, first_y, nodes_yx2.shape[0])
    for k in range(values.size):
        low = np.float64(nodes_yx2[below, column + k, 1])
        values[k] = low + share * (np.float64(nodes_yx2[below + 1, column + k, 1]) - low)


@compiled
def _values_x(nodes_yx2: Floats, first_y: float, y: float, column: int, values: Doubles) -> None:
    """Displacement along x: where an output row y asks for image row y + δy, it is read at y."""
    _values_y(nodes_yx2, first_y, y, column, values)
    for k in range(values.size):
        below, share = _cell(y - values[k], first_y, nodes_yx2.shape[0])
        low = np.float64(nodes_yx2[below, column + k, 0])
        values[k] = low + share * (np.float64(nodes_yx2[below + 1, column + k, 0]) - low)


@compiled
def _steps_between(values: Doubles, columns: Unsigned, shares: Doubles, steps: Whole) -> None:
    """Displacements of cells, in steps; columns: of nodes, from the first of `values` on, with shares of the next."""
    for cell in range(steps.size):
        low = values[columns[cell]]
        steps[cell] = np.int64(np.rint((low + shares[cell] * (values[columns[cell] + _U(1)] - low)) * STEPS_PER_PX))


@compiled
def _split(steps: Whole, group: int, stride: int, offsets: Whole, rows: Whole) -> tuple[int, int]:
    """Split displacements into whole pixels, `stride` apart in what is read, and rows of weights; their range."""
    lowest, highest = steps[0] >> _STEP_BITS, steps[0] >> _STEP_BITS
    for cell in range(steps.size):
        whole = steps[cell] >> _STEP_BITS
        lowest, highest = min(lowest, whole), max(highest, whole)
        rows[cell] = TAPS * (steps[cell] & (STEPS_PER_PX - 1))
    for cell in range(steps.size):
        offsets[cell] = group * cell + stride * ((steps[cell] >> _STEP_BITS) - lowest)
    return lowest, highest


@compiled
def _plan_down(
    nodes_yx2: Floats,
    first_y: float,
    y: int,
    group: int,
    stride: int,
    column: int,
    columns: Unsigned,
    shares: Doubles,
    offsets: Whole,
    rows: Whole,
    lows: Whole,
) -> tuple[int, int]:
    """Where each group of a block from row y on reads along y; the image rows that are read, last excluded."""
    steps, values = np.empty(columns.size, np.int64), np.empty(columns[-1] + _U(2), np.float64)
    begin = end = y
    for index in range(lows.size):
        above = y + group * index
        _values_y(nodes_yx2, first_y, above + (group - 1) / 2, column, values)
        _steps_between(values, columns, shares, steps)
        lowest, highest = _split(steps, group, stride, offsets[index], rows[index])
        lows[index] = above + lowest - _BEFORE
        last = above + group + highest + TAPS - _BEFORE - 1
        if index == 0:
            begin, end = lows[index], last
        begin, end = min(begin, lows[index]), max(end, last)
    return group * (begin // group), end


@compiled
def _fill_across(
    raw: Raw,
    repairs: Floats,
    camera: Camera,
    motion: Motion,
    frame: int,
    t: int,
    begin: int,
    end: int,
    x: int,
    column: int,
    columns: Unsigned,
    shares: Doubles,
    across: Floats,
    corrected: Floats,
) -> Floats:
    """Correct image rows from begin to end and warp them along x, into `across`; scratch comes back."""
    group, cells = motion.groups_px[t], columns.size
    nodes_yx2, weights, first_y = motion.nodes_tyx2[t], motion.weights, motion.first_yx[0]
    steps, offsets, rows = np.empty(cells, np.int64), np.empty(cells, np.int64), np.empty(cells, np.int64)
    stride, values = group * cells, np.empty(columns[-1] + _U(2), np.float64)
    for above in range(begin, end, group):
        _values_x(nodes_yx2, first_y, above + (group - 1) / 2, column, values)
        _steps_between(values, columns, shares, steps)
        lowest, highest = _split(steps, group, 1, offsets, rows)
        needed, count = stride + highest - lowest + TAPS - 1, min(group, end - above)
        if corrected.size < group * needed:
            corrected = np.empty(group * needed, np.float32)
        correct_rows(raw, repairs, camera, frame, t, above, count, x + lowest - _BEFORE, corrected, needed)
        at, pitches = (above - begin) * stride, (stride, needed, 1)
        blend_rows(group, cells, count, across, at, corrected, 0, pitches, weights, offsets, rows)
    return corrected


@compiled
def _mix_three(
    warped: Floats,
    begins: Whole,
    weights: Floats,
    total: Floats,
    at: int,
    size: int,
    count: int,
    down: int,
    is_new: bool,
) -> None:
    """Add rows of three images that begin at `begins`, each times its weight; down: from row to row of the total."""
    one, two, three, pixels = weights[0], weights[1], weights[2], _U(size)
    for line in range(count):
        below, to = line * _PITCH, _U(at + line * down)
        a, b, c = _U(begins[0] + below), _U(begins[1] + below), _U(begins[2] + below)
        if is_new:
            for x in range(pixels):
                total[to + x] = one * warped[a + x] + two * warped[b + x] + three * warped[c + x]
        else:
            for x in range(pixels):
                total[to + x] += one * warped[a + x] + two * warped[b + x] + three * warped[c + x]


@compiled
def _mix_frames(warped: Floats, totals: Totals, t: int, many: int, top: int, left: int, size: int, count: int) -> None:
    """Add blocks of the frames from t on to all sums from (top, left) on."""
    height, width = totals.shape_yx
    at, begins, weights = top * width + left, np.empty(_TOGETHER, np.int64), np.empty(_TOGETHER, np.float32)
    for k in range(_TOGETHER):
        begins[k] = min(k, many - 1) * _BLOCK_ROWS * _PITCH
    for p in range(totals.is_new_p.size):
        for k in range(_TOGETHER):
            weights[k] = k < many and totals.planes_t[min(t + k, totals.planes_t.size - 1)] == p
        if weights.any():
            is_new = totals.is_new_p[p] and not np.any(totals.planes_t[:t] == p)
            part = carray(_at_address(totals.parts[p]), height * width, np.float32)
            _mix_three(warped, begins, weights, part, at, size, count, width, is_new)
    for b in range(totals.mixing_tb.shape[1]):
        for k in range(_TOGETHER):
            weights[k] = totals.mixing_tb[t + k, b] if k < many else 0
        is_new = totals.is_first and t == 0
        if is_new or weights.any():
            combined = carray(_at_address(totals.sums[b]), height * width, np.float32)
            _mix_three(warped, begins, weights, combined, at, size, count, width, is_new)


@compiled
def _warp_block(
    raw: Raw,
    repairs: Floats,
    camera: Camera,
    motion: Motion,
    frame: int,
    t: int,
    y: int,
    x: int,
    height: int,
    size: int,
    across: Floats,
    corrected: Floats,
    warped: Floats,
    at: int,
) -> tuple[Floats, Floats]:
    """Warp a block of one frame, which begins at (y, x) of the image, to `warped` from `at` on; scratch comes back."""
    group, nodes_yx2 = motion.groups_px[t], motion.nodes_tyx2[t]
    down, cells = (height + group - 1) // group, (size + group - 1) // group
    stride = group * cells
    columns, shares, column = np.empty(cells, np.uint64), np.empty(cells, np.float64), 0
    for cell in range(cells):
        centre = x + group * cell + (group - 1) / 2
        found, shares[cell] = _cell(centre, motion.first_yx[1], nodes_yx2.shape[1])
        if cell == 0:
            column = found
        columns[cell] = found - column
    offsets, rows = np.empty((down, cells), np.int64), np.empty((down, cells), np.int64)
    lows = np.empty(down, np.int64)
    begin, end = _plan_down(
        nodes_yx2, motion.first_yx[0], y, group, stride, column, columns, shares, offsets, rows, lows
    )
    if across.size < (end - begin) * stride:
        across = np.empty((end - begin) * stride, np.float32)
    corrected = _fill_across(
        raw, repairs, camera, motion, frame, t, begin, end, x, column, columns, shares, across, corrected
    )
    for index in range(down):
        count = min(group, height - group * index)
        to, source, pitches = at + group * index * _PITCH, (lows[index] - begin) * stride, (_PITCH, stride, stride)
        where, weights = offsets[index], rows[index]
        blend_rows(group, cells, count, warped, to, across, source, pitches, motion.weights, where, weights)
    return across, corrected


@compiled
def add_band(
    raw: Raw, frames: Whole, repairs: Floats, camera: Camera, motion: Motion, totals: Totals, first: int, stop: int
) -> None:
    """Add rows first … stop − 1 of sums of some frames; nothing else is touched.

    raw: frames, flat; frames: which of them; repairs: what stands in for each defect in each frame, flat.
    """
    width, begin = totals.shape_yx[1], totals.begin_px
    across = np.empty((_BLOCK_ROWS + 64) * _PITCH, np.float32)
    corrected = np.empty(2 * _LARGEST_GROUP * _PITCH, np.float32)
    warped = np.empty(_TOGETHER * _BLOCK_ROWS * _PITCH, np.float32)
    for top in range(first, stop, _BLOCK_ROWS):
        height = min(_BLOCK_ROWS, stop - top)
        for left in range(0, width, _BLOCK_COLUMNS):
            size = min(_BLOCK_COLUMNS, width - left)
            y, x = top + begin, left + begin
            for t in range(0, frames.size, _TOGETHER):
                many = min(_TOGETHER, frames.size - t)
                for k in range(many):
                    across, corrected = _warp_block(
                        raw,
                        repairs,
                        camera,
                        motion,
                        frames[t + k],
                        t + k,
                        y,
                        x,
                        height,
                        size,
                        across,
                        corrected,
                        warped,
                        k * _BLOCK_ROWS * _PITCH,
                    )
                _mix_frames(warped, totals, t, many, top, left, size, height)
