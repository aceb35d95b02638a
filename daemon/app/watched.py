"""The sessions that are watched now, by raw directory, and what can be said of all of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from daemon.bus.service import Bus
from daemon.domain.movie import FileIdentity
from daemon.domain.names import readable_path
from daemon.domain.session import Session
from daemon.domain.states import MovieState
from daemon.messages.events import SessionRef
from daemon.sessions.importing import ImportedSession
from daemon.sessions.intake import SessionIntake
from daemon.sessions.troubles import PlaceTrouble, PlaceTroubles
from daemon.store import ledger
from daemon.store.reading import Reads
from daemon.store.store import Store
from daemon.watchers.discovery import Discoverer
from daemon.watchers.found import KnownFile
from daemon.watchers.ledger_sink import Intake
from daemon.watchers.session_watch import WatchPlan, watch_session
from daemon.watchers.settle import UNREADABLE


@dataclass(frozen=True)
class WatchedSession:
    """One open session and its eyes."""

    imported: ImportedSession
    intake: SessionIntake
    discoverer: Discoverer
    places: PlaceTroubles

    @property
    def raw_directory(self) -> Path:
        """Where it is watched."""
        return self.imported.book.session.raw_directory

    async def judge_anew(self, movie: FileIdentity, why: str) -> None:
        """Look at a movie that was given up as if it had just come."""
        await self.intake.rewritten(movie, movie, why)
        self.discoverer.reconsider(movie)


def begin_account(store: Store, bus: Bus, session: Session) -> PlaceTroubles:
    """Return an empty account of the places of a session that cannot be watched."""
    ref = SessionRef(session.session_id, session.name)
    return PlaceTroubles(store, bus.subjects, bus.publisher.wake, ref, raw_directory=session.raw_directory)


async def find_known(store: Reads, session_id: str) -> list[KnownFile]:
    """Return every file of a session that the ledger holds, as watching wants them."""
    known = await ledger.known_files(store, session_id)
    return [
        KnownFile(
            FileIdentity(path, file.size_bytes, file.mtime_ns),
            settled=file.state not in {MovieState.SEEN, MovieState.SETTLING},
        )
        for path, file in known.items()
        # One that is there again is to be announced.
        if file.state is not MovieState.VANISHED
    ]


async def find_given_up(store: Reads, session_id: str) -> list[FileIdentity]:
    """Return the movies that could not be read; of a file that stands otherwise now, watching sees that itself."""
    broken = await ledger.movies(store, session_id, (MovieState.QUARANTINED,))
    return [movie.identity for movie in broken if movie.reason.endswith(UNREADABLE)]


async def begin_watch(
    plan: WatchPlan, store: Reads, imported: ImportedSession, intake: Intake, places: PlaceTroubles
) -> Discoverer:
    """Return what finds the movies of a session, knowing what the ledger holds of it."""
    session, book = imported.book.session, imported.book
    return watch_session(
        plan,
        session.name,
        session.raw_directory,
        intake,
        await find_known(store, session.session_id),
        expected_frames=book.expected_frames,
        stage_of=book.stage_of,
        given_up=await find_given_up(store, session.session_id),
        pattern=session.acquisition.movie_pattern,
        places=places,
    )


class WatchedSessions(dict[Path, WatchedSession]):
    """Every watched session by its raw directory."""

    def of(self, session_id: str) -> WatchedSession | None:
        """Return the session of this id, None while it is not watched."""
        found = (watched for watched in self.values() if watched.imported.book.session.session_id == session_id)
        return next(found, None)

    async def place_anew(self, session_id: str, movie: Path) -> None:
        """Look again which optics group a movie belongs to; without its session being watched, it keeps its own."""
        watched = self.of(session_id)
        if watched is not None:
            await watched.intake.place_anew(movie)

    @property
    def is_settled(self) -> bool:
        """Whether every movie that was found has been judged."""
        return all(watched.discoverer.is_settled for watched in self.values())

    @property
    def problems(self) -> Mapping[Path, str]:
        """Places in raw directories that cannot be watched, and why."""
        return {path: what for watched in self.values() for path, what in watched.discoverer.problems.items()}

    @property
    def not_watched(self) -> list[PlaceTrouble]:
        """The same, each with its time and what to do."""
        return [trouble for watched in self.values() for trouble in watched.places.lasting()]

    @property
    def names(self) -> dict[str, str]:
        """Ids and names."""
        sessions = (watched.imported.book.session for watched in self.values())
        return {session.session_id: session.name for session in sessions}

    def waiting_movies(self) -> list[dict[str, Any]]:
        """Return every movie that is not judged yet, and why."""
        return [
            {"session": watched.imported.book.session.name, "path": str(movie.path), "reason": movie.reason}
            for watched in self.values()
            for movie in watched.discoverer.waiting()
        ]

    def why_waiting(self, session_id: str) -> dict[Path, str]:
        """Return why each movie of a session is not judged yet; of one that nobody watches, nothing."""
        watched = self.of(session_id)
        return {} if watched is None else {movie.path: movie.reason for movie in watched.discoverer.waiting()}

    def look_through(self, session_id: str) -> anyio.Event:
        """Begin a full look at a session's files; the event is set at its end, at once where nobody watches them."""
        watched = self.of(session_id)
        if watched is not None:
            return watched.discoverer.look_through()
        looked = anyio.Event()
        looked.set()
        return looked

    def unseen(self, session_id: str) -> list[str]:
        """Say which places of a session the last look at its files did not see, and why; nothing when it saw all."""
        watched = self.of(session_id)
        if watched is None:
            return ["its raw directory is not watched"]
        return [f"{readable_path(path)} {what}" for path, what in watched.discoverer.unseen.items()]
