"""Takes what is known of a session's files into the ledger: one commit for each fact, with tasks and events."""

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import anyio.to_thread
import structlog

from daemon.domain.identity import stable_id
from daemon.domain.movie import FileIdentity, LedgerEntry
from daemon.domain.names import readable_path, unwritable_name
from daemon.domain.states import MOVIE_MOVES, MovieState, TaskState
from daemon.errors import FileNotWritten, IllegalMove
from daemon.messages import events
from daemon.messages.envelope import Event
from daemon.messages.events import SessionRef, TaskRef
from daemon.messages.subjects import Subjects
from daemon.sessions.book import BookedMovie, SessionBook
from daemon.sessions.folders import SessionFolders
from daemon.store import ledger, tasks
from daemon.store.changes import (
    Change,
    EndTask,
    MoveMovie,
    NewTask,
    PutDecision,
    PutImages,
    PutNotification,
    PutTasks,
    QueueEvent,
    ReopenSession,
    SeeMovie,
    UpdateMovieFile,
)
from daemon.store.rows import TaskRow
from daemon.store.store import Store

log = structlog.get_logger(__name__)

USUAL_FRAME_COUNT = "usual_frame_count"
"""Key of the session-level decision how many frames its movies have."""

_UNJUDGED = frozenset({MovieState.SEEN, MovieState.SETTLING})
_GONE = frozenset({MovieState.VANISHED, MovieState.SUPERSEDED})
_LAST_SECOND_S = 253402300799.0
"""End of the year 9999."""
_MOST_RACES = 20
"""How often the states of a movie are read again because its visit moved them: more than it has tasks."""


