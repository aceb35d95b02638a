"""Whether the daemon keeps up: what is named as limiting it, and what is forecast, against a simulated queue."""

import pytest

from daemon.engine.outlook import Hold, Load, foresee
from daemon.engine.pace import LATELY_S, READING, WRITING, PartPace
from daemon.messages.live import Outlook

LANES = {READING: 2, WRITING: 2}
USUAL_S = {"motion_correction": 6.0, "ctf_estimation": 2.0, "fft": 0.5}


def parts(slowed: dict[str, float], *, reading_s: float = 1.0) -> list[PartPace]:
    """What a node with one compute thread measures that never waits; `slowed` says how many times longer steps take."""
    takes = {name: usual_s * slowed.get(name, 1.0) for name, usual_s in USUAL_S.items()}
    slowest_s = max(sum(takes.values()), reading_s / LANES[READING])
    movies = int(LATELY_S / slowest_s)
    steps = [PartPace(name, movies, movies * took_s, took_s, USUAL_S[name]) for name, took_s in takes.items()]
    return [*steps, PartPace(READING, movies, movies * reading_s, reading_s, None)]


def look(slowed: dict[str, float], load: Load, *, reading_s: float = 1.0) -> Outlook:
    return foresee(load, parts(slowed, reading_s=reading_s), LANES, LATELY_S)


def busy(arriving: float, processed: float, backlog: int = 200) -> Load:
    return Load(arriving, processed, backlog, in_flight=3)


@pytest.mark.parametrize("stage", ["motion_correction", "ctf_estimation"])
def test_a_step_that_takes_four_times_as_long_is_named(stage: str) -> None:
    told = look({stage: 4.0}, busy(400, 200))
    assert (told.bottleneck, told.kind) == (stage, "stage")
    assert told.times_usual == pytest.approx(4.0)
    assert told.is_behind


def test_what_takes_most_is_named_where_nothing_became_slow() -> None:
    assert look({}, busy(500, 420)).bottleneck == "motion_correction"
    trifle = look({"fft": 4.0}, busy(500, 360))
    assert trifle.bottleneck == "motion_correction"


def test_reading_is_named_when_steps_wait_for_it() -> None:
    told = look({}, busy(400, 180), reading_s=40.0)
    assert (told.bottleneck, told.kind) == (READING, "reading")
    assert told.capacity_per_hour == pytest.approx(180, rel=0.01)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_saturation_is_foreseen_before_it_is_there(share: float) -> None:
    """A node at part of its capacity: what it can do at most is told within a fifth."""
    per_movie_s = sum(USUAL_S.values())
    movies = int(share * LATELY_S / per_movie_s)
    seen = [PartPace(name, movies, movies * took_s, took_s, took_s) for name, took_s in USUAL_S.items()]
    rate = 3600 * movies / LATELY_S
    told = foresee(Load(rate, rate, 1, 1), seen, LANES, LATELY_S)
    assert told.capacity_per_hour == pytest.approx(3600 / per_movie_s, rel=0.2)
    assert not told.is_behind


def test_the_backlog_of_an_hour_later_is_that_of_a_simulated_queue() -> None:
    per_movie_s, arriving, backlog = sum(USUAL_S.values()), 600.0, 100
    told = look({}, busy(arriving, 3600 / per_movie_s, backlog))
    waiting, free_s = float(backlog), 0.0
    for second in range(3600):
        waiting += arriving / 3600
        if waiting >= 1 and second >= free_s:
            waiting, free_s = waiting - 1, free_s + per_movie_s
    assert told.backlog_in_1h == pytest.approx(waiting, rel=0.2)
    assert told.wait_in_1h_s == pytest.approx(waiting * per_movie_s, rel=0.2)
    assert told.caught_up_in_s is None


def test_a_backlog_that_shrinks_tells_when_it_is_gone() -> None:
    told = look({}, busy(100, 423, backlog=1000))
    assert told.is_behind
    assert told.caught_up_in_s == pytest.approx(3600 * 1000 / 323, rel=0.05)


def test_few_movies_that_wait_are_no_falling_behind() -> None:
    assert not look({}, busy(800, 420, backlog=6)).is_behind
    assert not look({}, busy(100, 420, backlog=40)).is_behind


def test_the_first_movies_are_no_evidence_of_falling_behind() -> None:
    """The first of a small demo waits for what computes to be loaded: by it, the rest would take an hour."""
    first = [PartPace("motion_correction", 1, 90.0, 90.0, None)]
    load = Load(600, 30, 20, in_flight=3)
    assert not foresee(load, first, LANES, 100.0).is_behind
    assert foresee(load, first, LANES, LATELY_S).is_behind


def test_what_was_told_is_not_taken_back_at_the_border() -> None:
    per_hour = 3600 / sum(USUAL_S.values())

    def told(backlog_s: float, *, was_behind: bool) -> bool:
        load = busy(100, per_hour, backlog=round(backlog_s * per_hour / 3600))
        return foresee(load, parts({}), LANES, LATELY_S, was_behind=was_behind).is_behind

    assert [told(seconds, was_behind=False) for seconds in (580, 620)] == [False, True]
    assert [told(seconds, was_behind=True) for seconds in (280, 320, 580)] == [False, True, True]


@pytest.mark.parametrize("hold", [Hold("pause", "the node is paused by ada"), Hold("disk", "no room")])
def test_what_holds_everything_up_stands_above_the_steps(hold: Hold) -> None:
    told = foresee(busy(120, 0, backlog=50), parts({}), LANES, LATELY_S, hold)
    assert (told.bottleneck, told.kind, told.is_behind) == (hold.what, hold.kind, True)
    assert told.backlog_in_1h == 170
    assert told.caught_up_in_s is None
    assert told.seconds_per_movie is None


def test_before_anything_was_processed_nothing_is_foreseen() -> None:
    told = foresee(Load(60, 0, 20, 0), [], LANES, LATELY_S / 2)
    assert told.capacity_per_hour is None
    assert told.backlog_in_1h is None
    assert not told.is_behind, "it has only just begun"
    assert foresee(Load(60, 0, 20, 0), [], LANES, LATELY_S).is_behind
