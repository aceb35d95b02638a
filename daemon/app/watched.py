"""The sessions that are watched now, by raw directory, and what can be said of all of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from daemon.domain.movie import FileIdentity
from daemon.domain.names import readable_path
from daemon.sessions.importing import ImportedSession
from daemon.sessions.intake import SessionIntake
from daemon.watchers.discovery import Discoverer


@dataclass(frozen=True)
class WatchedSession:
    """One open session and its eyes."""

    imported: ImportedSession
    intake: SessionIntake
    discoverer: Discoverer

    async def judge_anew(self, movie: FileIdentity, why: str, _: Path) -> None:
        """Look at a movie that was given up as if it had just come."""
        await self.intake.rewritten(movie, movie, why)
        self.discoverer.reconsider(movie)


class WatchedSessions(dict[Path, WatchedSession]):
    """Every watched session by its raw directory."""

    def of(self, session_id: str) -> WatchedSession | None:
        """Return the session of this id, None while it is not watched."""
        found = (watched for watched in self.values() if watched.imported.book.session.session_id == session_id)
        return next(found, None)

    @property
    def is_settled(self) -> bool:
        """Whether every movie that was found has been judged."""
        return all(watched.discoverer.is_settled for watched in self.values())

    @property
    def problems(self) -> Mapping[Path, str]:
        """Places in raw directories that cannot be watched, and why."""
        return {path: what for watched in self.values() for path, what in watched.discoverer.problems.items()}

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
