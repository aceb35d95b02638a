"""What a starting daemon does about the one before it: nothing is assumed, the store says what was under way."""

from dataclasses import dataclass
from typing import Protocol

import structlog

from daemon.domain.states import MovieState, TaskState
from daemon.engine.attempts import MOST_INTERRUPTIONS, count_interruptions
from daemon.store import ledger, sessions, tasks
from daemon.store.changes import PutBackTask
from daemon.store.store import Store

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Recovered:
    """What was found: tasks put back; of these, tasks whose next visit gives them up; movies offered again."""

    put_back: int
    given_up: int
    offered: int


class Offer(Protocol):
    """Queues a movie for a visit (Scheduler.offer)."""

    def __call__(self, movie_id: str, last_write_s: float, *, suspect: bool = False) -> None:
        """Queue it."""
        ...


async def recover(store: Store, offer: Offer) -> Recovered:
    """Put interrupted tasks back and offer every unfinished movie.

    A movie whose attempt died with the process is offered as a suspect: it is visited alone, so that
    a movie that kills the daemon is found out and takes no neighbour along. Its visit gives up a task
    that was interrupted too often; retries that are not due yet keep their time.
    """
    interrupted = await tasks.tasks(store, states=(TaskState.RUNNING,))
    await store.commit(
        *(PutBackTask(task.task_id, "the daemon stopped while it ran", cause="recovery") for task in interrupted)
    )
    given_up = 0
    for task in interrupted:
        if await count_interruptions(store, task) >= MOST_INTERRUPTIONS:
            given_up += 1
            log.error("the daemon died too often in this task", task=task.task_id, stage=task.stage)
    offered = await _offer_all(store, offer, {task.movie_id for task in interrupted})
    return Recovered(len(interrupted), given_up, offered)


async def _offer_all(store: Store, offer: Offer, suspects: set[str | None]) -> int:
    unfinished = [
        movie
        for row in await sessions.sessions(store)
        for movie in await ledger.movies(store, row.session.session_id, (MovieState.COMPLETE,))
    ]
    for movie in unfinished:
        offer(movie.movie_id, movie.last_write_s, suspect=movie.movie_id in suspects)
    return len(unfinished)
