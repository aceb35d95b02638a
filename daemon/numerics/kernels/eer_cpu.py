"""Electron events of EER hardware frames, decoded straight into the sums they belong to; see `formats.eer_scheme`.

The frames of one sum are decoded side by side, some rows of all of them before the next rows: the sum is written while
it lies in the cache of one core. A stream that does not end exactly behind the last pixel is wrong. Nothing is read or
written outside the arrays, whatever a stream holds.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from daemon.numerics.kernels.compiling import compiled
from daemon.numerics.kernels.loading import load_little_endian

SLACK_BYTES = 8
"""Bytes that must follow the last stream: tokens are cut out of as many at once."""
_SURE_BITS = 57
"""As many of eight bytes that begin anywhere are left behind the bit that is wanted."""
_CACHED_PIXELS = 1 << 17

Bytes = npt.NDArray[np.uint8]
Whole = npt.NDArray[np.int64]
Counts = npt.NDArray[Any]


class Layout(NamedTuple):
    """Width of a row of the sensor, its pixels; bits of run lengths, of places along x and y, and of a bare run."""

    width: int
    pixels: int
    run_bits: int
    x_bits: int
    y_bits: int
    skip_bits: int


@compiled
def _count_up_to(
    packed: Bytes, bit: int, stop: int, pixel: int, end: int, layout: Layout, counts: Counts
) -> tuple[int, int]:
    """Decode one stream until it has come to pixel `end`; where it is then.

    Beyond the last pixel by one: the stream is not what it ought to be.
    """
    longest, run_bits = np.uint64((1 << layout.run_bits) - 1), layout.run_bits
    token, skip = run_bits + layout.x_bits + layout.y_bits, layout.skip_bits
    wide, bare = np.uint64(token), np.uint64(skip)
    together, pixels, wrong = _SURE_BITS // token, layout.pixels, layout.pixels + 1
    while pixel < end:
        if bit + run_bits > stop:
            return bit, wrong
        word = load_little_endian(packed, bit >> 3) >> np.uint64(bit & 7)
        for _ in range(together):
            run = word & longest
            pixel += int(run)
            if pixel >= pixels:  # the run length behind the last event, or none where it lay in the last pixel
                return bit, pixels if pixel == pixels and bit + run_bits <= stop else wrong
            if run == longest:
                word >>= bare
                bit += skip
                continue
            counts[np.uint64(pixel)] += 1
            pixel += 1
            word >>= wide
            bit += token
            if pixel == pixels:
                return bit, pixels if bit <= stop else wrong
    return bit, pixel


@compiled
def _count_finely_up_to(
    packed: Bytes, bit: int, stop: int, pixel: int, end: int, layout: Layout, finer_bits: int, counts: Counts
) -> tuple[int, int]:
    """The same on a grid of 2^finer_bits cells per pixel and axis."""
    longest, run_bits = np.uint64((1 << layout.run_bits) - 1), layout.run_bits
    token, width = run_bits + layout.x_bits + layout.y_bits, layout.width
    pixels, wrong = layout.pixels, layout.pixels + 1
    row = pixel // width
    begin = row * width
    while pixel < end:
        if bit + run_bits > stop:
            return bit, wrong
        word = load_little_endian(packed, bit >> 3) >> np.uint64(bit & 7)
        run = word & longest
        pixel += int(run)
        if pixel >= pixels:
            return bit, pixels if pixel == pixels else wrong
        if run == longest:
            bit += layout.skip_bits
            continue
        while pixel >= begin + width:
            row, begin = row + 1, begin + width
        # The top bit of each coordinate inside the pixel is stored inverted.
        x = np.int64(word >> np.uint64(run_bits)) & ((1 << layout.x_bits) - 1) ^ (1 << (layout.x_bits - 1))
        y = np.int64(word >> np.uint64(run_bits + layout.x_bits)) & ((1 << layout.y_bits) - 1)
        y ^= 1 << (layout.y_bits - 1)
        column = ((pixel - begin) << finer_bits) + (x >> (layout.x_bits - finer_bits))
        line = (row << finer_bits) + (y >> (layout.y_bits - finer_bits))
        counts[np.uint64(line * (width << finer_bits) + column)] += 1
        pixel += 1
        bit += token
        if bit > stop:
            return bit, wrong
    return bit, pixel


@compiled
def count_events(packed: Bytes, starts: Whole, sizes: Whole, layout: Layout, finer_bits: int, counts: Counts) -> int:
    """Count the events of some hardware frames in `counts`, flat; the first frame that is wrong, or −1.

    packed: streams of `sizes` bytes that begin at `starts`, and SLACK_BYTES. counts: of the sensor's pixels, or of a
    grid of 2^finer_bits cells per pixel and axis.
    """
    bits, pixels = 8 * starts, np.zeros(starts.size, np.int64)
    cached = max(1, (_CACHED_PIXELS >> 2 * finer_bits) // layout.width) * layout.width
    for first in range(0, layout.pixels, cached):
        end = min(first + cached, layout.pixels)
        for k in range(starts.size):
            stop = 8 * (starts[k] + sizes[k])
            if finer_bits == 0:
                bits[k], pixels[k] = _count_up_to(packed, bits[k], stop, pixels[k], end, layout, counts)
            else:
                bits[k], pixels[k] = _count_finely_up_to(
                    packed, bits[k], stop, pixels[k], end, layout, finer_bits, counts
                )
            if pixels[k] > layout.pixels:
                return k
    return -1
