"""Each pixel beside what its surroundings predict for it, in one pass over rows that lie in a core's cache.

The twin is in numerics.surroundings: the same numbers to rounding.
"""

import numpy as np
import numpy.typing as npt

from daemon.numerics.kernels.compiling import compiled

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


@compiled
def _count(mean: Floats, frames: float, counts: Floats) -> None:
    """Sum of the frames from their mean; 0 where it is not finite."""
    factor, none = np.float32(frames), np.float32(0)
    for x in range(counts.size):
        value = factor * mean[x]
        counts[x] = value if abs(value) < np.inf else none


@compiled
def _flatten(mean_yx: Floats, gain_yx: Floats, frames: float, y: int, flat: Floats) -> None:
    """Row y, or the nearest there is, as equally sensitive pixels count, its ends repeated twice on either side."""
    height, width = mean_yx.shape
    row = min(max(y, 0), height - 1)
    inner = flat[2 : 2 + width]
    _count(mean_yx[row], frames, inner)
    if gain_yx.size:
        gain = gain_yx[row]
        for x in range(width):
            inner[x] *= gain[x] if (gain[x] > 0) & (gain[x] < np.inf) else np.float32(1)
    flat[0] = flat[1] = inner[0]
    flat[width + 2] = flat[width + 3] = inner[width - 1]


@compiled
def _sort(a: float, b: float, c: float) -> tuple[float, float, float]:
    low, high = min(a, b), max(a, b)
    middle, high = min(high, c), max(high, c)
    return min(low, middle), max(low, middle), high


@compiled
def _expect(above: Floats, own: Floats, below: Floats, expected: Floats) -> None:
    """Median of nine pixels two apart: of sorted threes the largest low, the middle of the middles, the least high."""
    for x in range(expected.size):
        low_a, middle_a, high_a = _sort(above[x], above[x + 2], above[x + 4])
        low_b, middle_b, high_b = _sort(own[x], own[x + 2], own[x + 4])
        low_c, middle_c, high_c = _sort(below[x], below[x + 2], below[x + 4])
        low, middle = max(low_a, low_b, low_c), _sort(middle_a, middle_b, middle_c)[1]
        expected[x] = _sort(low, middle, min(high_a, high_b, high_c))[1]


@compiled
def _compare(counts: Floats, expected: Floats, deviation: Floats) -> None:
    """Difference of 2·√(counts + 3/8)."""
    least, offset, two = np.float32(0), np.float32(0.375), np.float32(2)
    for x in range(deviation.size):
        own, other = np.sqrt(max(counts[x], least) + offset), np.sqrt(max(expected[x], least) + offset)
        deviation[x] = two * (own - other)


@compiled
def deviate(
    mean_yx: Floats,
    gain_yx: Floats,
    known_yx: Flags,
    frames: float,
    first: int,
    last: int,
    deviation_yx: Floats,
    bad_yx: Flags,
) -> None:
    """Rows first to last of the deviation from surroundings, and of what is defective whatever surrounds it.

    gain_yx and known_yx may be empty.
    """
    width = mean_yx.shape[1]
    above, own, below = (
        np.empty(width + 4, np.float32),
        np.empty(width + 4, np.float32),
        np.empty(width + 4, np.float32),
    )
    counts, expected = np.empty(width, np.float32), np.empty(width, np.float32)
    for y in range(first, last):
        mean, bad = mean_yx[y], bad_yx[y]
        for x in range(width):
            bad[x] = not abs(np.float32(frames) * mean[x]) < np.inf
        if known_yx.size:
            known = known_yx[y]
            for x in range(width):
                bad[x] |= known[x]
        _count(mean, frames, counts)
        _flatten(mean_yx, gain_yx, frames, y - 2, above)
        _flatten(mean_yx, gain_yx, frames, y, own)
        _flatten(mean_yx, gain_yx, frames, y + 2, below)
        _expect(above, own, below, expected)
        if gain_yx.size:
            gain = gain_yx[y]
            for x in range(width):
                is_seen = (gain[x] > 0) & (gain[x] < np.inf)
                bad[x] |= not is_seen
                expected[x] /= gain[x] if is_seen else np.float32(1)
        _compare(counts, expected, deviation_yx[y])
