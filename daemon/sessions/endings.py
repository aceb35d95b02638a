"""Gives a movie its last state, and ends with it what it still owes."""

from collections.abc import Callable, Mapping, Sequence

import structlog

from daemon.domain.movie import FileIdentity
from daemon.domain.names import readable_path
from daemon.domain.states import MOVIE_MOVES, MovieState, TaskState
from daemon.errors import IllegalMove
from daemon.messages import events
from daemon.messages.envelope import Event
from daemon.messages.events import TaskRef
from daemon.sessions.book import BookedMovie, SessionBook
from daemon.sessions.telling import Teller
from daemon.store import ledger, tasks
from daemon.store.changes import Change, EndTask, MoveMovie, UpdateMovieFile
from daemon.store.rows import TaskRow

log = structlog.get_logger(__name__)

UNJUDGED = frozenset({MovieState.SEEN, MovieState.SETTLING})
_LAST_SECOND_S = 253402300799.0
"""End of the year 9999."""
_MOST_RACES = 20
"""How often the states of a movie are read again because its visit moved them: more than it has tasks."""


class Endings:
    """Ends movies of one session."""

    def __init__(
        self,
        teller: Teller,
        book: SessionBook,
        slugs: Mapping[str, str],
        on_withdrawn: Callable[[str], None],
        clock_s: Callable[[], float],
    ) -> None:
        self._teller = teller
        self._book = book
        self._slugs = slugs
        self._on_withdrawn = on_withdrawn
        self._clock_s = clock_s

    async def end(
        self,
        movie: BookedMovie,
        state: MovieState,
        reason: str,
        cause: str,
        identity: FileIdentity | None = None,
        *,
        more: Sequence[Change] = (),
        told: Sequence[Event] = (),
    ) -> bool:
        """Give a movie a terminal state and end its tasks, together; `identity` is how it stood at the end.

        Its visit may be ending tasks at the same time: then the states are read again. False when it stays as it is.
        """
        self._on_withdrawn(movie.movie_id)
        for tries_left in reversed(range(_MOST_RACES)):
            entry = await ledger.movie(self._teller.store, movie.movie_id)
            assert entry is not None, "what is booked is in the ledger"
            if state not in MOVIE_MOVES[entry.state]:
                log.info("movie stays what it is", movie=readable_path(entry.identity.path), state=entry.state)
                self._book.note(movie, entry.state)
                return False
            changes, events_of_tasks = await self._end_tasks(movie, state, reason, cause)
            changes.insert(0, MoveMovie(movie.movie_id, state, reason, cause=cause, at_s=self._clock_s()))
            if identity is not None and identity != entry.identity and entry.state in UNJUDGED:
                changes.insert(0, UpdateMovieFile(movie.movie_id, identity, last_write_s(identity)))
            try:
                await self._teller.commit([*changes, *more], [*events_of_tasks, *told])
            except IllegalMove:
                if not tries_left:
                    raise
            else:
                self._book.note(movie, state, identity)
                return True
        return False

    async def is_processed(self, movie: BookedMovie) -> bool:
        """Whether a movie owes nothing any more."""
        owed = await tasks.tasks(self._teller.store, movie_id=movie.movie_id)
        return bool(owed) and all(task.state.is_terminal for task in owed)

    async def _end_tasks(
        self, movie: BookedMovie, state: MovieState, reason: str, cause: str
    ) -> tuple[list[Change], list[Event]]:
        """End the open tasks of a movie that goes to `state`: cancelled when a newer file takes over, else skipped."""
        now_s = self._clock_s()
        is_superseded = state is MovieState.SUPERSEDED
        over = TaskState.CANCELLED if is_superseded else TaskState.SKIPPED
        why = f"movie {state}: {reason}"
        changes: list[Change] = []
        told: list[Event] = []
        for task in await tasks.tasks(
            self._teller.store, movie_id=movie.movie_id, states=(TaskState.PENDING, TaskState.RUNNING)
        ):
            attempt = task.attempts if task.state is TaskState.RUNNING else None
            changes.append(
                EndTask(
                    task.task_id,
                    over,
                    attempt=attempt,
                    reason=why,
                    kind=f"movie_{state}",
                    cause=cause,
                    ended_at_s=now_s,
                )
            )
            tell = events.step_cancelled if is_superseded else events.step_skipped
            told.append(tell(self._teller.subjects, self._task_ref(movie, task), reason=why, at_s=now_s))
        return changes, told

    def _task_ref(self, movie: BookedMovie, task: TaskRow) -> TaskRef:
        assert movie.image is not None, "a movie with tasks has an image"
        return TaskRef(
            job_id=task.job_id,
            task_id=task.task_id,
            image_id=movie.image.image_id,
            image_name=movie.image.name,
            step=self._slugs.get(task.stage, task.stage),
            attempt=task.attempts,
        )


def last_write_s(identity: FileIdentity) -> float:
    """Return the time of last write in seconds since the epoch; what no calendar holds, as after a bad copy, is cut."""
    return min(max(identity.mtime_ns / 1e9, 0.0), _LAST_SECOND_S)
