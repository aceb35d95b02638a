"""Counts, pace and time left, from summaries alone."""

import pytest

from tests.tui.scenes import NOW_S, STAGES, summary
from tui.core.jobs import Jobs, StepCount
from tui.core.rates import Rate, time_left_s


def test_counts_follow_the_summary() -> None:
    jobs = Jobs()
    row = jobs.take(summary(), NOW_S)
    job = jobs.rows[row]
    assert list(job.steps) == list(STAGES)
    assert job.steps["fft"] == StepCount(done=6, running=1, failed=1, waiting=2)
    assert (job.total.total, job.total.ended, job.total.left) == (40, 28, 12)
    assert jobs.take(summary(steps={"fft": {"completed": 1}}), NOW_S + 1) == row
    assert len(jobs) == 1
    assert jobs.rows[row].total.done == 1


def test_pace_and_time_left_come_from_what_was_seen() -> None:
    jobs = Jobs()
    for second in range(0, 61, 10):
        counts = {"completed": second, "pending": 100 - second}
        jobs.take(summary(steps={"a": counts, "b": counts}), NOW_S + second)
    job = jobs.rows[0]
    assert job.images_per_second(NOW_S + 60) == pytest.approx(1.0)
    assert job.left_s(NOW_S + 60) == pytest.approx(80 / 2.0)
    assert job.images_per_second(NOW_S + 120) == pytest.approx(0.5), "nothing came since: it is slower"


def test_nothing_is_said_of_a_pace_too_soon() -> None:
    rate = Rate()
    rate.put(NOW_S, 5)
    rate.put(NOW_S + 3, 6)
    assert rate.per_second(NOW_S + 3) is None
    assert time_left_s(10, None) is None
    assert time_left_s(0, None) == 0.0


def test_tasks_put_back_begin_the_count_anew() -> None:
    rate = Rate()
    for second in range(20):
        rate.put(NOW_S + second, 10 * second)
    rate.put(NOW_S + 20, 0)
    rate.put(NOW_S + 40, 20)
    assert rate.per_second(NOW_S + 40) == pytest.approx(1.0)


def test_states_of_jobs() -> None:
    jobs = Jobs()
    jobs.take(summary("a", steps={"fft": {"completed": 3}}), NOW_S)
    jobs.take(summary("b", steps={"fft": {"completed": 3}}, state="completed"), NOW_S)
    idle, over = jobs.rows
    assert idle.state == "idle"
    assert over.state == "completed"
    assert over.elapsed_s(NOW_S + 1e6) == 3600
    assert idle.elapsed_s(NOW_S + 60) == 3660
    assert over.left_s(NOW_S) is None
