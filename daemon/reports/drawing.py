"""Pieces of inline SVG: a frame with axes, paths with few bytes a point. Colours and fonts are the page's own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import tzinfo

import numpy as np

from daemon.reports.data import Numbers
from daemon.reports.markup import Html, escape, tag
from daemon.reports.scales import Scale, choose_ticks, choose_time_ticks, write_tick

WIDTH = 960
LEFT, RIGHT, TOP, BOTTOM = 62, 700, 14, 26
"""Margins of the panel that has time on its x axis; RIGHT is a place, the others are widths."""


@dataclass(frozen=True)
class Frame:
    """A panel with time along x."""

    x: Scale
    y: Scale
    height: int
    zone: tzinfo

    @classmethod
    def over(
        cls, times: tuple[float, float], values: tuple[float, float], height: int, zone: tzinfo, right: float = RIGHT
    ) -> "Frame":
        """Return a frame that shows these ranges."""
        begin, end = times
        end = end if end > begin else begin + 60.0
        return cls(Scale(begin, end, LEFT + 6, right - 6), Scale(*values, height - BOTTOM, TOP), height, zone)

    def axes(self, unit: str) -> Html:
        """Return grid, ticks and their labels."""
        y_ticks = choose_ticks(self.y.low, self.y.high)
        step = y_ticks[1] - y_ticks[0] if len(y_ticks) > 1 else self.y.high - self.y.low
        left, right = self.x.start - 6, self.x.end + 6
        parts = [
            f'<path class="grid" d="{"".join(f"M{left:g} {self.y.place(tick):.1f}H{right:g}" for tick in y_ticks)}"/>'
        ]
        parts += [_label(left - 6, self.y.place(tick) + 4, write_tick(tick, step), "end") for tick in y_ticks]
        for at_s, words in choose_time_ticks(self.x.low, self.x.high, self.zone):
            parts.append(_label(self.x.place(at_s), self.height - 8, words, "middle"))
        if unit:
            parts.append(_label(left - 6, 10, unit, "end"))
        return Html("".join(parts))


def _label(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def label(x: float, y: float, words: str, *, anchor: str = "start", class_: str | None = None) -> Html:
    """Return a few words at a place."""
    return tag("text", words, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_=class_)


def dots(xs: Numbers, ys: Numbers, indices: Iterable[int], class_: str = "dot") -> Html:
    """Return points; `indices` say which micrographs they are."""
    path = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in zip(xs, ys, strict=True))
    return tag("path", class_=f"{class_} hit", d=path, data_i=" ".join(map(str, indices))) if path else Html("")


def crosses(xs: Numbers, ys: Numbers, indices: Iterable[int]) -> Html:
    """Return points as crosses."""
    path = "".join(f"M{x - 3:.1f} {y - 3:.1f}l6 6m-6 0l6-6" for x, y in zip(xs, ys, strict=True))
    return (
        tag("path", class_="cross hit", d=path, data_i=" ".join(map(str, indices)), data_o="3 3") if path else Html("")
    )


def pluses(xs: Numbers, ys: Numbers, indices: Iterable[int]) -> Html:
    """Return points as small upright crosses."""
    path = "".join(f"M{x - 3:.1f} {y:.1f}h6m-3-3v6" for x, y in zip(xs, ys, strict=True))
    if not path:
        return Html("")
    return tag("path", class_="plus hit", d=path, data_i=" ".join(map(str, indices)), data_o="3 0")


def line(xs: Numbers, ys: Numbers, class_: str) -> Html:
    """Return a line through points; where a value is missing it is broken."""
    path, is_on = [], False
    for x, y in zip(xs, ys, strict=True):
        if not np.isfinite(y):
            is_on = False
            continue
        path.append(f"{'L' if is_on else 'M'}{x:.1f} {y:.1f}")
        is_on = True
    return tag("path", class_=f"line {class_}", d="".join(path)) if path else Html("")


def steps(xs: Numbers, ys: Numbers, class_: str) -> Html:
    """Return a line of steps; `xs` are the bounds of the steps, one more than `ys`."""
    path = f"M{xs[0]:.1f} {ys[0]:.1f}" + "".join(f"V{y:.1f}H{x:.1f}" for x, y in zip(xs[1:], ys, strict=True))
    return tag("path", class_=f"line {class_}", d=path)


def band(xs: Numbers, lower: Numbers, upper: Numbers) -> Html:
    """Return the area between two lines; where a value is missing it is broken."""
    known = np.isfinite(lower) & np.isfinite(upper)
    runs = np.split(np.arange(known.size), np.flatnonzero(np.diff(known)) + 1)
    path = ""
    for run in runs:
        if known[run[0]] and run.size > 1:
            there = [f"{xs[number]:.1f} {upper[number]:.1f}" for number in run]
            back = [f"{xs[number]:.1f} {lower[number]:.1f}" for number in run[::-1]]
            path += f"M{'L'.join([*there, *back])}Z"
    return tag("path", class_="band", d=path) if path else Html("")


def zone(x: float, y: float, width: float, height: float, class_: str) -> Html:
    """Return a shaded rectangle."""
    sizes = {"x": x, "y": y, "width": max(width, 0.0), "height": max(height, 0.0)}
    return tag("rect", class_=class_, **{name: f"{size:.1f}" for name, size in sizes.items()})


def picture(key: str, title: str, description: str, height: int, parts: Sequence[Html], **data: str | float) -> Html:
    """Return a whole drawing that says to those who cannot see it what it shows."""
    title_id, description_id = f"{key}-t", f"{key}-d"
    return tag(
        "svg",
        tag("title", title, id=title_id),
        tag("desc", description, id=description_id),
        *parts,
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        aria_labelledby=f"{title_id} {description_id}",
        **{f"data_{name}": value for name, value in data.items()},
    )
