"""Strips of a TIFF image decoded from LZW (TIFF 6.0, section 13), straight into rows.

Only streams as they ought to be are decoded: each begins with a clear code, holds no code that is not in the table yet,
and gives as many bytes as its rows have. Of every other one it is said that it is something else. Nothing is read or
written outside the arrays, whatever a stream holds.

A string in the table is a run of bytes decoded before, as each new one is the one before it and the byte after that:
the table holds where it begins and how long it is. Single bytes stand before the text, so that they are strings too.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.numerics.kernels.compiling import compiled, intrinsic, ir, types
from daemon.numerics.kernels.loading import load_big_endian

SLACK_BYTES = 8
"""Bytes that must follow the last stream: codes are cut out of as many at once."""
_BYTES, _CLEAR, _FIRST = 256, 256, 258
_NARROWEST, _WIDEST = 9, 12
_TABLE = 1 << _WIDEST
_COPIED = 16
_LENGTH_BITS = 32

Bytes = npt.NDArray[np.uint8]
Whole = npt.NDArray[np.int64]


def _copy(context: Any, text: Any, to: Any, first: Any) -> tuple[Any, Any]:
    """text[to + i] = text[first + i] for i < 16, all read before the first is written."""
    del context

    def spell(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        vector = ir.VectorType(ir.IntType(8), _COPIED).as_pointer()
        source, target = (builder.bitcast(builder.gep(data, [arguments[k]]), vector) for k in (2, 1))
        builder.store(builder.load(source, align=1), target, align=1)
        return context.get_dummy_value()

    return types.void(text, to, first), spell


_copy_16_bytes: Any = intrinsic(_copy)


@compiled
def _code_at(packed: Bytes, bit: int, width: int) -> Any:
    """`width` bits from one on, the first the most significant."""
    word = load_big_endian(packed, bit >> 3) << np.uint64(bit & 7)
    return np.int64(word >> np.uint64(64 - width))


@compiled
def _decode(packed: Bytes, bit: int, stop: int, text: Bytes, table: Whole, size: int) -> bool:
    """Decode bits up to `stop` to `size` bytes of text; whether they were exactly that."""
    at, goal, previous = _BYTES, _BYTES + size, _BYTES
    fresh, width, last = _FIRST, _NARROWEST, 0  # 0: nothing is a code until the table has been cleared
    while at < goal and bit + width <= stop:
        code = _code_at(packed, bit, width)
        bit += width
        if code == _CLEAR:
            if bit + _NARROWEST > stop:
                return False
            code = _code_at(packed, bit, _NARROWEST)
            bit += _NARROWEST
            if code >= _BYTES:
                return False
            text[at] = code
            previous, at = at, at + 1
            fresh, width, last = _FIRST, _NARROWEST, (1 << _NARROWEST) - 1
            continue
        # Its last byte is the first of the string that is read now: they follow one another in the text.
        table[fresh] = (at - previous + 1) << _LENGTH_BITS | previous
        if code > fresh or code == _CLEAR + 1 or fresh >= last:
            return False
        place, length = table[code] & 0xFFFFFFFF, table[code] >> _LENGTH_BITS
        for done in range(0, length, _COPIED):
            _copy_16_bytes(text, at + done, place + done)
        if code == fresh:  # the string repeats its own first byte, which was not there yet
            text[at + length - 1] = text[at]
        fresh += 1
        if fresh == last and width < _WIDEST:
            width += 1
            last = _TABLE if width == _WIDEST else (1 << width) - 1
        previous, at = at, at + length
    return at == goal


@compiled
def decode_strips(packed: Bytes, starts: Whole, sizes: Whole, rows: int, out_yb: Bytes, flipped: bool) -> bool:
    """Decode strips of so many rows each, the last perhaps of fewer; whether all of them are as they ought to be.

    packed: strips of `sizes` bytes that begin at `starts`, and SLACK_BYTES. out_yb: the bytes of every row,
    C-contiguous, the last row first where it is `flipped`.
    """
    height, width = out_yb.shape
    # No string is longer than the table has entries, and whole pieces of 16 bytes are copied.
    text = np.empty(_BYTES + rows * width + _TABLE + _COPIED, np.uint8)
    table = np.zeros(_TABLE + 1, np.int64)
    for byte in range(_BYTES):
        text[byte] = byte
        table[byte] = 1 << _LENGTH_BITS | byte
    for strip in range(starts.size):
        top = strip * rows
        count = min(rows, height - top)
        first, stop = starts[strip], starts[strip] + sizes[strip]
        if not _decode(packed, 8 * first, 8 * stop, text, table, count * width):
            return False
        for line in range(count):
            row_b = out_yb[height - 1 - top - line if flipped else top + line]
            begin = _BYTES + line * width
            for x in range(width):
                row_b[x] = text[begin + x]
    return True
