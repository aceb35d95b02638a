"""Answers that a panel of jobs is drawn from, typed at both ends; lists instead of objects where there are many."""

from typing import Any

import msgspec

MOST_NOT_WHOLE = 1000

MatrixCell = tuple[str, int, int, str]
"""A task: its id, its wire code (`pending` 0, `running` 1, `completed` 2, `failed` 3, `cancelled` 4, `skipped` 5),
how often it was begun, and, where it did not succeed, why (cut to one line)."""

MatrixImage = tuple[str, str, str, list[MatrixCell | None]]
"""An image: its id, its name, the state of its movie, and its task at each stage, none where it owes none."""


class MatrixAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The tasks of a job, image by image as they were first seen; `seq` is what to ask `after` next time."""

    job_id: str
    session: str
    stages: list[str]
    seq: int
    images: list[MatrixImage]
    not_whole: dict[str, str] = {}
    """What the watcher says of each movie that waits to be whole, by image: of all those, not only of `images`; at
    most MOST_NOT_WHOLE."""


class TaskFile(msgspec.Struct, frozen=True, kw_only=True):
    """An output of a task, on the daemon's mount."""

    path: str
    kind: str
    size_bytes: int
    sha256: str = ""


class TaskMove(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a task's state; `asked_by` where a person had it."""

    from_state: str | None
    to_state: str
    at_s: float
    reason: str
    cause: str
    asked_by: str | None


class TaskAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One time that a task was begun; `detail` is what an unforeseen error left for those who mend it."""

    attempt: int
    outcome: str
    started_at_s: float
    ended_at_s: float | None
    reason: str
    error_kind: str
    hint: str
    retryable: bool
    detail: str
    code_version: str


class TaskAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """All there is to know of one task."""

    task_id: str
    job_id: str
    session_id: str
    session: str
    image_id: str
    image: str
    movie: str
    stage: str
    state: str
    attempts: int
    reason: str
    error_kind: str
    hint: str
    retryable: bool
    warnings: list[str]
    started_at_s: float | None
    ended_at_s: float | None
    next_attempt_at_s: float | None
    parameters: dict[str, Any]
    """What the stage runs with for this task now…"""
    own_parameters: dict[str, Any]
    """…of which these were given for it alone…"""
    ran_with_these: bool
    """…and whether its last attempt ran with just these."""
    metrics: dict[str, float | int | str | bool | None]
    files: list[TaskFile]
    runs: list[TaskAttempt]
    history: list[TaskMove]
    not_whole: str = ""
    """What the watcher says of its movie, where that waits to be whole; no task of it is begun before."""
