"""How often a task was tried since it was planned, or since a person last asked for another try."""

from daemon.domain.states import TaskState
from daemon.store import ledger, tasks
from daemon.store.reading import Reads
from daemon.store.rows import TaskRow

MOST_INTERRUPTIONS = 8
"""Attempts that may die with the process before their task is given up.

More than a person or a scheduler that kills the daemon will ever hit in one task, few enough that a
movie which brings the process down is set aside within minutes.
"""

UPSTREAM = "upstream"
"""Kind of an end that is not a task's own fault: what it was made from did not come to be."""


async def count_failures(store: Reads, task: TaskRow) -> int:
    """Return how many attempts failed by the task's own fault."""
    return await _count(store, task, TaskState.FAILED.value)


async def count_interruptions(store: Reads, task: TaskRow) -> int:
    """Return how many attempts died with the process."""
    return await _count(store, task, tasks.INTERRUPTED)


async def _count(store: Reads, task: TaskRow, outcome: str) -> int:
    reopened_at_s = 0.0
    if task.movie_id is not None:
        for move in await ledger.history(store, task.movie_id):
            was_over = move.from_state is not None and move.from_state in _OVER
            if move.subject == "task" and move.subject_id == task.task_id and was_over:
                reopened_at_s = move.moved_at_s
    return sum(
        attempt.outcome == outcome and attempt.error_kind != UPSTREAM and attempt.started_at_s >= reopened_at_s
        for attempt in await tasks.attempts(store, task.task_id)
    )


_OVER = frozenset(state.value for state in TaskState if state.is_terminal)
