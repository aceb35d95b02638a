"""Hands what watching finds to the session's intake, in the words of the domain."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import structlog

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


class LedgerSink:
    """The MovieSink of one session."""

    def __init__(self, session_name: str, intake: Intake) -> None:
        self._intake = intake
        self._log = log.bind(session=session_name)

    async def seen(self, files: Sequence[FoundFile]) -> None:
        """Enter new movies."""
        await self._intake.seen([found.identity for found in files])

    async def ignored(self, files: Sequence[IgnoredFile]) -> None:
        """Enter files that are no movies."""
        await self._intake.ignored([(file.identity, file.reason) for file in files])

    async def tallied(self, counts: Mapping[str, int]) -> None:
        """Say how many more files of other kinds there are; they are not entered one by one."""
        self._log.info("other files left alone", **{suffix or "no suffix": count for suffix, count in counts.items()})

    async def complete(self, movie: SettledMovie) -> None:
        """A movie is proven whole."""
        await self._intake.complete(movie.identity, movie.structure.frame_count, movie.reason)

    async def quarantined(self, movie: RefusedMovie) -> None:
        """A movie stays broken."""
        self._log.warning("movie quarantined", movie=str(movie.identity.path), reason=movie.reason)
        await self._intake.quarantined(movie.identity, movie.reason)

    async def vanished(self, files: Sequence[FileIdentity]) -> None:
        """Note movies that are gone."""
        await self._intake.vanished(files)

    async def rewritten(self, files: Sequence[ChangedFile]) -> None:
        """Enter the new revisions of judged movies."""
        for file in files:
            is_same = file.before == file.now.identity
            self._log.warning("movie can be read now" if is_same else "movie written again", movie=str(file.now.path))
            await self._intake.rewritten(file.before, file.now.identity)

    async def troubled(self, problems: Sequence[WatchProblem]) -> None:
        """Say what keeps places or files from being watched."""
        for problem in problems:
            self._log.warning("cannot watch", path=str(problem.path), reason=problem.what)

    async def recovered(self, paths: Sequence[Path]) -> None:
        """Say which places can be watched again."""
        for path in paths:
            self._log.info("watched again", path=str(path))
