"""Hands what watching finds to the session's intake, in the words of the domain."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import structlog
from structlog.contextvars import bound_contextvars

from daemon.domain.movie import FileIdentity
from daemon.watchers.found import ChangedFile, FoundFile, IgnoredFile, RefusedMovie, SettledMovie, WatchProblem

log = structlog.get_logger(__name__)


class Intake(Protocol):
    """What a session's ledger takes (daemon.sessions.intake)."""

    async def seen(self, files: Sequence[FileIdentity]) -> None:
        """Enter new files."""
        ...

    async def complete(self, identity: FileIdentity, frame_count: int | None, reason: str) -> None:
        """A movie is proven whole."""
        ...

    async def quarantined(self, identity: FileIdentity, reason: str) -> None:
        """A movie stays broken."""
        ...

    async def ignored(self, files: Sequence[tuple[FileIdentity, str]]) -> None:
        """Enter files that are no movies."""
        ...

    async def vanished(self, files: Sequence[FileIdentity]) -> None:
        """Note files that are gone."""
        ...

    async def rewritten(self, before: FileIdentity, now: FileIdentity) -> None:
        """A judged file was written again."""
        ...


class Places(Protocol):
    """Who keeps account of places that cannot be watched (daemon.sessions.troubles)."""

    async def begin(self, troubles: Sequence[tuple[Path, str, str]]) -> None:
        """Places cannot be watched: where, what is wrong, what to do."""
        ...

    async def end(self, paths: Sequence[Path]) -> None:
        """Places can be watched again."""
        ...


class LedgerSink:
    """The MovieSink of one session."""

    def __init__(self, session_name: str, intake: Intake, places: Places | None = None) -> None:
        """`places` is told what lasts; without it, troubles stand in the log alone."""
        self._intake = intake
        self._places = places
        self._session = session_name
        self._log = log.bind(session=session_name)

    def _named(self, path: Path | None = None) -> AbstractContextManager[None]:
        """Let every line of the log that is written meanwhile name the session, and the file."""
        return bound_contextvars(session=self._session, **({} if path is None else {"path": str(path)}))

    async def seen(self, files: Sequence[FoundFile]) -> None:
        """Enter new movies."""
        with self._named():
            await self._intake.seen([found.identity for found in files])

    async def ignored(self, files: Sequence[IgnoredFile]) -> None:
        """Enter files that are no movies."""
        with self._named():
            await self._intake.ignored([(file.identity, file.reason) for file in files])

    async def tallied(self, counts: Mapping[str, int]) -> None:
        """Say how many more files of other kinds there are; they are not entered one by one."""
        self._log.info("other files left alone", **{suffix or "no suffix": count for suffix, count in counts.items()})

    async def complete(self, movie: SettledMovie) -> None:
        """A movie is proven whole."""
        with self._named(movie.identity.path):
            await self._intake.complete(movie.identity, movie.structure.frame_count, movie.reason)

    async def quarantined(self, movie: RefusedMovie) -> None:
        """A movie stays broken."""
        with self._named(movie.identity.path):
            log.warning("movie quarantined", reason=movie.reason)
            await self._intake.quarantined(movie.identity, movie.reason)

    async def vanished(self, files: Sequence[FileIdentity]) -> None:
        """Note movies that are gone."""
        with self._named():
            await self._intake.vanished(files)

    async def rewritten(self, files: Sequence[ChangedFile]) -> None:
        """Enter the new revisions of judged movies."""
        for file in files:
            is_same = file.before == file.now.identity
            with self._named(file.now.path):
                log.warning("movie can be read now" if is_same else "movie written again")
                await self._intake.rewritten(file.before, file.now.identity)

    async def troubled(self, problems: Sequence[WatchProblem]) -> None:
        """Say what keeps places or files from being watched."""
        for problem in problems:
            hint = {"hint": problem.hint} if problem.hint else {}
            self._log.warning("new movies may not be seen here", path=str(problem.path), reason=problem.what, **hint)
        lasting = [(problem.path, problem.what, problem.hint) for problem in problems if not problem.is_passing]
        if self._places is not None and lasting:
            await self._places.begin(lasting)

    async def recovered(self, paths: Sequence[Path]) -> None:
        """Say which places can be watched again."""
        for path in paths:
            self._log.info("watched again", path=str(path))
        if self._places is not None:
            await self._places.end(paths)
