"""The arrows between states, and a job's state from its tasks'."""

import itertools

import pytest

from daemon.domain.states import MOVIE_MOVES, TASK_MOVES, JobState, MovieState, TaskState, job_state

P, R, C, F, X, S = TaskState


def test_magellons_numbers() -> None:
    assert [state.wire_code for state in TaskState] == [0, 1, 2, 3, 4, 5]


def test_every_state_has_its_arrows() -> None:
    assert set(MOVIE_MOVES) == set(MovieState)
    assert set(TASK_MOVES) == set(TaskState)
    for state, targets in (*MOVIE_MOVES.items(), *TASK_MOVES.items()):
        assert state not in targets


def test_every_movie_can_reach_an_end_and_be_superseded() -> None:
    for state in MovieState:
        if state is MovieState.SUPERSEDED:
            assert not MOVIE_MOVES[state]
            continue
        assert MovieState.SUPERSEDED in MOVIE_MOVES[state]
        if not state.is_terminal:
            ends = {MovieState.QUARANTINED, MovieState.VANISHED}
            assert ends <= MOVIE_MOVES[state]
    path = [MovieState.SEEN, MovieState.SETTLING, MovieState.COMPLETE, MovieState.DONE]
    assert all(after in MOVIE_MOVES[before] for before, after in itertools.pairwise(path))
    assert MovieState.DONE not in MOVIE_MOVES[MovieState.SETTLING]


def test_only_what_was_skipped_comes_back_by_itself() -> None:
    terminal = [state for state in TaskState if state.is_terminal]
    assert {state: set(TASK_MOVES[state]) for state in terminal} == {C: set(), F: set(), X: set(), S: {P}}
    assert P in TASK_MOVES[R]


@pytest.mark.parametrize(
    ("tasks", "is_open", "state"),
    [
        ({}, True, JobState.RUNNING),
        ({}, False, JobState.COMPLETED),
        ({P: 3}, True, JobState.PENDING),
        ({P: 3}, False, JobState.PENDING),
        ({P: 2, R: 1}, True, JobState.RUNNING),
        ({P: 2, C: 1}, True, JobState.RUNNING),
        ({C: 3}, True, JobState.RUNNING),
        ({C: 3}, False, JobState.COMPLETED),
        ({C: 3, F: 1}, False, JobState.COMPLETED),
        ({F: 3}, False, JobState.FAILED),
        ({F: 3}, True, JobState.RUNNING),
        ({F: 1, S: 3}, False, JobState.FAILED),
        ({C: 3, R: 1}, False, JobState.RUNNING),
        ({X: 2, S: 1}, False, JobState.COMPLETED),
    ],
)
def test_a_job_is_what_its_tasks_and_session_make_it(
    tasks: dict[TaskState, int], is_open: bool, state: JobState
) -> None:
    assert job_state(tasks, session_is_open=is_open, cancelled=False, marked_completed=False) is state


def test_a_persons_word_about_a_job_stands() -> None:
    tasks = {TaskState.RUNNING: 1}
    ended = {TaskState.CANCELLED: 3, TaskState.COMPLETED: 1}
    assert job_state(ended, session_is_open=True, cancelled=True, marked_completed=True) is JobState.CANCELLED
    assert job_state(tasks, session_is_open=True, cancelled=True, marked_completed=False) is not JobState.CANCELLED
    assert job_state(tasks, session_is_open=True, cancelled=False, marked_completed=True) is JobState.COMPLETED
