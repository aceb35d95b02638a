"""The states of movies, tasks, jobs and sessions, and the moves allowed between them.

Source: docs/states.md. An explicit act of a person (retry, reprocess) may reopen a terminal state;
every other move must be listed here.
"""

from collections.abc import Mapping
from enum import StrEnum


class MovieState(StrEnum):
    """Where a file stands in the ledger."""

    SEEN = "seen"
    SETTLING = "settling"
    COMPLETE = "complete"
    DONE = "done"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    IGNORED = "ignored"
    VANISHED = "vanished"
    SUPERSEDED = "superseded"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more happens by itself."""
        return self not in {MovieState.SEEN, MovieState.SETTLING, MovieState.COMPLETE}


LEFT_ALONE = frozenset({MovieState.IGNORED, MovieState.VANISHED, MovieState.SUPERSEDED})
"""Entries of files that stand for no exposure (any more): what became of their tasks says nothing of the session."""


class TaskState(StrEnum):
    """Where one stage of one image stands."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more happens by itself."""
        return self not in {TaskState.PENDING, TaskState.RUNNING}

    @property
    def wire_code(self) -> int:
        """Magellon's number for this state; 5 is ours."""
        return _WIRE_CODES[self]


DID_NOT_SUCCEED = "did not succeed"
"""What people are told, after its name, of a stage that gave nothing to go on with or to judge by."""


class SessionState(StrEnum):
    """Whether more movies are expected."""

    OPEN = "open"
    CLOSED = "closed"


class JobState(StrEnum):
    """Derived from tasks and session, never stored."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


_WIRE_CODES: Mapping[TaskState, int] = {
    TaskState.PENDING: 0,
    TaskState.RUNNING: 1,
    TaskState.COMPLETED: 2,
    TaskState.FAILED: 3,
    TaskState.CANCELLED: 4,
    TaskState.SKIPPED: 5,
}

MOVIE_MOVES: Mapping[MovieState, frozenset[MovieState]] = {
    MovieState.SEEN: frozenset(
        {
            MovieState.SETTLING,
            MovieState.COMPLETE,
            MovieState.QUARANTINED,
            MovieState.IGNORED,
            MovieState.VANISHED,
            MovieState.SUPERSEDED,
        }
    ),
    MovieState.SETTLING: frozenset(
        {MovieState.COMPLETE, MovieState.QUARANTINED, MovieState.IGNORED, MovieState.VANISHED, MovieState.SUPERSEDED}
    ),
    # A decode failure after all proofs sends a movie back to settling: the proof was wrong.
    MovieState.COMPLETE: frozenset(
        {
            MovieState.DONE,
            MovieState.FAILED,
            MovieState.SETTLING,
            MovieState.QUARANTINED,
            MovieState.VANISHED,
            MovieState.SUPERSEDED,
        }
    ),
    MovieState.DONE: frozenset({MovieState.SUPERSEDED}),
    MovieState.FAILED: frozenset({MovieState.SUPERSEDED, MovieState.VANISHED}),
    MovieState.QUARANTINED: frozenset({MovieState.SUPERSEDED, MovieState.SETTLING, MovieState.VANISHED}),
    MovieState.IGNORED: frozenset({MovieState.SUPERSEDED, MovieState.VANISHED}),
    MovieState.VANISHED: frozenset({MovieState.SETTLING, MovieState.SUPERSEDED}),
    MovieState.SUPERSEDED: frozenset(),
}

TASK_MOVES: Mapping[TaskState, frozenset[TaskState]] = {
    TaskState.PENDING: frozenset(
        {TaskState.RUNNING, TaskState.CANCELLED, TaskState.SKIPPED, TaskState.FAILED, TaskState.COMPLETED}
    ),
    # Back to pending: the daemon died in it, or a retryable error waits for its next attempt.
    TaskState.RUNNING: frozenset(
        {TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED, TaskState.SKIPPED, TaskState.PENDING}
    ),
    TaskState.COMPLETED: frozenset(),
    TaskState.FAILED: frozenset(),
    TaskState.CANCELLED: frozenset(),
    # What made it skip is gone: the gate moved, the movie became whole, the stage before it succeeded.
    TaskState.SKIPPED: frozenset({TaskState.PENDING}),
}


def job_state(
    tasks: Mapping[TaskState, int], *, session_is_open: bool, cancelled: bool, marked_completed: bool
) -> JobState:
    """Derive a job's state from how many of its tasks are in each state and from the facts about it.

    One failed task never fails its job. A job that was cancelled goes on when a movie comes later. It is completed only
    when every task is terminal and its session is closed, or when a person marked it completed; it has failed only when
    some of its tasks have and none succeeded.
    """
    total = sum(tasks.values())
    unfinished = sum(count for state, count in tasks.items() if not state.is_terminal)
    if cancelled and not unfinished:
        return JobState.CANCELLED
    if marked_completed:
        return JobState.COMPLETED
    if unfinished == 0 and not session_is_open:
        nothing_succeeded = tasks.get(TaskState.COMPLETED, 0) == 0 and tasks.get(TaskState.FAILED, 0) > 0
        return JobState.FAILED if nothing_succeeded else JobState.COMPLETED
    return JobState.PENDING if total == tasks.get(TaskState.PENDING, 0) and total else JobState.RUNNING
