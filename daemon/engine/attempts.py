"""How a task's attempts ended since it was planned, or since a person last asked for another try."""

from dataclasses import dataclass

from daemon.domain.states import TaskState
from daemon.errors import ComputationCrashed, DiskFull, ReadStuck, StageHung
from daemon.store import ledger, tasks
from daemon.store.reading import Reads
from daemon.store.rows import TaskRow

MOST_CRASHES = 3
"""Proven crashes and hangs after which a task is given up."""

ISOLATE_AFTER = 2
"""Deaths of the daemon during a task after which the movie is computed in a process of its own.

A kill from outside and a crash look the same to the next daemon, so the deaths themselves prove nothing. The first
makes the movie a suspect, visited alone; after the second it cannot take the daemon along any more, and if its
own process dies while the daemon lives, that is proof.
"""

UPSTREAM = "upstream"
"""Kind of an end that is not a task's own fault: what it was made from did not come to be."""

STOPPED = "stopped"
"""Cause of an interruption that was asked for: nobody is suspected."""

RECOVERY = "recovery"
"""Cause of an interruption by a death of the daemon that nobody has explained."""

CRASHES = frozenset({ComputationCrashed.kind, StageHung.kind})
NOBODYS_FAULT = frozenset({UPSTREAM, DiskFull.kind, ReadStuck.kind})
"""Failures that use up no try: what they waited for comes back, or the task is planned anew."""


@dataclass(frozen=True)
class Ends:
    """How often attempts failed by the task's own fault, crashed or hung for certain, died with the daemon."""

    failures: int
    crashes: int
    interruptions: int

    @property
    def is_suspect(self) -> bool:
        """Whether the task must not run in the daemon's own process any more."""
        return self.crashes > 0 or self.interruptions >= ISOLATE_AFTER


async def count_ends(store: Reads, task: TaskRow) -> Ends:
    """Count in the order in which things became true: clocks may be set back."""
    reopened_after, interruptions = 0, 0
    started = 0
    for move in await ledger.history(store, task.movie_id) if task.movie_id is not None else []:
        if move.subject != "task" or move.subject_id != task.task_id:
            continue
        if move.to_state == TaskState.RUNNING:
            started += 1
        elif move.from_state in _OVER:
            reopened_after, interruptions = started, 0
        elif move.from_state == TaskState.RUNNING and move.cause == RECOVERY:
            interruptions += 1
    kinds = [
        attempt.error_kind
        for attempt in await tasks.attempts(store, task.task_id)
        if attempt.attempt > reopened_after and attempt.outcome == TaskState.FAILED
    ]
    crashes = sum(kind in CRASHES for kind in kinds)
    return Ends(sum(kind not in NOBODYS_FAULT for kind in kinds) - crashes, crashes, interruptions)


_OVER = frozenset(state.value for state in TaskState if state.is_terminal)
