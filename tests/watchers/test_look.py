"""One look at one file."""

import os
from pathlib import Path

import pytest

from daemon.errors import FileUnreadable
from daemon.formats.structure import MovieStructure, inspect_structure
from daemon.watchers.look import Inspect, look_at
from daemon.watchers.settle import History, Observation, SettleRule, remember
from tests.watchers.stand_ins import StepClock, write_small_mrc


def look(
    path: Path, history: History, *, clock: StepClock, inspect: Inspect = inspect_structure, renamed: bool = False
) -> Observation | None:
    return look_at(path, history, rule=SettleRule(), renamed_into_place=renamed, clock=clock, inspect=inspect)


@pytest.fixture
def clock() -> StepClock:
    return StepClock()


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    return write_small_mrc(tmp_path / "a.mrc")


def first_look(path: Path, clock: StepClock) -> History:
    status = path.lstat()
    return remember(None, Observation(clock.now_s, status.st_size, status.st_mtime_ns))


def test_bytes_are_left_alone_until_the_file_is_silent(movie: Path, clock: StepClock) -> None:
    def inspect(path: Path) -> MovieStructure:
        raise AssertionError(path)

    history = first_look(movie, clock)
    clock.now_s += 4.0
    assert look(movie, history, clock=clock, inspect=inspect) == Observation(
        clock.now_s, movie.stat().st_size, movie.stat().st_mtime_ns
    )


def test_a_silent_file_is_opened(movie: Path, clock: StepClock) -> None:
    history = first_look(movie, clock)
    clock.now_s += 5.0
    seen = look(movie, history, clock=clock)
    assert seen is not None
    assert seen.structure == inspect_structure(movie)
    assert seen.zero_tail is None


def test_a_file_renamed_into_place_is_opened_at_once(movie: Path, clock: StepClock) -> None:
    seen = look(movie, first_look(movie, clock), clock=clock, renamed=True)
    assert seen is not None
    assert seen.structure is not None


def test_what_was_read_while_somebody_wrote_does_not_count(movie: Path, clock: StepClock) -> None:
    def inspect(path: Path) -> MovieStructure:
        structure = inspect_structure(path)
        with path.open("ab") as file:
            file.write(b"more")
        return structure

    history = first_look(movie, clock)
    clock.now_s += 5.0
    seen = look(movie, history, clock=clock, inspect=inspect)
    assert seen is not None
    assert seen.structure is None
    clock.now_s += 1.0
    after = look(movie, remember(history, seen), clock=clock)
    assert after is not None
    assert after.size_bytes == seen.size_bytes + 4
    assert remember(remember(history, seen), after).silent_for_s == 0.0


def test_the_end_of_a_zero_tailed_mrc_is_measured(tmp_path: Path, clock: StepClock) -> None:
    movie = write_small_mrc(tmp_path / "a.mrc", frames=4, edge_px=64)
    content = bytearray(movie.read_bytes())
    content[-64 * 64 :] = bytes(64 * 64)
    movie.write_bytes(content)
    history = first_look(movie, clock)
    clock.now_s += 5.0
    seen = look(movie, history, clock=clock)
    assert seen is not None
    assert seen.zero_tail is not None
    assert seen.zero_tail.blank_frames == 1


def test_a_missing_file_and_what_is_no_file_are_none(movie: Path, tmp_path: Path, clock: StepClock) -> None:
    history = first_look(movie, clock)
    assert look(tmp_path / "missing.mrc", history, clock=clock) is None
    assert look(movie / "below.mrc", history, clock=clock) is None
    os.mkfifo(tmp_path / "pipe.mrc")
    assert look(tmp_path / "pipe.mrc", history, clock=clock) is None


def test_a_refused_read_is_said_without_the_path(movie: Path, clock: StepClock) -> None:
    def inspect(path: Path) -> MovieStructure:
        raise FileUnreadable(path, PermissionError(13, "Permission denied"))

    history = first_look(movie, clock)
    clock.now_s += 5.0
    seen = look(movie, history, clock=clock, inspect=inspect)
    assert seen is not None
    assert seen.problem == "cannot be read: Permission denied."
    assert remember(history, seen).silent_for_s == 5.0


def test_a_link_in_a_circle_is_a_problem_not_a_crash(tmp_path: Path, clock: StepClock) -> None:
    circle = tmp_path / "a.mrc"
    circle.symlink_to(circle)
    seen = look(circle, first_look(circle, clock), clock=clock)
    assert seen is not None
    assert seen.problem.startswith("cannot be looked at")
