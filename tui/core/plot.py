"""Points on a grid of character cells: axes, marks that differ in shape, and the bars of a distribution.

Every point is counted into its cell, so nothing needs thinning out: ten thousand take about as long as one screen row.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tui.core.states import Tone

PASSES, REFUSED_HERE, REFUSED, UNKNOWN, REJECTED = range(5)
"""What is told of a point; where several share a cell, the rarest kind shows: see `_RANK`."""
SIGNS: tuple[tuple[str, str, Tone], ...] = (
    ("•", "pass", "done"),
    ("×", "refused here", "failed"),
    ("○", "refused otherwise", "skipped"),
    ("?", "not known", "waiting"),
    ("◇", "rejected by hand", "skipped"),
)
_RANK = (1, 4, 3, 0, 2)
_CROWD = 4
"""From so many passing points in a cell on they are drawn fuller."""
_FULLER = "●"
_OUTLIERS = 0.005
"""Share at each end that may lie off the axis: they are drawn on its edge."""
_EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True)
class Axis:
    """From where to where, over so many cells."""

    low: float
    high: float
    cells: int

    @classmethod
    def over(cls, values: Sequence[float], cells: int, wanted: Sequence[float] = ()) -> "Axis":
        """Span the values but far outliers, and everything that must be seen; a little room at both ends."""
        ordered = sorted(values)
        left_out = int(len(ordered) * _OUTLIERS)
        seen = [*ordered[left_out : len(ordered) - left_out], *wanted]
        if not seen:
            return cls(0.0, 1.0, max(1, cells))
        low, high = min(seen), max(seen)
        room = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
        bottom = 0.0 if low >= 0 > low - room else low - room
        return cls(bottom, high + room, max(1, cells))

    def cell(self, value: float) -> int:
        """Return the cell of a value, the nearest where it lies off the axis."""
        return max(0, min(self.cells - 1, math.floor((value - self.low) / (self.high - self.low) * self.cells)))

    def value(self, cell: float) -> float:
        """Return the value in the middle of a cell."""
        return self.low + (cell + 0.5) * (self.high - self.low) / self.cells

    @property
    def step(self) -> float:
        """A round step, about a cell wide."""
        return round_step((self.high - self.low) / max(self.cells, 20))

    def ticks(self, most: int) -> list[float]:
        """Return round values to label, at most so many."""
        step = round_step((self.high - self.low) / max(1, most - 1), up=True)
        first = math.ceil(self.low / step)
        return [number * step for number in range(first, math.floor(self.high / step) + 1)]


def round_step(width: float, *, up: bool = False) -> float:
    """Return 1, 2 or 5 times a power of ten near a width, not below it with `up`."""
    if width <= 0 or not math.isfinite(width):
        return 1.0
    power = 10.0 ** math.floor(math.log10(width))
    steps = [power * factor for factor in (1, 2, 5, 10)]
    if up:
        return next(step for step in steps if step >= width * (1 - 1e-9))
    return min(steps, key=lambda step: abs(math.log(step / width)))


def show_tick(value: float, axis: Axis) -> str:
    """A value as precise as its axis asks for."""
    step = round_step((axis.high - axis.low) / 10)
    digits = max(0, -math.floor(math.log10(step)))
    return f"{value:.{min(digits, 6)}f}"


@dataclass(frozen=True)
class Grid:
    """What is drawn: for each row from the top the kind of point in each cell (None: no point), and if it is crowded;
    for each row how many points lie there, and how many off the axis above and below."""

    x: Axis
    y: Axis
    cells: tuple[tuple[tuple[int, bool] | None, ...], ...]
    histogram: tuple[int, ...]
    above: int
    below: int

    def row(self, value: float) -> int:
        """Return the row, from the top, that a value of the y axis lies in."""
        return self.y.cells - 1 - self.y.cell(value)


def fill_grid(xs: Sequence[float], ys: Sequence[float], kinds: Sequence[int], x: Axis, y: Axis) -> Grid:
    """Count points into cells."""
    ranks = [[-1] * x.cells for _ in range(y.cells)]
    counts = [[0] * x.cells for _ in range(y.cells)]
    kind_of = {rank: kind for kind, rank in enumerate(_RANK)}
    histogram = [0] * y.cells
    above = below = 0
    x_scale, y_scale = x.cells / (x.high - x.low), y.cells / (y.high - y.low)
    right, bottom = x.cells - 1, y.cells - 1
    for at, value, kind in zip(xs, ys, kinds, strict=True):
        column = min(right, max(0, int((at - x.low) * x_scale)))
        row = bottom - min(bottom, max(0, int((value - y.low) * y_scale)))
        above += value > y.high
        below += value < y.low
        counts[row][column] += 1
        histogram[row] += 1
        ranks[row][column] = max(ranks[row][column], _RANK[kind])
    cells = tuple(
        tuple(None if rank < 0 else (kind_of[rank], count >= _CROWD) for rank, count in zip(*pair, strict=True))
        for pair in zip(ranks, counts, strict=True)
    )
    return Grid(x, y, cells, tuple(histogram), above, below)


def show_sign(kind: int, is_crowded: bool) -> tuple[str, Tone]:
    """Return how a cell with points is drawn."""
    sign, _, tone = SIGNS[kind]
    return (_FULLER if kind == PASSES and is_crowded else sign), tone


def show_bar(count: int, most: int, width: int) -> str:
    """Return a bar in eighths of a cell; whatever there is at all is seen."""
    if not count or not most or width < 1:
        return ""
    eighths = max(1, round(8 * width * count / most))
    whole, rest = divmod(eighths, 8)
    return _EIGHTHS[8] * whole + (_EIGHTHS[rest] if rest else "")


def show_spark(counts: Sequence[int], width: int) -> str:
    """Return counts as a line of bars, the newest at the right; those that have no room are added to others."""
    if width < 1 or not counts:
        return ""
    share = max(1, math.ceil(len(counts) / width))
    padded = [0] * (-len(counts) % share) + list(counts)
    sums = [sum(padded[at : at + share]) for at in range(0, len(padded), share)]
    most = max(sums)
    levels = "▁▂▃▄▅▆▇█"
    return "".join("·" if not count else levels[min(7, count * 8 // (most + 1))] for count in sums)
