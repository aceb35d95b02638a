"""What a starting daemon does about the one before it: nothing is assumed, the store says what was under way."""

from dataclasses import dataclass
from typing import Protocol

from daemon.domain.states import MovieState, TaskState
from daemon.engine.attempts import RECOVERY, STOPPED, count_ends
from daemon.store import ledger, sessions, tasks
from daemon.store.changes import PutBackTask
from daemon.store.store import Store


@dataclass(frozen=True)
class Recovered:
    """What was found: tasks put back; movies of these, visited alone or in a process of their own; movies offered."""

    put_back: int
    suspected: int
    offered: int


class Offer(Protocol):
    """Queues a movie for a visit (Scheduler.offer)."""

    def __call__(self, movie_id: str, last_write_s: float, *, suspect: bool = False) -> None:
        """Queue it."""
        ...


async def recover(store: Store, offer: Offer) -> Recovered:
    """Put interrupted tasks back and offer every unfinished movie.

    A movie whose attempt died with the daemon is offered as a suspect: it is visited alone, so that a movie that
    kills the daemon is found out and takes no neighbour along. One that was there when a second daemon died is
    offered as any other: its visit computes it in a process of its own, which endangers nobody. Retries that are
    not due yet keep their time.
    """
    interrupted = await tasks.tasks(store, states=(TaskState.RUNNING,))
    await store.commit(
        *(PutBackTask(task.task_id, "the daemon died while it ran", cause=RECOVERY) for task in interrupted)
    )
    alone = {task.movie_id for task in interrupted}
    for task in interrupted:
        if (await count_ends(store, task)).is_suspect:
            alone.discard(task.movie_id)
    offered = await _offer_all(store, offer, alone)
    return Recovered(len(interrupted), len({task.movie_id for task in interrupted}), offered)


async def mark_stopped(store: Store) -> int:
    """Put back what an orderly end interrupts, so that nobody is suspected of it; returns how many tasks.

    To be called when nothing records results any more.
    """
    running = await tasks.tasks(store, states=(TaskState.RUNNING,))
    await store.commit(
        *(PutBackTask(task.task_id, "the daemon was stopped while it ran", cause=STOPPED) for task in running)
    )
    return len(running)


async def _offer_all(store: Store, offer: Offer, suspects: set[str | None]) -> int:
    unfinished = [
        movie
        for row in await sessions.sessions(store)
        for movie in await ledger.movies(store, row.session.session_id, (MovieState.COMPLETE,))
    ]
    for movie in unfinished:
        offer(movie.movie_id, movie.last_write_s, suspect=movie.movie_id in suspects)
    return len(unfinished)
