"""What parts of the work take of their own, now and before."""

import pytest

from daemon.engine.pace import LATELY_S, Pace


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def work(pace: Pace, clock: Clock, part: str, took_s: float, times: int = 1) -> None:
    for _ in range(times):
        with pace.working(part):
            clock.now_s += took_s


def test_what_a_part_takes_now_stands_beside_what_it_took(clock: Clock) -> None:
    pace = Pace(clock)
    work(pace, clock, "ctf", 2.0, times=10)
    clock.now_s += LATELY_S
    work(pace, clock, "ctf", 8.0, times=5)
    (part,) = pace.parts()
    assert (part.name, part.count, part.mean_s, part.usual_s) == ("ctf", 5, 8.0, 2.0)
    assert part.busy_s == 40.0
    assert pace.total_s() == 60.0
    assert pace.total_s(leave_out=["ctf"]) == 0.0


def test_what_runs_counts_while_it_runs(clock: Clock) -> None:
    pace = Pace(clock)
    with pace.working("ctf"):
        clock.now_s += 30.0
        (part,) = pace.parts()
        assert (part.count, part.busy_s, part.mean_s) == (0, 30.0, None)
        assert pace.total_s() == 30.0
        clock.now_s += 2 * LATELY_S
        assert pace.parts()[0].busy_s == LATELY_S


def test_few_runs_are_judged_with_those_before_them(clock: Clock) -> None:
    pace = Pace(clock)
    work(pace, clock, "motion", 100.0, times=2)
    clock.now_s += LATELY_S
    work(pace, clock, "motion", 400.0)
    (part,) = pace.parts()
    assert part.count == 1
    assert part.mean_s == 200.0
    assert part.usual_s is None


def test_a_run_that_fails_took_its_time_too(clock: Clock) -> None:
    pace = Pace(clock)

    def fail() -> None:
        with pace.working("ctf"):
            clock.now_s += 1.0
            raise ValueError("no rings")

    with pytest.raises(ValueError, match="no rings"):
        fail()
    assert pace.parts()[0].busy_s == 1.0
