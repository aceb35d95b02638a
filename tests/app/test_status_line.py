import pytest

from daemon.app.status_line import pause_words, status_line
from daemon.domain.states import MovieState


def test_movies_are_counted_by_what_people_ask_for() -> None:
    movies = {
        MovieState.DONE: 12,
        MovieState.SEEN: 1,
        MovieState.SETTLING: 2,
        MovieState.COMPLETE: 3,
        MovieState.FAILED: 1,
        MovieState.IGNORED: 9,
        MovieState.QUARANTINED: 2,
    }
    assert status_line(movies) == "12 movies done, 6 waiting, 1 failed, 2 quarantined"
    assert status_line({}) == "0 movies done, 0 waiting"


def test_pauses_and_troubles_follow() -> None:
    line = status_line({}, paused=["fft", "session night"], troubles=["the disk is full", "without NATS"])
    assert line == "0 movies done, 0 waiting; paused: fft, session night; the disk is full; without NATS"


@pytest.mark.parametrize(
    ("stage", "session", "words"),
    [
        (None, None, "everything"),
        ("fft", None, "fft"),
        (None, "night", "session night"),
        ("fft", "night", "fft of night"),
    ],
)
def test_a_pause_says_what_it_holds(stage: str | None, session: str | None, words: str) -> None:
    assert pause_words(stage, session) == words
