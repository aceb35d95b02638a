"""From values to places in a drawing: ranges, ticks, and how ticks are written."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

import numpy as np

from daemon.reports.data import Numbers

_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800)


@dataclass(frozen=True)
class Scale:
    """A straight way from values `low` to `high` to places `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Return where a value lies; what is out of range lies at the edge."""
        return self.start + (min(max(value, self.low), self.high) - self.low) * self._slope

    def places(self, values: Numbers) -> Numbers:
        """As `place`, for many."""
        placed: Numbers = self.start + (np.clip(values, self.low, self.high) - self.low) * self._slope
        return placed

    @property
    def _slope(self) -> float:
        return (self.end - self.start) / (self.high - self.low)


def choose_range(values: Numbers, limits: Sequence[float] = ()) -> tuple[float, float]:
    """Return the range to draw: nearly all values, and the limits that lie near them.

    The most extreme hundredth may lie outside, so that one wild value does not flatten the rest.
    """
    known = values[np.isfinite(values)]
    if known.size == 0:
        return 0.0, 1.0
    low, high = (float(bound) for bound in np.quantile(known, [0.005, 0.995] if known.size > 50 else [0.0, 1.0]))
    span = high - low or abs(high) * 0.1 or 1.0
    for limit in limits:
        if low - span <= limit <= high + span:
            low, high = min(low, limit), max(high, limit)
    margin = 0.06 * (high - low) or span / 2
    lowest = 0.0 if low >= 0 and low < 0.35 * high else low - margin
    return lowest, high + margin


def choose_ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Return round values between two bounds."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def choose_time_ticks(low_s: float, high_s: float, zone: tzinfo, about: int = 6) -> list[tuple[float, str]]:
    """Return round times of the local clock, each with how it is written: the day where a new one begins."""
    wanted = (high_s - low_s) / about
    step_s = next((step for step in _STEPS_S if step >= wanted), math.ceil(wanted / 604800) * 604800)
    begin = datetime.fromtimestamp(low_s, zone)
    midnight = begin.replace(hour=0, minute=0, second=0, microsecond=0)
    ticks: list[tuple[float, str]] = []
    moment, day = midnight + timedelta(seconds=(low_s - midnight.timestamp()) // step_s * step_s), ""
    while (at_s := moment.timestamp()) <= high_s:
        if at_s >= low_s:
            today = f"{moment.day} {moment:%b}"
            is_midnight = (moment.hour, moment.minute, moment.second) == (0, 0, 0)
            clock = f"{moment:%H:%M:%S}" if step_s < 60 else f"{moment:%H:%M}"
            words = today if is_midnight or step_s >= 86400 else clock if day in {"", today} else f"{today} {clock}"
            ticks.append((at_s, words))
            day = today
        moment = moment + timedelta(seconds=step_s)
    return ticks


def write_tick(value: float, step: float) -> str:
    """Return a tick's value with as many decimals as its step has."""
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    if step > 0 and round(step * 10**decimals, 6) % 1:
        decimals += 1
    return f"{value + 0.0:,.{decimals}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
