"""Gives a movie its last state, and ends with it what it still owes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from daemon.domain.movie import FileIdentity, LedgerEntry
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


@dataclass(frozen=True)
class Ending:
    """How a movie ends; `identity` is how its file stood then, where that is known anew."""

    movie: BookedMovie
    state: MovieState
    reason: str
    cause: str
    identity: FileIdentity | None = None


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

    async def end(self, ending: Ending, *, more: Sequence[Change] = (), told: Sequence[Event] = ()) -> bool:
        """Give a movie a terminal state and end its tasks, together with `more`.

        False when it stays as it is; then nothing is committed.
        """
        return await self._commit([ending], more, told, is_needed=True)

    async def end_for(self, endings: Sequence[Ending], more: Sequence[Change], told: Sequence[Event]) -> None:
        """End movies and commit what takes their place, together: no death of the daemon leaves one without the other.

        A movie that may not end so stays as it is, and the rest is committed all the same.
        """
        await self._commit(endings, more, told, is_needed=False)

    async def _commit(
        self, endings: Sequence[Ending], more: Sequence[Change], told: Sequence[Event], *, is_needed: bool
    ) -> bool:
        """Commit; a visit may be ending tasks of these movies at the same time: then the states are read again."""
        for tries_left in reversed(range(_MOST_RACES)):
            ended: list[Ending] = []
            changes: list[Change] = []
            events_of_tasks: list[Event] = []
            for ending in endings:
                entry = await ledger.movie(self._teller.store, ending.movie.movie_id)
                assert entry is not None, "what is booked is in the ledger"
                if ending.state in MOVIE_MOVES[entry.state]:
                    # Its visit stops at its next chance, and hardly ever ends another task meanwhile.
                    self._on_withdrawn(ending.movie.movie_id)
                    ended.append(ending)
                    changes += self._move(ending, entry)
                    await self._end_tasks(ending, changes, events_of_tasks)
                else:
                    log.info("movie stays what it is", path=readable_path(entry.identity.path), state=entry.state)
                    self._book.note(ending.movie, entry.state)
            if is_needed and not ended:
                return False
            try:
                await self._teller.commit([*changes, *more], [*events_of_tasks, *told])
            except IllegalMove:
                if not tries_left:
                    raise
            else:
                for ending in ended:
                    self._book.note(ending.movie, ending.state, ending.identity)
                return True
        return False

    async def is_processed(self, movie: BookedMovie) -> bool:
        """Whether a movie owes nothing any more."""
        owed = await tasks.tasks(self._teller.store, movie_id=movie.movie_id)
        return bool(owed) and all(task.state.is_terminal for task in owed)

    def _move(self, ending: Ending, entry: LedgerEntry) -> list[Change]:
        movie_id, identity = entry.movie_id, ending.identity
        moved = MoveMovie(movie_id, ending.state, ending.reason, cause=ending.cause, at_s=self._clock_s())
        if identity is None or identity == entry.identity or entry.state not in UNJUDGED:
            return [moved]
        return [UpdateMovieFile(movie_id, identity, last_write_s(identity)), moved]

    async def _end_tasks(self, ending: Ending, changes: list[Change], told: list[Event]) -> None:
        """End the open tasks of a movie that ends: cancelled when a newer file takes over, else skipped."""
        now_s, movie = self._clock_s(), ending.movie
        is_superseded = ending.state is MovieState.SUPERSEDED
        over = TaskState.CANCELLED if is_superseded else TaskState.SKIPPED
        why = f"movie {ending.state}: {ending.reason}"
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
                    kind=f"movie_{ending.state}",
                    cause=ending.cause,
                    ended_at_s=now_s,
                )
            )
            tell = events.step_cancelled if is_superseded else events.step_skipped
            told.append(tell(self._teller.subjects, self._task_ref(movie, task), reason=why, at_s=now_s))

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