class SessionIntake:
    """The ledger side of watching one session."""

    def __init__(
        self,
        store: Store,
        book: SessionBook,
        folders: SessionFolders,
        subjects: Subjects,
        *,
        link_frames: bool,
        on_complete: Callable[[str, float], None],
        on_withdrawn: Callable[[str], None],
        on_event: Callable[[], None],
        slugs: Mapping[str, str] = MappingProxyType({}),
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        """`on_complete(movie_id, last_write_s)` offers a movie for processing, `on_withdrawn` takes it back.

        `slugs` gives the name on the bus of each stage whose name there is another one.
        """
        self._store = store
        self._book = book
        self._folders = folders
        self._subjects = subjects
        self._link_frames = link_frames
        self._on_complete = on_complete
        self._on_withdrawn = on_withdrawn
        self._on_event = on_event
        self._slugs = slugs
        self._clock_s = clock_s
        self._ref = SessionRef(book.session.session_id, book.session.name)

    @property
    def book(self) -> SessionBook:
        """What this session knows of its files."""
        return self._book

    async def seen(self, files: Sequence[FileIdentity]) -> None:
        """Enter new files: each with its image and one pending task for every stage.

        A file that is known comes here when it was gone for a while: as it was, it is no news; else it is a revision.
        """
        by_path = {identity.path: identity for identity in files}
        changes: list[Change] = []
        told: list[Event] = []
        for path in self._book.in_order_of_preference(by_path):
            known = self._book.find(path)
            if known is not None and known.identity == by_path[path] and known.state not in _GONE:
                continue
            if known is not None:
                await self._end(known, MovieState.SUPERSEDED, "the file came back", "file came back")
            self._enter(by_path[path], changes, told)
        if told:
            changes.insert(0, ReopenSession(self._ref.session_id, cause="a new movie came"))
        await self._commit(changes, told)

    async def complete(self, identity: FileIdentity, frame_count: int | None, reason: str) -> None:
        """A movie is proven whole: its tasks may run."""
        movie = self._book.find(identity.path)
        if movie is None or movie.image is None or movie.state not in _UNJUDGED:
            # Another file of this exposure is processed, or this one is and was listed anew.
            log.info("proof not needed", movie=readable_path(identity.path), state=movie and movie.state)
            return
        now_s = self._clock_s()
        last_write_s = _last_write_s(identity)
        changes: list[Change] = []
        if identity != movie.identity:
            changes.append(UpdateMovieFile(movie.movie_id, identity, last_write_s))
        if frame_count is not None and (usual := self._book.count_frames(frame_count)) is not None:
            changes.append(PutDecision(self._ref.session_id, USUAL_FRAME_COUNT, usual))
        changes.append(MoveMovie(movie.movie_id, MovieState.COMPLETE, reason, cause="proven whole", at_s=now_s))
        event = events.movie_complete(
            self._subjects,
            self._ref,
            movie_id=movie.movie_id,
            path=readable_path(identity.path),
            size_bytes=identity.size_bytes,
            image_id=movie.image.image_id,
            image_name=movie.image.name,
            at_s=now_s,
        )
        await self._commit(changes, [event])
        self._book.note(movie, MovieState.COMPLETE, identity)
        await self._link(movie)
        self._on_complete(movie.movie_id, last_write_s)

    async def quarantined(self, identity: FileIdentity, reason: str) -> None:
        """A movie stays broken: its tasks are skipped with the reason."""
        movie = self._book.find(identity.path)
        if movie is None:
            return
        now_s = self._clock_s()
        event = events.movie_quarantined(
            self._subjects,
            self._ref,
            movie_id=movie.movie_id,
            path=readable_path(identity.path),
            reason=reason,
            at_s=now_s,
        )
        notification = PutNotification(
            stable_id("quarantined", movie.movie_id),
            "warning",
            "movie_quarantined",
            f"{readable_path(identity.path)}: {reason}",
            session_id=self._ref.session_id,
            at_s=now_s,
        )
        await self._end(
            movie, MovieState.QUARANTINED, reason, "never became whole", identity, more=[notification], told=[event]
        )

    async def ignored(self, files: Sequence[tuple[FileIdentity, str]]) -> None:
        """Enter files that are no movies, or give up one that turned out not to be one."""
        fresh = [(identity, reason) for identity, reason in files if self._book.find(identity.path) is None]
        await self._commit([self._see_ignored(identity, reason) for identity, reason in fresh], [])
        for identity, reason in files:
            movie = self._book.find(identity.path)
            if movie is not None and movie.state is not MovieState.IGNORED:
                await self._end(movie, MovieState.IGNORED, reason, "not a movie", identity)

    async def vanished(self, files: Sequence[FileIdentity]) -> None:
        """Note files that are gone; a movie that was processed already stays what it is."""
        for identity in files:
            movie = self._book.find(identity.path)
            if movie is not None and not await self._is_processed(movie):
                reason = "the file was removed or renamed before it was processed"
                await self._end(movie, MovieState.VANISHED, reason, "not there any more")

    async def rewritten(self, before: FileIdentity, now: FileIdentity) -> None:
        """A judged file was written again: a new revision, the old one superseded."""
        movie = self._book.find(now.path)
        if movie is not None:
            reason = f"rewritten: {before.size_bytes} bytes became {now.size_bytes}"
            await self._end(movie, MovieState.SUPERSEDED, reason, "file changed")
        changes: list[Change] = [ReopenSession(self._ref.session_id, cause="a movie was written again")]
        told: list[Event] = []
        self._enter(now, changes, told)
        await self._commit(changes, told)

    def _enter(self, identity: FileIdentity, changes: list[Change], told: list[Event]) -> None:
        problem = unwritable_name(identity.path.name)
        if problem:
            changes.append(self._see_ignored(identity, f"its name {problem}: rename it"))
            return
        """Enter a file as the movie of its image, or beside the one that is."""
        other = self._book.other_file_of_its_image(identity.path)
        if other is not None:
            changes.append(self._see_ignored(identity, f"the same exposure is processed from {readable_path(other)}"))
            return
        more, event = self._see(self._book.add(identity))
        changes.extend(more)
        told.append(event)

    def _see(self, movie: BookedMovie) -> tuple[list[Change], Event]:
        assert movie.image is not None
        now_s = self._clock_s()
        entry = LedgerEntry(
            movie_id=movie.movie_id,
            session_id=self._ref.session_id,
            identity=movie.identity,
            revision=movie.revision,
            state=MovieState.SEEN,
            reason="",
            image_id=movie.image.image_id,
            seen_at_s=now_s,
            last_write_s=_last_write_s(movie.identity),
        )
        owed = tuple(
            NewTask(
                stable_id("task", movie.movie_id, stage),
                self._book.job_id,
                self._ref.session_id,
                movie.image.image_id,
                movie.movie_id,
                stage,
                position,
            )
            for position, stage in enumerate(self._book.stages)
        )
        event = events.movie_seen(
            self._subjects,
            self._ref,
            movie_id=movie.movie_id,
            path=readable_path(movie.identity.path),
            size_bytes=movie.identity.size_bytes,
            at_s=now_s,
        )
        # Nobody but the look at its bytes knows when a file that was just seen begins to settle: at once.
        settling = MoveMovie(movie.movie_id, MovieState.SETTLING, cause="seen", at_s=now_s)
        self._book.note(movie, MovieState.SETTLING)
        return [PutImages((movie.image,)), SeeMovie(entry), settling, PutTasks(owed, at_s=now_s)], event

    def _see_ignored(self, identity: FileIdentity, reason: str) -> Change:
        movie = self._book.add_ignored(identity)
        entry = LedgerEntry(
            movie_id=movie.movie_id,
            session_id=self._ref.session_id,
            identity=identity,
            revision=movie.revision,
            state=MovieState.IGNORED,
            reason=reason,
            image_id=None,
            seen_at_s=self._clock_s(),
            last_write_s=_last_write_s(identity),
        )
        return SeeMovie(entry, cause="not a movie")

    async def _end(
        self,
        movie: BookedMovie,
        state: MovieState,
        reason: str,
        cause: str,
        identity: FileIdentity | None = None,
        *,
        more: Sequence[Change] = (),
        told: Sequence[Event] = (),
    ) -> None:
        """Give a movie a terminal state and end what it still owes, together; `identity` is how it stood at the end.

        Its visit may be ending tasks at the same time: then the states are read again.
        """
        self._on_withdrawn(movie.movie_id)
        for tries_left in reversed(range(_MOST_RACES)):
            entry = await ledger.movie(self._store, movie.movie_id)
            assert entry is not None, "what is booked is in the ledger"
            if state not in MOVIE_MOVES[entry.state]:
                log.info("movie stays what it is", movie=readable_path(entry.identity.path), state=entry.state)
                self._book.note(movie, entry.state)
                return
            changes, events_of_tasks = await self._end_tasks(movie, state, reason, cause)
            changes.insert(0, MoveMovie(movie.movie_id, state, reason, cause=cause, at_s=self._clock_s()))
            if identity is not None and identity != entry.identity and entry.state in _UNJUDGED:
                changes.insert(0, UpdateMovieFile(movie.movie_id, identity, _last_write_s(identity)))
            try:
                await self._commit([*changes, *more], [*events_of_tasks, *told])
            except IllegalMove:
                if not tries_left:
                    raise
            else:
                self._book.note(movie, state, identity)
                return

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
            self._store, movie_id=movie.movie_id, states=(TaskState.PENDING, TaskState.RUNNING)
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
            told.append(tell(self._subjects, self._task_ref(movie, task), reason=why, at_s=now_s))
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

    async def _is_processed(self, movie: BookedMovie) -> bool:
        owed = await tasks.tasks(self._store, movie_id=movie.movie_id)
        return bool(owed) and all(task.state.is_terminal for task in owed)

    async def _link(self, movie: BookedMovie) -> None:
        if not self._link_frames or movie.image is None:
            return
        try:
            await anyio.to_thread.run_sync(self._folders.link_frames, movie.image.name, movie.identity.path)
        except FileNotWritten as error:
            # A convenience for people who browse the home: its absence loses no result.
            log.warning("frames link not made", image=movie.image.name, reason=str(error))

    async def _commit(self, changes: Sequence[Change], told: Sequence[Event]) -> None:
        if not changes:
            return
        queued = [QueueEvent(event.id, event.subject, event.body(), stream=self._stream(event)) for event in told]
        await self._store.commit(*changes, *queued)
        if queued:
            self._on_event()

    def _stream(self, event: Event) -> str:
        is_step = event.envelope.type.startswith("magellon.step.")
        return self._subjects.step_stream if is_step else self._subjects.session_stream


def _last_write_s(identity: FileIdentity) -> float:
    """Return the time of last write in seconds since the epoch; what no calendar holds, as after a bad copy, is cut."""
    return min(max(identity.mtime_ns / 1e9, 0.0), _LAST_SECOND_S)
