"""Eight pixels weighted into one, for blocks of pixels at a time: what a compiler vectorises badly is spelled here."""

from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.numerics.kernels.compiling import cgutils, compiled, intrinsic, ir, types

TAPS = 8
_LANES = 16
"""Pixels of a row that are made at once."""

Floats = npt.NDArray[np.float32]
Whole = npt.NDArray[np.int64]


def _blend(group: int, lanes: int) -> Any:
    """Write out[at + i] = Σ_k w_k · source[first + k·stride + i] for i < lanes, in `count` rows.

    w_k is weights[rows[cell + i // group] + k]. down_out and down: from row to row. Arrays are C-contiguous.
    Weights stay in registers while the rows are made.
    """

    def blend(
        context: Any,
        out: Any,
        at: Any,
        down_out: Any,
        source: Any,
        first: Any,
        down: Any,
        stride: Any,
        count: Any,
        weights: Any,
        rows: Any,
        cell: Any,
    ) -> tuple[Any, Any]:
        del context
        arguments = (out, at, down_out, source, first, down, stride, count, weights, rows, cell)
        return types.void(*arguments), _spell

    def _spell(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        out, source, weights, rows = (
            context.make_array(signature.args[k])(context, builder, arguments[k]).data for k in (0, 3, 8, 9)
        )
        _, at, down_out, _, first, down, stride, count, _, _, cell = arguments
        weight_k = _load_weights(builder, weights, rows, cell, group, lanes)
        pointer = ir.VectorType(ir.FloatType(), lanes).as_pointer()
        with cgutils.for_range(builder, count) as loop:
            position, total = builder.add(first, builder.mul(loop.index, down)), None
            for weight in weight_k:
                pixels = builder.load(builder.bitcast(builder.gep(source, [position]), pointer), align=4)
                term = builder.fmul(pixels, weight, flags=("contract",))
                total = term if total is None else builder.fadd(total, term, flags=("contract",))
                position = builder.add(position, stride)
            to = builder.gep(out, [builder.add(at, builder.mul(loop.index, down_out))])
            builder.store(total, builder.bitcast(to, pointer), align=4)
        return context.get_dummy_value()

    return intrinsic(blend)


def _load_weights(builder: Any, weights: Any, rows: Any, cell: Any, group: int, lanes: int) -> list[Any]:
    """For each tap a vector of weights: those of as many cells as there are groups in it."""
    joined, count = None, 1
    eight = ir.VectorType(ir.FloatType(), TAPS)
    for index in range(lanes // group):
        row = builder.load(builder.gep(rows, [builder.add(cell, ir.Constant(ir.IntType(64), index))]))
        loaded = builder.load(builder.bitcast(builder.gep(weights, [row]), eight.as_pointer()), align=4)
        if joined is None:
            joined = loaded
            continue
        # Both sides of a shuffle are of one size: the new one is widened with what is never looked at.
        wide = _shuffle(builder, loaded, loaded, [k % TAPS for k in range(TAPS * count)])
        joined = _shuffle(builder, joined, wide, list(range(TAPS * count)) + [TAPS * count + k for k in range(TAPS)])
        count += 1
    return [
        _shuffle(builder, joined, joined, [TAPS * (lane // group) + tap for lane in range(lanes)])
        for tap in range(TAPS)
    ]


def _shuffle(builder: Any, one: Any, other: Any, order: list[int]) -> Any:
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order))


_cell_1, _cell_2, _cell_4, _cell_8 = (_blend(group, group) for group in (1, 2, 4, 8))
_block_2, _block_4, _block_8, _block_16 = (_blend(group, _LANES) for group in (2, 4, 8, 16))


@compiled
def _reads_one_run(group: int, cell: int, end: int, offsets: Whole) -> bool:
    """Whether the pixels that these cells read lie side by side, as the cells do."""
    same = True
    for other in range(cell + 1, end):
        same &= offsets[other] == offsets[cell] + group * (other - cell)
    return same


@compiled
def blend_rows(
    group: int,
    cells: int,
    count: int,
    out: Floats,
    at: int,
    source: Floats,
    first: int,
    pitches: tuple[int, int, int],
    weights: Floats,
    offsets: Whole,
    rows: Whole,
) -> None:
    """Some rows of cells of `group` (1, 2, 4, 8 or 16) px, which read first + offsets[cell] and seven more pixels.

    Weights begin at weights[rows[cell]]. pitches: from row to row of out, of source, and from one of the eight to the
    next. Rows are taken together, as they share their weights.
    """
    over, down, stride = pitches
    together = _LANES // group if group > 1 else 1
    for cell in range(0, cells, together):
        end = min(cell + together, cells)
        to, begin = at + group * cell, first + offsets[cell]
        if group == 1:
            _cell_1(out, to, over, source, begin, down, stride, count, weights, rows, cell)
        elif end - cell == together and _reads_one_run(group, cell, end, offsets):
            if group == 16:
                _block_16(out, to, over, source, begin, down, stride, count, weights, rows, cell)
            elif group == 8:
                _block_8(out, to, over, source, begin, down, stride, count, weights, rows, cell)
            elif group == 4:
                _block_4(out, to, over, source, begin, down, stride, count, weights, rows, cell)
            else:
                _block_2(out, to, over, source, begin, down, stride, count, weights, rows, cell)
        else:
            for one in range(cell, end):
                to, begin = at + group * one, first + offsets[one]
                if group == 8:
                    _cell_8(out, to, over, source, begin, down, stride, count, weights, rows, one)
                elif group == 4:
                    _cell_4(out, to, over, source, begin, down, stride, count, weights, rows, one)
                else:
                    _cell_2(out, to, over, source, begin, down, stride, count, weights, rows, one)
