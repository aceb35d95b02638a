"""Raw frames made small on the CPU: corrected, filtered and thinned out in one pass while rows lie in a core's cache.

The twins are in motion_halving: the same numbers to rounding.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.numerics.kernels.compiling import compiled
from daemon.numerics.kernels.frame_rows_cpu import mirrored

Floats = npt.NDArray[np.float32]
Whole = npt.NDArray[np.int64]

_U = np.uint64
"""Indices that cannot be negative: numba then spares itself a question at every pixel, and vectorises."""

_PAIRS = 4
"""Pairs of taps in one pass over a row: sums stay in registers, and the compiler still sees that nothing overlaps."""


@compiled
def _correct_row(raw_x: Any, dark_x: Floats, gain_x: Floats, row: Floats) -> None:
    if dark_x.size and gain_x.size:
        for x in range(row.size):
            row[x] = (np.float32(raw_x[x]) - dark_x[x]) * gain_x[x]
    elif gain_x.size:
        for x in range(row.size):
            row[x] = np.float32(raw_x[x]) * gain_x[x]
    elif dark_x.size:
        for x in range(row.size):
            row[x] = np.float32(raw_x[x]) - dark_x[x]
    else:
        for x in range(row.size):
            row[x] = np.float32(raw_x[x])


@compiled
def _add_pairs(mixed: Floats, flat: Floats, left: Whole, right: Whole, taps: Floats) -> None:
    """Add four taps times sums of two runs each, of one array, that begin at left and right."""
    a, b, c, d = _U(left[0]), _U(left[1]), _U(left[2]), _U(left[3])
    e, f, g, h = _U(right[0]), _U(right[1]), _U(right[2]), _U(right[3])
    tap_a, tap_b, tap_c, tap_d = taps[0], taps[1], taps[2], taps[3]
    for x in range(_U(mixed.size)):
        near = tap_a * (flat[a + x] + flat[e + x]) + tap_b * (flat[b + x] + flat[f + x])
        mixed[x] += near + (tap_c * (flat[c + x] + flat[g + x]) + tap_d * (flat[d + x] + flat[h + x]))


@compiled
def _mix_columns(row: Floats, taps: Floats, odd: Floats, left: Whole, right: Whole, half: Floats) -> None:
    """The filter along x, at every other pixel: those pixels apart, and in `odd` those between them."""
    width, reach = row.size, taps.size - 1
    inner, tap = odd[reach : reach + width // 2], taps[0]
    for i in range(width // 2):
        half[i] = tap * row[2 * i]
        inner[i] = row[2 * i + 1]
    if width % 2:
        half[width // 2] = tap * row[width - 1]
    for k in range(reach):
        odd[reach - 1 - k] = row[mirrored(-2 * k - 1, width)]
    for k in range(width // 2, half.size + reach):
        odd[reach + k] = row[mirrored(2 * k + 1, width)]
    for k in range(0, reach, _PAIRS):
        for pair in range(_PAIRS):
            left[pair], right[pair] = reach - 1 - k - pair, reach + k + pair
        _add_pairs(half, odd, left, right, taps[k + 1 :])


@compiled
def _mix_rows(rows: Floats, y: int, height: int, taps: Floats, left: Whole, right: Whole, half: Floats) -> None:
    """The filter along y, at row y of an image of that height: taps[0] · row + Σ taps[k] · (a row above + one below).

    rows: the last of them, flat, in a ring.
    """
    width, reach, tap = half.size, taps.size - 1, taps[0]
    ring = rows.size // width
    centre = rows[y % ring * width : (y % ring + 1) * width]
    for x in range(width):
        half[x] = tap * centre[x]
    for k in range(0, reach, _PAIRS):
        for pair in range(_PAIRS):
            distance = 2 * (k + pair) + 1
            left[pair] = mirrored(y - distance, height) % ring * width
            right[pair] = mirrored(y + distance, height) % ring * width
        _add_pairs(half, rows, left, right, taps[k + 1 :])


@compiled
def halve(
    raw_yx: Any,
    dark_yx: Floats,
    gain_yx: Floats,
    begins: Whole,
    columns: Whole,
    repairs: Floats,
    taps: Floats,
    half_yx: Floats,
) -> None:
    """Corrected frame, filtered by a half-band filter along both axes, at every other pixel of every other row.

    taps: that of the centre and those of the odd distances 1, 3, 5, … on either side. Edges are mirrored.
    """
    height, width = raw_yx.shape
    # Pairs are added a few at a time: what there are too few of weighs nothing.
    reach = -(-(taps.size - 1) // _PAIRS) * _PAIRS
    padded = np.zeros(reach + 1, np.float32)
    padded[: taps.size] = taps
    across = half_yx.shape[1]
    ring = 4 * reach
    rows = np.zeros(ring * across, np.float32)
    row, odd = np.empty(width, np.float32), np.empty(across + 2 * reach, np.float32)
    left, right = np.empty(_PAIRS, np.int64), np.empty(_PAIRS, np.int64)
    done = 0
    for y in range(half_yx.shape[0]):
        while done < min(2 * (y + reach), height):
            dark_x = dark_yx[done] if dark_yx.size else dark_yx.ravel()
            gain_x = gain_yx[done] if gain_yx.size else gain_yx.ravel()
            _correct_row(raw_yx[done], dark_x, gain_x, row)
            for index in range(begins[done], begins[done + 1]):
                row[columns[index]] = repairs[index]
            at = done % ring * across
            _mix_columns(row, padded, odd, left, right, rows[at : at + across])
            done += 1
        _mix_rows(rows, 2 * y, height, padded, left, right, half_yx[y])


@compiled
def pack_cut(
    spectrum_yx2: Floats, response_y: Floats, response_x: Floats, inner_x2: Whole, words_yx: Any
) -> tuple[float, int]:
    """Cut a half-plane transform to the lowest frequencies, multiply, and round to words of two bfloat16.

    The Nyquist row and column are zero. inner_x2: from and up to which column of each row power is measured; its sum
    comes back with the count.
    """
    rows, columns = words_yx.shape
    negative = spectrum_yx2.shape[0] - rows
    total, count = 0.0, 0
    bits_r, bits_i = np.empty(columns, np.uint32), np.empty(columns, np.uint32)
    re, im = bits_r.view(np.float32), bits_i.view(np.float32)
    for y in range(rows):
        row_x2 = spectrum_yx2[y if y < rows // 2 else y + negative]
        along_y = response_y[y]
        for x in range(columns):
            factor = along_y * response_x[x]
            re[x], im[x] = factor * row_x2[x, 0], factor * row_x2[x, 1]
        for x in range(inner_x2[y, 0], inner_x2[y, 1]):
            total += re[x] * re[x] + im[x] * im[x]
        count += max(inner_x2[y, 1] - inner_x2[y, 0], 0)
        words_x = words_yx[y]
        for x in range(columns):
            low, high = bits_r[x], bits_i[x]
            low = np.uint32(low + np.uint32(0x7FFF) + ((low >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
            high = np.uint32(high + np.uint32(0x7FFF) + ((high >> np.uint32(16)) & np.uint32(1)))
            words_x[x] = np.uint32(low | (high & np.uint32(0xFFFF0000)))
    return total, count
