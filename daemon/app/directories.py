"""Looks at directories that may lie on a file system that does not answer: none of them is done on the event loop."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
import structlog

from daemon.domain.movie import FileIdentity
from daemon.domain.session import Session
from daemon.errors import CommandRefused, FileNotWritten, FileUnanswered
from daemon.formats.atomic import sweep_leftovers
from daemon.formats.detached import PatientCalls
from daemon.sessions.folders import SessionFolders
from daemon.sessions.manifest import FILE_NAME

T = TypeVar("T")

log = structlog.get_logger(__name__)


def absolute_path(named: str) -> Path:
    """Return a path as it was named. Raises CommandRefused for what no file system can look up."""
    path = Path(named)
    if not path.is_absolute() or "\0" in named:
        raise CommandRefused(
            f"{named!r} is not an absolute path.", hint="Name it from the root, as the daemon sees it."
        )
    return path


class Directories:
    """What the raw directories of sessions are; what does not answer in time is taken as it is named."""

    def __init__(self, limit_s: float) -> None:
        """`limit_s` is how long a directory may take to answer."""
        self.calls = PatientCalls(limit_s)

    async def real_path(self, directory: Path) -> Path:
        """Return where a directory really is, links followed; as it is named where that cannot be told."""
        return await self._ask(directory, partial(_follow, directory), directory)

    async def real_paths(self, directories: Iterable[Path]) -> dict[Path, Path]:
        """Return the real path of each, all asked at once: those that do not answer cost one limit together."""
        found: dict[Path, Path] = {}

        async def follow(directory: Path) -> None:
            found[directory] = await self.real_path(directory)

        async with anyio.create_task_group() as group:
            for directory in dict.fromkeys(directories):
                group.start_soon(follow, directory)
        return found

    async def is_archived(self, directory: Path) -> bool:
        """Whether a directory is there no more; one that does not answer may be."""
        return not await self._ask(directory, partial(_is_there, directory), True)

    async def manifest_of(self, directory: Path) -> FileIdentity | None:
        """Return how the session.json of a directory stands; None where there is none to be seen."""
        return await self._ask(directory, partial(_identify, directory / FILE_NAME), None)

    async def look(self, directory: Path) -> None:
        """Return once a directory has answered, whatever it said. Raises FileUnanswered."""
        await self.calls.call(directory, partial(_look, directory))

    async def _ask(self, directory: Path, question: Callable[[], T], otherwise: T) -> T:
        try:
            return await self.calls.call(directory, question)
        except FileUnanswered:
            return otherwise


async def sweep_home(home: Path) -> None:
    """Remove what a dead process left half written; nobody waits for it, and it spares what living ones write."""
    try:
        await anyio.to_thread.run_sync(sweep_leftovers, home, abandon_on_cancel=True)
    except FileNotWritten as error:
        log.warning("files that a dead process left unfinished may remain", home=str(home), reason=str(error))


async def tidy_home(folders: SessionFolders, session: Session) -> None:
    """Remove what a dead process left half written, and have links lead to where a session was moved to."""
    await sweep_home(folders.home)
    if session.former_directories:
        await renew_links(folders, session)


async def renew_links(folders: SessionFolders, session: Session) -> None:
    """Turn the links to raw movies that lead to where a session was before it was moved; nobody waits for it."""
    try:
        await anyio.to_thread.run_sync(
            folders.turn_links, session.former_directories, session.raw_directory, abandon_on_cancel=True
        )
    except FileNotWritten as error:
        log.warning("links to movies may lead to where they were before", session=session.name, reason=str(error))


def _follow(directory: Path) -> Path:
    try:
        return directory.resolve()
    except (OSError, RuntimeError):  # a circle of links: the import says so
        return directory


def _is_there(directory: Path) -> bool:
    try:
        return directory.is_dir()
    except OSError:
        return True  # the import says what is wrong with it


def _look(directory: Path) -> None:
    try:
        next(directory.iterdir(), None)
    except OSError:
        return  # the import says what is wrong with it


def _identify(path: Path) -> FileIdentity | None:
    try:
        status = path.stat()
    except OSError:
        return None  # the import says what is wrong with it
    return FileIdentity(path, status.st_size, status.st_mtime_ns)
