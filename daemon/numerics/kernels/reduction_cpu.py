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
def _mix_rows(rows: Floats, centre: int, pairs: Whole, taps: Floats, mixed: Floats) -> None:
    """The filter along y: taps[0] · centre + Σ taps[k] · (a row above + one below)."""
    row, tap = rows[centre], taps[0]
    for x in range(mixed.size):
        mixed[x] = tap * row[x]
    for k in range(1, taps.size):
        above, below, tap = rows[pairs[k - 1, 0]], rows[pairs[k - 1, 1]], taps[k]
        for x in range(mixed.size):
            mixed[x] += tap * (above[x] + below[x])


@compiled
def _mix_columns(mixed: Floats, taps: Floats, even: Floats, odd: Floats, half: Floats) -> None:
    """The filter along x, at every other pixel: those pixels apart, and those between them."""
    width, count, reach = mixed.size, half.size, taps.size - 1
    inner = odd[reach : reach + width // 2]
    for i in range(width // 2):
        even[i] = mixed[2 * i]
    for i in range(width // 2):
        inner[i] = mixed[2 * i + 1]
    if width % 2:
        even[width // 2] = mixed[width - 1]
    for k in range(reach):
        odd[reach - 1 - k] = mixed[mirrored(-2 * k - 1, width)]
    for k in range(width // 2, count + reach):
        odd[reach + k] = mixed[mirrored(2 * k + 1, width)]
    tap = taps[0]
    for i in range(count):
        half[i] = tap * even[i]
    for k in range(reach):
        # Slices from a known start: the compiler makes vectors of what it sees to be contiguous.
        left, right, tap = odd[reach - 1 - k : reach - 1 - k + count], odd[reach + k : reach + k + count], taps[k + 1]
        for i in range(count):
            half[i] += tap * (left[i] + right[i])


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
    reach = taps.size - 1
    ring = 4 * reach
    rows = np.empty((ring, width), np.float32)
    pairs = np.empty((reach, 2), np.int64)
    mixed, even = np.empty(width, np.float32), np.empty(half_yx.shape[1], np.float32)
    odd = np.empty(half_yx.shape[1] + 2 * reach, np.float32)
    done = 0
    for y in range(half_yx.shape[0]):
        while done < min(2 * (y + reach), height):
            row = rows[done % ring]
            dark_x = dark_yx[done] if dark_yx.size else dark_yx.ravel()
            gain_x = gain_yx[done] if gain_yx.size else gain_yx.ravel()
            _correct_row(raw_yx[done], dark_x, gain_x, row)
            for index in range(begins[done], begins[done + 1]):
                row[columns[index]] = repairs[index]
            done += 1
        for k in range(reach):
            pairs[k, 0] = mirrored(2 * y - 2 * k - 1, height) % ring
            pairs[k, 1] = mirrored(2 * y + 2 * k + 1, height) % ring
        _mix_rows(rows, 2 * y % ring, pairs, taps, mixed)
        _mix_columns(mixed, taps, even, odd, half_yx[y])


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
