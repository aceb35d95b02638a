"""Counts, pace and time left, from summaries alone."""

import pytest
from msgspec import structs

from daemon.messages.envelope import utc
from tests.tui.scenes import NOW_S, STAGES, summary
from tui.core.jobs import Job, Jobs, StepCount
from tui.core.rates import time_left_s


def test_counts_follow_the_summary() -> None:
    jobs = Jobs()
    row = jobs.take(summary())
    job = jobs.rows[row]
    assert list(job.steps) == list(STAGES)
    assert job.steps["fft"] == StepCount(done=6, running=1, failed=1, waiting=2)
    assert (job.total.total, job.total.ended, job.total.left) == (40, 28, 12)
    assert jobs.take(summary(steps={"fft": {"completed": 1}})) == row
    assert len(jobs) == 1
    assert jobs.rows[row].total.done == 1


def test_the_time_left_is_the_same_whenever_somebody_began_to_look() -> None:
    steps = {"a": {"completed": 60, "pending": 10, "running": 2}, "b": {"completed": 40, "pending": 32}}
    told = structs.replace(summary(steps=steps, processed_lately=[6] * 11), updated_at=utc(MINUTE_S + 59))
    for earlier in (None, structs.replace(told, steps={"a": {"completed": 1}, "b": {"completed": 1}})):
        jobs = Jobs()
        for each in (earlier, told):
            if each is not None:
                jobs.take(each)
        assert jobs.rows[0].left_s(MINUTE_S + 60) == pytest.approx(32 / (60 / 600)), "images, by what most wait for"
        assert jobs.rows[0].left_s(MINUTE_S + 3600) is None, "nothing came since: it is of the last ten minutes"
    unknown = processed(pending=3)
    assert unknown.left_s(MINUTE_S) is None, "nothing was counted yet"


def test_no_time_is_left_where_nothing_goes_on() -> None:
    assert time_left_s(10, None) is None
    assert time_left_s(10, 0.0) is None
    assert time_left_s(0, None) == 0.0


def test_states_of_jobs() -> None:
    jobs = Jobs()
    jobs.take(summary("a", steps={"fft": {"completed": 3}}))
    jobs.take(summary("b", steps={"fft": {"completed": 3}}, state="completed"))
    idle, over = jobs.rows
    assert idle.state == "idle"
    assert over.state == "completed"
    assert over.elapsed_s(NOW_S + 1e6) == 3600
    assert idle.elapsed_s(NOW_S + 60) == 3660
    assert over.left_s(NOW_S) is None


def processed(*lately: int, **steps: int) -> Job:
    """A job that is told of at the last second of a minute, with what was processed in the minutes up to then."""
    jobs = Jobs()
    told = summary(steps={"a": steps or {"completed": 1}}, processed_lately=list(lately))
    jobs.take(structs.replace(told, updated_at=utc(MINUTE_S + 59)))
    return jobs.rows[0]


MINUTE_S = NOW_S - NOW_S % 60


def test_a_pace_is_of_the_last_minutes_whoever_looks_and_since_when() -> None:
    steady = processed(*[6] * 11)
    assert steady.images_per_second(MINUTE_S + 60) == pytest.approx(60 / 600)
    begun = processed(*[0] * 9, 6, 6)
    assert begun.images_per_second(MINUTE_S + 60) == pytest.approx(12 / 120), "not spread over the time before"
    slow = processed(0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0)
    assert slow.images_per_second(MINUTE_S + 60) == pytest.approx(3 / 600)


def test_nothing_is_said_of_a_pace_of_what_has_stopped() -> None:
    idle = processed(*[6] * 11)
    assert idle.images_per_second(MINUTE_S + 120) is not None, "it may be the time between two movies"
    assert idle.images_per_second(MINUTE_S + 200) is None
    assert processed(*[0] * 11).images_per_second(MINUTE_S + 60) is None
    busy = processed(*[6] * 11, pending=3)
    assert busy.images_per_second(MINUTE_S + 300) == pytest.approx(36 / 600), "something is to be done, and it is slow"
    assert busy.images_per_second(MINUTE_S + 3600) == 0
    assert processed(pending=3).images_per_second(MINUTE_S) is None, "a daemon that does not tell it"
