"""Ranges, ticks and what is drawn of many values."""

from datetime import UTC, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.reports.charts import GateLine, Plot, count_per_hour, count_up, draw_metric
from daemon.reports.scales import Scale, choose_range, choose_ticks, choose_time_ticks, write_tick
from daemon.reports.sections.acquisition import bounds_of, find_gaps
from tests.reports.reading import Element, Page

SPAN = (0.0, 36_000.0)


def plot_of(values: list[float] | np.ndarray, *gates: GateLine, distrusted: list[int] | None = None) -> Plot:
    shown = np.asarray(values, dtype=np.float64)
    doubt = None if distrusted is None else np.isin(np.arange(shown.size), distrusted)
    return Plot("x", "Drift", "Å", np.linspace(*SPAN, shown.size), shown, tuple(gates), doubt)


def parts(plot: Plot) -> dict[str, Element]:
    drawn = Page(draw_metric(plot, UTC, SPAN).text).elements
    return {str(each.attributes.get("class")): each for each in drawn if each.name == "path"}


def indices(element: Element | None) -> list[int]:
    return [] if element is None else [int(index) for index in str(element.attributes["data-i"]).split()]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80), st.lists(st.floats(-1e6, 1e6), max_size=2))
def test_a_range_can_be_drawn_in(values: list[float], limits: list[float]) -> None:
    low, high = choose_range(np.asarray(values), limits)
    assert low < high
    ticks = choose_ticks(low, high)
    assert 1 <= len(ticks) <= 12
    assert all(low - 1e-6 * (high - low) <= tick <= high + 1e-6 * (high - low) for tick in ticks)
    if len(values) <= 50:
        assert low <= min(values)
        assert max(values) <= high


def test_one_wild_value_does_not_flatten_the_rest() -> None:
    values = np.append(np.linspace(3, 4, 999), 500.0)
    low, high = choose_range(values)
    assert (low, high) == pytest.approx((2.94, 4.06), abs=0.03)
    assert "1 beyond axis" in draw_metric(plot_of(values), UTC, SPAN).text


def test_a_gate_near_by_is_in_range_and_one_far_off_is_told_at_the_edge() -> None:
    near, far = GateLine("near", 5.5, True), GateLine("far", 1000.0, True)
    text = draw_metric(plot_of([3.0, 4.0, 6.0], near, far), UTC, SPAN).text
    assert "gate ≤ 5.5<" in text
    assert "gate ≤ 1\u202f000 ↑<" in text


def test_marks_tell_refused_and_doubtful_from_good() -> None:
    plot = plot_of(
        [3.0, 9.0, 4.0, np.nan, 1.0, 9.5], GateLine("g", 6.0, True), GateLine("h", 2.0, False), distrusted=[5]
    )
    drawn = parts(plot)
    assert indices(drawn["dot few hit"]) == [0, 2]
    assert indices(drawn["cross hit"]) == [1, 4]
    assert indices(drawn["plus hit"]) == [5]
    assert plot.describe().endswith("4 micrographs; 2 (50 %) within the gate; 1 more whose fit is not to be trusted")


def test_of_many_values_the_extremes_and_the_refused_are_drawn() -> None:
    values = np.random.default_rng(3).normal(10, 1, 50_000)
    values[[1234, 43_210]] = 30.0, -20.0
    drawn = parts(plot_of(values, GateLine("g", 25.0, True)))
    assert indices(drawn["cross hit"]) == [1234]
    good = indices(drawn["dot hit"])
    assert 43_210 in good
    assert len(good) <= 320
    assert len(str(drawn["band"].attributes["d"])) < 10_000


def test_a_drawing_of_one_value() -> None:
    assert indices(parts(plot_of([3.0])).get("dot few hit")) == [0]


@pytest.mark.parametrize(
    ("begin", "end", "hours", "words"),
    [
        ("19:40", 3 * 3600, 0, ["20:00", "20:30", "21:00", "21:30", "22:00", "22:30"]),
        ("22:30", 4 * 3600, 0, ["23:00", "2 Jan", "01:00", "02:00"]),
        ("00:00", 20, 0, ["1 Jan", "00:00:05", "00:00:10", "00:00:15", "00:00:20"]),
        ("12:00", 12 * 86400, 0, ["3 Jan", "5 Jan", "7 Jan", "9 Jan", "11 Jan", "13 Jan"]),
        ("19:40", 3 * 3600, 5, ["01:00", "01:30", "02:00", "02:30", "03:00", "03:30"]),
    ],
)
def test_times_are_round_on_the_local_clock(begin: str, end: float, hours: int, words: list[str]) -> None:
    hour, minute = begin.split(":")
    begin_s = int(hour) * 3600.0 + int(minute) * 60
    ticks = choose_time_ticks(begin_s, begin_s + end, timezone(timedelta(hours=hours)))
    assert [word.removeprefix("2 Jan ") for _, word in ticks][: len(words)] == words
    assert all(begin_s <= at_s <= begin_s + end for at_s, _ in ticks)


def test_ticks_have_the_decimals_they_need() -> None:
    assert [write_tick(value, 2.5) for value in (0.0, 2.5)] == ["0.0", "2.5"]
    assert [write_tick(value, 0.05) for value in (-0.0, 0.1)] == ["0.00", "0.10"]
    assert write_tick(12_000, 2000) == "12\u202f000"


def test_a_scale_keeps_to_its_ends() -> None:
    scale = Scale(0, 10, 100, 0)
    assert [scale.place(value) for value in (-5, 0, 5, 99)] == [100, 100, 50, 0]


def test_gaps_are_long_beside_the_usual_interval() -> None:
    times = np.arange(100) * 60.0
    times[50:] += 1800
    times[80:] += 300
    assert find_gaps(np.append(times, np.nan)) == [(49 * 60.0, 50 * 60.0 + 1800)]
    assert find_gaps(np.asarray([0.0, 1e6])) == []


def test_counts_over_time() -> None:
    times, numbers = count_up(np.asarray([5.0, np.nan, 1.0, 3.0]))
    assert (times.tolist(), numbers.tolist()) == ([1, 3, 5], [1, 2, 3])
    times, numbers = count_up(np.arange(100_000, dtype=np.float64), most=50)
    assert (times.size, numbers[0], numbers[-1]) == (50, 1, 100_000)
    bounds = bounds_of((30.0, 3600.0))
    assert np.unique(np.diff(bounds)).tolist() == [60.0]
    assert bounds[0] <= 30 < bounds[1]
    assert bounds[-1] >= 3600
    assert count_per_hour(np.asarray([0.0, 10.0, 70.0]), np.asarray([0.0, 60.0, 120.0])).tolist() == [120, 60]
