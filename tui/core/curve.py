"""What a plot of figures shows: which numbers on which axis, which limits, and where the cursor is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from daemon.messages.curation import MeasureInfo
from tui.core.curation import Curation, Judged
from tui.core.plot import Axis, Grid, fill_grid, show_tick

TIME = ""
"""In place of a measure on the x axis."""


@dataclass(frozen=True)
class Point:
    """An image on the plot; which session it is of, and its place there."""

    session: str
    name: str
    place: int
    x: float
    y: float
    kind: int


@dataclass(frozen=True)
class Curve:
    """One measure against time or another measure, of one session or of several."""

    measure: MeasureInfo
    against: str
    points: Sequence[Point]
    grid: Grid
    labels: Sequence[tuple[int, str]]
    missing: int
    """Images without the number."""
    median: float | None

    def cell_of(self, point: Point) -> tuple[int, int]:
        """Return column and row of a point."""
        return self.grid.x.cell(point.x), self.grid.row(point.y)

    def nearest(self, column: int, row: int) -> int | None:
        """Return the place in `points` of the one nearest to a cell, rows counting twice; None where there is none."""
        best, best_far = None, math.inf
        for place, point in enumerate(self.points):
            at_column, at_row = self.cell_of(point)
            far = (at_column - column) ** 2 + 4 * (at_row - row) ** 2
            if far < best_far:
                best, best_far = place, far
        return best


def trace_curve(
    curations: Sequence[Curation], judged: Sequence[Judged], measure: MeasureInfo, against: str, cells: tuple[int, int]
) -> Curve:
    """Make a curve for so many cells; `against` is a measure's key, or TIME."""
    points: list[Point] = []
    missing = 0
    for curation, verdicts in zip(curations, judged, strict=True):
        ys = curation.values(measure.key)
        xs = [image.at_s for image in curation.images] if against == TIME else curation.values(against)
        kinds = curation.kinds(verdicts, measure.key)
        for place, (image, x, y, kind) in enumerate(zip(curation.images, xs, ys, kinds, strict=True)):
            if x is None or y is None:
                missing += 1
            else:
                points.append(Point(curation.session, image.name, place, x, y, kind))
    points.sort(key=lambda point: point.x)
    limits = [
        limit
        for curation in curations
        for gate in curation.gates_of(measure.key)
        if (limit := curation.limit(gate)) is not None
    ]
    ys_seen = [point.y for point in points]
    y_axis = Axis.over(ys_seen, cells[1], _near(limits, ys_seen))
    x_axis = Axis.over([point.x for point in points], cells[0])
    grid = fill_grid([point.x for point in points], ys_seen, [point.kind for point in points], x_axis, y_axis)
    labels = _label_times(x_axis) if against == TIME else _label_values(x_axis)
    return Curve(measure, against, points, grid, labels, missing, median(ys_seen) if ys_seen else None)


def _near(limits: Sequence[float], values: Sequence[float]) -> list[float]:
    """Leave out limits so far from all values that showing them would press these into a line."""
    if not values:
        return list(limits)
    low, high = min(values), max(values)
    room = 2 * (high - low) or abs(high) or 1.0
    return [limit for limit in limits if low - room <= limit <= high + room]


def _label_times(axis: Axis) -> list[tuple[int, str]]:
    moments = [axis.value(cell) for cell in range(0, axis.cells, max(12, axis.cells // 6))]
    spans_days = axis.high - axis.low > 86_400
    return [
        (axis.cell(at_s), datetime.fromtimestamp(at_s).astimezone().strftime("%m-%d %H:%M" if spans_days else "%H:%M"))
        for at_s in moments
    ]


def _label_values(axis: Axis) -> list[tuple[int, str]]:
    return [(axis.cell(tick), show_tick(tick, axis)) for tick in axis.ticks(max(2, axis.cells // 12))]
