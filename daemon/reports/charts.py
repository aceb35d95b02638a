"""The drawings of a report: a number over time with its distribution beside it, and counts over time.

Few points are drawn one by one; of many, what a reader would see of them anyway: median and middle four fifths of each
interval, and whatever lies outside the gates or farthest out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo

import numpy as np
import numpy.typing as npt

from daemon.reports import drawing
from daemon.reports.data import Numbers
from daemon.reports.drawing import LEFT, RIGHT, WIDTH, Frame, label
from daemon.reports.markup import Html, show_number
from daemon.reports.scales import Scale, choose_range

Chosen = npt.NDArray[np.bool_]

MOST_DOTS = 1500
"""Above this the points are not all drawn."""
_FEW = 300
_MOST_DOUBTFUL = 300
_INTERVALS = 160
_MEDIANS = 40
_FEWEST_FOR_MEDIANS = 30
_MOST_BINS = 28
_METRIC_HEIGHT, _COUNT_HEIGHT = 190, 200
_BARS_LEFT, _BARS_RIGHT = RIGHT + 16, 836


@dataclass(frozen=True)
class GateLine:
    """A limit in the unit of the drawing, and on which side of it an image passes."""

    name: str
    limit: float
    passes_below: bool

    def refuses(self, values: Numbers) -> Chosen:
        """Return which values lie on the wrong side."""
        with np.errstate(invalid="ignore"):
            refused: Chosen = values > self.limit if self.passes_below else values < self.limit
        return refused


@dataclass(frozen=True)
class Plot:
    """A number of every micrograph over time."""

    key: str
    title: str
    unit: str
    times_s: Numbers
    values: Numbers
    gates: tuple[GateLine, ...] = ()
    distrusted: Chosen | None = None
    """Values that mean nothing, whatever they are."""

    @property
    def shown(self) -> Chosen:
        """Which values there are."""
        known: Chosen = np.isfinite(self.values) & np.isfinite(self.times_s)
        return known

    @property
    def trusted(self) -> Chosen:
        """Which of them mean something."""
        return self.shown if self.distrusted is None else self.shown & ~self.distrusted

    @property
    def counted(self) -> Chosen:
        """Which of them medians and axes are of: those that mean something, or all, where none does."""
        return self.trusted if self.trusted.any() else self.shown

    @property
    def outside(self) -> Chosen:
        """Which of them a gate of this number refuses."""
        outside = np.zeros(self.values.shape, dtype=bool)
        for gate in self.gates:
            outside |= gate.refuses(self.values)
        return outside & self.trusted

    def describe(self) -> str:
        """Say in a line what the drawing shows."""
        known = self.values[self.counted]
        low, middle, high = (show_number(float(value), 3) for value in np.quantile(known, [0.1, 0.5, 0.9]))
        unit = f" {self.unit}" if self.unit else ""
        said = f"median {middle}{unit}, middle 80 % from {low} to {high}{unit}, {show_number(known.size)} micrographs"
        if not self.trusted.any():
            return f"no fit is to be trusted, and these are of such: {said}"
        if self.gates:
            within = known.size - int(self.outside.sum())
            said += f"; {show_number(within)} ({100 * within / known.size:.0f} %) within the gate"
        if left_out := int(self.shown.sum()) - known.size:
            said += f"; {show_number(left_out)} more whose fit is not to be trusted"
        return said


def draw_metric(plot: Plot, zone: tzinfo, span: tuple[float, float]) -> Html:
    """Return a number over time, its gates, and its distribution on the same axis."""
    counted = plot.counted
    values, outside = plot.values[counted], plot.outside[counted]
    frame = Frame.over(span, choose_range(values, [gate.limit for gate in plot.gates]), _METRIC_HEIGHT, zone)
    parts = [*(_refused_zone(gate, frame) for gate in plot.gates), frame.axes(plot.unit)]
    parts += _points(plot, frame)
    parts += _bars(values, outside, frame)
    parts += [part for gate in plot.gates for part in _gate(gate, frame)]
    beyond = int(((values > frame.y.high) | (values < frame.y.low)).sum())
    if beyond:
        parts.append(label(_BARS_RIGHT + 6, _METRIC_HEIGHT - 8, f"{show_number(beyond)} beyond axis"))
    return drawing.picture(
        plot.key,
        plot.title,
        f"{plot.title}: {plot.describe()}",
        _METRIC_HEIGHT,
        parts,
        unit=plot.unit,
        y=f"{frame.y.low:.8g} {frame.y.high:.8g} {frame.y.start:g} {frame.y.end:g}",
    )


def _points(plot: Plot, frame: Frame) -> list[Html]:
    trusted = plot.trusted
    indices = np.flatnonzero(trusted)
    times_s, values, outside = plot.times_s[trusted], plot.values[trusted], plot.outside[trusted]
    xs, ys = frame.x.places(times_s), frame.y.places(values)
    is_many = values.size > MOST_DOTS
    drawn = _farthest(times_s, values, outside) if is_many else np.ones(values.shape, dtype=bool)
    doubtful = np.flatnonzero(plot.shown & ~trusted)
    doubtful = doubtful[:: max(1, -(-doubtful.size // _MOST_DOUBTFUL))]
    good, bad = drawn & ~outside, drawn & outside
    parts = [
        _spread(frame, times_s, values) if is_many else Html(""),
        drawing.pluses(frame.x.places(plot.times_s[doubtful]), frame.y.places(plot.values[doubtful]), doubtful),
        drawing.dots(xs[good], ys[good], indices[good], "dot few" if values.size < _FEW else "dot"),
        drawing.crosses(xs[bad], ys[bad], indices[bad]),
    ]
    if values.size >= _FEWEST_FOR_MEDIANS:
        bounds = np.linspace(times_s.min(), times_s.max(), _MEDIANS + 1)
        centres, quantiles = _quantiles(times_s, values, bounds, [0.5])
        parts.append(drawing.line(frame.x.places(centres), frame.y.places(quantiles[0]), "median"))
    return parts


def _spread(frame: Frame, times_s: Numbers, values: Numbers) -> Html:
    bounds = np.linspace(times_s.min(), times_s.max(), _INTERVALS + 1)
    centres, (lower, upper) = _quantiles(times_s, values, bounds, [0.1, 0.9])
    return drawing.band(frame.x.places(centres), frame.y.places(lower), frame.y.places(upper))


def _quantiles(times_s: Numbers, values: Numbers, bounds: Numbers, wanted: list[float]) -> tuple[Numbers, Numbers]:
    """Return the middles of the intervals and the quantiles in them; NaN where an interval has no value."""
    centres = (bounds[1:] + bounds[:-1]) / 2
    found = np.full((len(wanted), centres.size), np.nan)
    places = np.clip(np.searchsorted(bounds, times_s, side="right") - 1, 0, centres.size - 1)
    order = np.argsort(places, kind="stable")
    numbers, starts = np.unique(places[order], return_index=True)
    for number, group in zip(numbers, np.split(values[order], starts[1:]), strict=True):
        found[:, number] = np.quantile(group, wanted)
    return centres, found


def _farthest(times_s: Numbers, values: Numbers, outside: Chosen) -> Chosen:
    """Choose, of many values, the least and largest of each interval, and as many of the refused as may be drawn."""
    chosen = np.zeros(values.shape, dtype=bool)
    bounds = np.linspace(times_s.min(), times_s.max(), _INTERVALS + 1)
    places = np.clip(np.searchsorted(bounds, times_s, side="right") - 1, 0, _INTERVALS - 1)
    order = np.lexsort((values, places))
    _, starts = np.unique(places[order], return_index=True)
    chosen[order[starts]] = True
    chosen[order[np.append(starts[1:], order.size) - 1]] = True
    refused = np.flatnonzero(outside)
    room = MOST_DOTS - int(chosen.sum())
    chosen[refused[:: max(1, -(-refused.size // max(room, 1)))]] = True
    return chosen


def _refused_zone(gate: GateLine, frame: Frame) -> Html:
    place = frame.y.place(gate.limit)
    top, bottom = frame.y.end, frame.y.start
    begin, end = (top, place) if gate.passes_below else (place, bottom)
    return drawing.zone(LEFT, begin, _BARS_RIGHT - LEFT, end - begin, "refused")


def _gate(gate: GateLine, frame: Frame) -> list[Html]:
    """Return the line of a gate through both panels, or, where it lies outside, words at that edge."""
    sign = "≤" if gate.passes_below else "≥"
    words = f"gate {sign} {show_number(gate.limit)}"
    place = frame.y.place(gate.limit)
    if frame.y.low <= gate.limit <= frame.y.high:
        path = f'<path class="gate" data-gate="{gate.name}" d="M{LEFT} {place:.1f}H{_BARS_RIGHT}"/>'
        return [Html(path), label(_BARS_RIGHT + 6, place + 4, words, class_="gate-word")]
    is_above = gate.limit > frame.y.high
    edge = label(
        _BARS_RIGHT + 6, place + (8 if is_above else 0), f"{words} {'↑' if is_above else '↓'}", class_="gate-word"
    )
    return [Html(f'<path class="gate" data-gate="{gate.name}" d=""/>'), edge]


def _bars(values: Numbers, outside: Chosen, frame: Frame) -> list[Html]:
    bins = int(np.clip(2 * values.size**0.5, 8, _MOST_BINS))
    bounds = np.linspace(frame.y.low, frame.y.high, bins + 1)
    clipped = np.clip(values, frame.y.low, frame.y.high)
    every, _ = np.histogram(clipped, bounds)
    refused, _ = np.histogram(clipped[outside], bounds)
    if not every.any():
        return []
    scale = Scale(0.0, float(every.max()), _BARS_LEFT, _BARS_RIGHT - 6)
    thickness = (frame.y.start - frame.y.end) / bins - 1
    parts = []
    for class_, starts, ends in (("bar", refused, every), ("bar out", np.zeros_like(refused), refused)):
        path = ""
        for number in np.flatnonzero(ends > starts):
            begin, end = scale.place(float(starts[number])), scale.place(float(ends[number]))
            top, length = frame.y.place(float(bounds[number + 1])) + 0.5, end - begin
            path += f"M{begin:.1f} {top:.1f}h{length:.1f}v{thickness:.1f}h{-length:.1f}z"
        parts.append(Html(f'<path class="{class_}" d="{path}"/>' if path else ""))
    parts.append(
        label((_BARS_LEFT + _BARS_RIGHT) / 2, frame.height - 8, f"most in a bin: {every.max()}", anchor="middle")
    )
    return parts


@dataclass(frozen=True)
class Curve:
    """A line of a drawing of counts, with its name and its class of style."""

    name: str
    class_: str
    xs_s: Numbers
    ys: Numbers


def draw_counts(
    key: str,
    title: str,
    curves: Sequence[Curve],
    zone: tzinfo,
    span: tuple[float, float],
    *,
    gaps: Sequence[tuple[float, float]] = (),
    unit: str = "",
) -> Html:
    """Return counts over time, one line each; where a curve has one more x than y it is drawn as steps."""
    highest = max((float(curve.ys.max()) for curve in curves if curve.ys.size), default=1.0) or 1.0
    frame = Frame.over(span, (0.0, highest * 1.06), _COUNT_HEIGHT, zone, WIDTH - 130)
    parts = [
        drawing.zone(
            frame.x.place(begin),
            frame.y.end,
            frame.x.place(end) - frame.x.place(begin),
            frame.y.start - frame.y.end,
            "gap",
        )
        for begin, end in gaps
    ]
    parts.append(frame.axes(unit))
    at = 24.0
    for curve in curves:
        if not curve.ys.size:
            continue
        xs, ys = frame.x.places(curve.xs_s), frame.y.places(curve.ys)
        is_steps = curve.xs_s.size == curve.ys.size + 1
        parts.append(drawing.steps(xs, ys, curve.class_) if is_steps else drawing.line(xs, ys, curve.class_))
        sample = f'<path class="line {curve.class_}" d="M{WIDTH - 118} {at:g}h22"/>'
        parts += [Html(sample), label(WIDTH - 90, at + 4, curve.name)]
        at += 18
    if gaps:
        parts += [drawing.zone(WIDTH - 118, at - 6, 22, 12, "gap"), label(WIDTH - 90, at + 4, "no new movie")]
    said = "; ".join(f"{curve.name} up to {show_number(float(curve.ys.max()))}" for curve in curves if curve.ys.size)
    return drawing.picture(key, title, f"{title}: {said}", _COUNT_HEIGHT, parts)


def count_up(times_s: Numbers, most: int = 400) -> tuple[Numbers, Numbers]:
    """Return how many there were at times, thinned out evenly where there are many."""
    known = np.sort(times_s[np.isfinite(times_s)])
    numbers = np.arange(1, known.size + 1, dtype=np.float64)
    if known.size > most:
        chosen = np.unique(np.linspace(0, known.size - 1, most).astype(int))
        known, numbers = known[chosen], numbers[chosen]
    return known, numbers


def count_per_hour(times_s: Numbers, bounds_s: Numbers) -> Numbers:
    """Return movies per hour in intervals."""
    counts, _ = np.histogram(times_s[np.isfinite(times_s)], bounds_s)
    rates: Numbers = counts / np.diff(bounds_s) * 3600
    return rates
