"""Takes what is known of a session's files into the ledger: one commit for each fact, with tasks and events."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import anyio.to_thread
import structlog

from daemon.domain.movie import FileIdentity, LedgerEntry
from daemon.domain.names import readable_path
from daemon.domain.session import ImageRecord
from daemon.domain.states import MovieState
from daemon.errors import FileNotWritten, IllegalMove
from daemon.messages import events
from daemon.messages.envelope import Event
from daemon.messages.events import SessionRef
from daemon.messages.subjects import Subjects
from daemon.sessions.book import SAME_EXPOSURE, BookedMovie, SessionBook
from daemon.sessions.endings import UNJUDGED, Ending, Endings, last_write_s
from daemon.sessions.folders import SessionFolders
from daemon.sessions.given_up import add_earlier, find_given_up, tell_quarantined
from daemon.sessions.left_alone_notices import LeftAloneNotices
from daemon.sessions.lifecycle import reopening, reopening_once
from daemon.sessions.moves import leave_for, owed_tasks
from daemon.sessions.no_movies import unwritable_reason
from daemon.sessions.placement import Placement, Shown
from daemon.sessions.telling import Teller
from daemon.store import ledger
from daemon.store.changes import (
    Change,
    MoveMovie,
    PutDecision,
    PutImages,
    PutTasks,
    SeeMovie,
    UpdateMovieFile,
)
from daemon.store.store import Store

log = structlog.get_logger(__name__)

USUAL_FRAME_COUNT = "usual_frame_count"
"""Key of the session-level decision how many frames its movies have."""

_READ_LIMIT_S = 30.0
_GONE = frozenset({MovieState.VANISHED, MovieState.SUPERSEDED})


@dataclass
class _News:
    """What is to be committed together: movies that end, and what takes their place."""

    endings: list[Ending] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    told: list[Event] = field(default_factory=list)


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
        on_reconsider: Callable[[FileIdentity], None] = lambda _: None,
        on_gain_found: Callable[[], None] = lambda: None,
        slugs: Mapping[str, str] = MappingProxyType({}),
        clock_s: Callable[[], float] = time.time,
        read_limit_s: float = _READ_LIMIT_S,
    ) -> None:
        """`on_complete(movie_id, last_write_s)` offers a movie for processing, `on_withdrawn` takes it back.

        `on_reconsider` has watching judge a file that it had judged before; `on_gain_found` imports the session again,
        as its gain lies otherwise than its first movies were told. `slugs` gives the name on the bus of each
        stage whose name there is another one. `read_limit_s` is how long a file may take to tell how it was taken.
        """
        self._store = store
        self._book = book
        self._folders = folders
        self._subjects = subjects
        self._link_frames = link_frames
        self._on_complete = on_complete
        self._on_reconsider = on_reconsider
        self._clock_s = clock_s
        self._ref = SessionRef(book.session.session_id, book.session.name)
        self._teller = Teller(store, subjects, on_event)
        self._endings = Endings(self._teller, book, slugs, on_withdrawn, clock_s)
        self._reopens = anyio.Lock()
        self._left_alone = LeftAloneNotices(self._teller, book, clock_s)
        self._placement = Placement(self._teller, book, clock_s, read_limit_s=read_limit_s, on_gain_found=on_gain_found)

    @property
    def book(self) -> SessionBook:
        """What this session knows of its files."""
        return self._book

    async def seen(self, files: Sequence[FileIdentity]) -> None:
        """Enter new files: each with its image and one pending task for every stage.

        A file that is known comes here when it was gone for a while: as it was, it is no news; else it is a revision.
        """
        by_path = {identity.path: identity for identity in files}
        news = _News()
        async with self._book.in_hand:
            for path in self._book.in_order_of_preference(by_path):
                identity, known = by_path[path], self._book.find(path)
                self._book.note_presence(path, is_there=True)
                if known is not None and known.identity == identity and known.state not in _GONE:
                    continue
                if known is not None:
                    why = "the file came back"
                    news.endings.append(Ending(known, MovieState.SUPERSEDED, why, "file came back"))
                origin = leave_for(self._book, identity)
                if origin is not None:
                    news.endings.append(origin)
                is_back = known is not None and known.identity == identity and known.image is not None
                self._enter(identity, news, origin.movie if origin is not None else known if is_back else None)
                await self._replace_given_up(path, news)
            await self._commit(news, "a new movie came")
        await self._left_alone.note((path, said) for path in by_path if (said := unwritable_reason(path.name)))

    async def complete(self, identity: FileIdentity, frame_count: int | None, reason: str) -> None:
        """A movie is proven whole: its tasks may run."""
        movie = self._book.find(identity.path)
        if movie is None or movie.image is None or movie.state not in UNJUDGED:
            # Another file of this exposure is processed, or this one is and was listed anew.
            log.info("proof not needed", path=readable_path(identity.path), state=movie and movie.state)
            return
        # Files that may not answer are read before the book is taken in hand: nobody else waits for them.
        shown = await self._placement.look(identity.path, movie.image)
        async with self._book.in_hand_to_complete(identity):
            now = self._book.find(identity.path)
            if now is None or now.movie_id != movie.movie_id or now.state not in UNJUDGED:
                log.info("movie ended while it was proven whole", path=readable_path(identity.path))
                return
            placed = await self._take_complete(identity, frame_count, reason, shown)
        if placed is not None:
            await self._link(placed, identity.path)
            await self._placement.check(identity.path, placed.acquisition)

    async def _take_complete(
        self, identity: FileIdentity, frame_count: int | None, reason: str, shown: Shown
    ) -> ImageRecord | None:
        """Commit that a movie is whole and offer it; return its image, None where the movie has ended after all."""
        movie = await self._follow_move(identity)
        assert movie.image is not None, "what follows a move has its image"
        now_s, written_s = self._clock_s(), last_write_s(identity)
        changes: list[Change] = []
        placed = shown.place(movie.image)
        if placed is not movie.image:
            changes.append(PutImages((placed,)))
        if identity != movie.identity:
            changes.append(UpdateMovieFile(movie.movie_id, identity, written_s))
        changes.append(MoveMovie(movie.movie_id, MovieState.COMPLETE, reason, cause="proven whole", at_s=now_s))
        event = events.movie_complete(
            self._subjects,
            self._ref,
            movie_id=movie.movie_id,
            path=readable_path(identity.path),
            size_bytes=identity.size_bytes,
            image_id=placed.image_id,
            image_name=placed.name,
            at_s=now_s,
        )
        # A file that was not whole may outlast the session's end.
        why = "a movie became whole"
        late = reopening_once(self._reopens, self._store, self._subjects, self._ref, reason=why, at_s=now_s)
        try:
            async with late as opening:
                if frame_count is not None and (usual := self._book.count_frames(frame_count)) is not None:
                    changes.append(PutDecision(self._ref.session_id, USUAL_FRAME_COUNT, usual))
                await self._teller.commit([*changes, *opening[0]], [*opening[1], event])
        except IllegalMove:
            if not await self._has_ended(movie):
                raise
            return None
        self._book.renew_image(movie, placed)
        self._book.note(movie, MovieState.COMPLETE, identity)
        self._on_complete(movie.movie_id, written_s)
        return placed

    async def look_back(self, _directory: Path) -> None:
        """Look at movies that were whole before the session was imported as it is now."""
        await self._placement.look_back(self._book.whole())

    async def place_anew(self, path: Path) -> None:
        """Look again which optics group a movie belongs to, as it was processed again."""
        await self._placement.place_anew(path)

    async def _has_ended(self, movie: BookedMovie) -> bool:
        """Whether a movie, which was not judged a moment ago, is so by now; then its state is taken note of."""
        entry = await ledger.movie(self._store, movie.movie_id)
        if entry is None or entry.state in UNJUDGED:
            return False
        log.info("movie was judged meanwhile", path=readable_path(movie.identity.path), state=entry.state)
        self._book.note(movie, entry.state)
        return True

    async def quarantined(self, identity: FileIdentity, reason: str) -> None:
        """A movie stays broken: its tasks are skipped with the reason."""
        now_s = self._clock_s()
        async with self._book.in_hand:
            movie = self._book.find(identity.path)
            if movie is None:
                return
            reason = await add_earlier(self._store, self._book.others_of_its_image(identity.path), reason)
            told = movie.movie_id, identity.path
            notification, event = tell_quarantined(self._subjects, self._ref, told, reason, at_s=now_s)
            ending = Ending(movie, MovieState.QUARANTINED, reason, "never became whole", identity)
            if await self._endings.end(ending, more=[notification], told=[event]):
                await self._take_heir(identity.path)

    async def ignored(self, files: Sequence[tuple[FileIdentity, str]]) -> None:
        """Enter files that are no movies, or give up one that turned out not to be one."""
        async with self._book.in_hand:
            fresh = [(identity, reason) for identity, reason in files if self._book.find(identity.path) is None]
            await self._teller.commit([self._see_ignored(identity, reason) for identity, reason in fresh], [])
            for identity, reason in files:
                movie = self._book.find(identity.path)
                if movie is None or movie.state is MovieState.IGNORED:
                    continue
                if await self._endings.end(Ending(movie, MovieState.IGNORED, reason, "not a movie", identity)):
                    await self._take_heir(identity.path)
        await self._left_alone.note((identity.path, reason) for identity, reason in files)

    async def vanished(self, files: Sequence[FileIdentity]) -> None:
        """Note files that are gone; a movie that was processed already stays what it is, unless it was quarantined."""
        why = "the file was removed or renamed before it was processed"
        async with self._book.in_hand:
            for identity in files:
                movie = self._book.find(identity.path)
                self._book.note_presence(identity.path, is_there=False)
                may_end = movie is not None and movie.state in {MovieState.QUARANTINED, *UNJUDGED}
                if movie is None or (not may_end and await self._endings.is_processed(movie)):
                    continue
                if await self._endings.end(Ending(movie, MovieState.VANISHED, why, "not there any more")):
                    await self._take_heir(identity.path)

    async def rewritten(self, before: FileIdentity, now: FileIdentity, why: str = "it can be read now") -> None:
        """A judged file was written again: a new revision, the old one superseded; `why` where it is the same file."""
        news = _News()
        async with self._book.in_hand:
            movie = self._book.find(now.path)
            if movie is not None:
                reason = why if before == now else f"rewritten: {before.size_bytes} bytes became {now.size_bytes}"
                news.endings.append(Ending(movie, MovieState.SUPERSEDED, reason, "file changed"))
            self._enter(now, news)
            await self._replace_given_up(now.path, news)
            await self._commit(news, "a movie was written again")

    async def set_aside(self, path: Path) -> None:
        """Take note that a movie was quarantined while it was processed: a spare file of its exposure is taken."""
        async with self._book.in_hand:
            movie = self._book.find(path)
            entry = None if movie is None else await ledger.movie(self._store, movie.movie_id)
            if movie is not None and entry is not None and entry.state is MovieState.QUARANTINED:
                self._book.note(movie, MovieState.QUARANTINED)
                await self._take_heir(path)

    async def take_heirs(self) -> None:
        """Take the spare files of all exposures whose file was given up; for a start, before watching begins."""
        async with self._book.in_hand:
            for heir in self._book.heirs():
                await self._take_heir(heir.identity.path)

    async def _take_heir(self, path: Path) -> None:
        """Process the spare file of an exposure that no other file stands for, if there is one."""
        heir = self._book.heir(path)
        if heir is None:
            return
        why = "the file of its exposure that was preferred cannot be processed"
        news = _News([Ending(heir, MovieState.SUPERSEDED, why, "file of its exposure given up")])
        self._enter(heir.identity, news)
        await self._replace_given_up(heir.identity.path, news)
        await self._commit(news, why)
        self._on_reconsider(heir.identity)

    async def _replace_given_up(self, path: Path, news: _News) -> None:
        """Leave alone quarantined files of an exposure that another stands for now: nobody may retry them into it."""
        for other, reason in await find_given_up(self._store, self._book, path):
            why = f"{readable_path(path)} is taken instead"
            news.endings.append(Ending(other, MovieState.SUPERSEDED, why, "given up"))
            news.changes.append(self._see_ignored(other.identity, reason))

    async def _follow_move(self, identity: FileIdentity) -> BookedMovie:
        """Return the movie, or, where a slow move has turned out to be one, its next revision with the old image."""
        movie, origin = self._book.find(identity.path), leave_for(self._book, identity)
        assert movie is not None, "who judges a movie has it booked"
        if origin is not None:
            why = f"the same movie as {readable_path(origin.movie.identity.path)}, moved"
            ending = Ending(movie, MovieState.SUPERSEDED, why, "file moved", identity)
            more, event = self._see(self._book.add(identity, origin.movie.image), origin.movie)
            await self._endings.end_for([origin, ending], more, [event])
            movie = self._book.find(identity.path)
            assert movie is not None, "what was added is booked"
        return movie

    def _enter(self, identity: FileIdentity, news: _News, origin: BookedMovie | None = None) -> None:
        """Enter a file as the movie of its image, or beside the one that is; `origin` is where it was moved from."""
        problem = unwritable_reason(identity.path.name)
        other = self._book.other_file_of_its_image(identity.path)
        if problem:
            news.changes.append(self._see_ignored(identity, problem))
        elif other is not None:
            reason = f"{SAME_EXPOSURE}{readable_path(other)}"
            news.changes.append(self._see_ignored(identity, reason, is_spare=True))
        else:
            more, event = self._see(self._book.add(identity, None if origin is None else origin.image), origin)
            news.changes.extend(more)
            news.told.append(event)

    def _see(self, movie: BookedMovie, origin: BookedMovie | None) -> tuple[list[Change], Event]:
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
            last_write_s=last_write_s(movie.identity),
        )
        owed = owed_tasks(self._book, movie, origin)
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

    def _see_ignored(self, identity: FileIdentity, reason: str, *, is_spare: bool = False) -> Change:
        movie = self._book.add_ignored(identity, is_spare=is_spare)
        entry = LedgerEntry(
            movie_id=movie.movie_id,
            session_id=self._ref.session_id,
            identity=identity,
            revision=movie.revision,
            state=MovieState.IGNORED,
            reason=reason,
            image_id=None,
            seen_at_s=self._clock_s(),
            last_write_s=last_write_s(identity),
        )
        return SeeMovie(entry, cause="spare file" if is_spare else "not a movie")

    async def _commit(self, news: _News, why: str) -> None:
        """Commit all of it together; where that brings a movie, movies are expected again."""
        opening: tuple[Sequence[Change], Sequence[Event]] = ((), ())
        if news.told:
            opening = await reopening(self._store, self._subjects, self._ref, reason=why, at_s=self._clock_s())
        await self._endings.end_for(news.endings, [*opening[0], *news.changes], [*opening[1], *news.told])

    async def _link(self, image: ImageRecord, movie: Path) -> None:
        if not self._link_frames:
            return
        try:
            await anyio.to_thread.run_sync(self._folders.link_frames, image.name, movie)
        except FileNotWritten as error:
            # A convenience for people who browse the home: its absence loses no result.
            log.warning(
                "the link to the movie in the results folder could not be made", image=image.name, reason=str(error)
            )
