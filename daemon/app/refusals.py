"""Directories that could not be imported, and why: each for as long as it is there."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import structlog

from daemon.app.directories import Directories
from daemon.domain.identity import stable_id
from daemon.domain.names import readable_path
from daemon.errors import ElcanoError, ManifestInvalid
from daemon.messages import events
from daemon.messages.events import SessionRef
from daemon.messages.subjects import Subjects
from daemon.sessions.telling import queue
from daemon.store import sessions
from daemon.store.changes import PutNotification
from daemon.store.store import Store

log = structlog.get_logger(__name__)

FIRST_RETRY_S = 10.0
_LONGEST_RETRY_S = 600.0
_KIND = "session_not_imported"


@dataclass(frozen=True)
class Retry:
    """An import that is to be tried again: what failed may have been a fault, or another import beside it."""

    named: Path
    name: str | None
    after_s: float
    due_s: float


class Refusals(dict[Path, str]):
    """Reasons by directory."""

    def __init__(self, subjects: Subjects, clock_s: Callable[[], float] = time.monotonic) -> None:
        """`clock_s` says when an import is due again."""
        super().__init__()
        self._subjects = subjects
        self.copied: dict[Path, Path] = {}
        """Directories that were refused as copies, each with what it is a copy of."""
        self._clock_s = clock_s
        self._retries: dict[Path, Retry] = {}
        self._is_looking = False

    async def drop_gone(self, store: Store, directories: Directories, expected: Collection[Path]) -> None:
        """Forget directories that are gone, as where one was moved back; `expected` ones stay told all the same, but
        for those from where a session was moved."""
        if self._is_looking:
            return
        self._is_looking = True
        try:
            rows = await sessions.sessions(store)
            left = {place for row in rows for place in row.session.former_directories}
            left -= {row.session.raw_directory for row in rows}
            for directory in sorted(self.keys() - (set(expected) - left)):
                if await directories.is_archived(directory):
                    await self.settle(store, directory)
        finally:
            self._is_looking = False

    async def settle(self, store: Store, *places: Path) -> None:
        """Forget directories, as they are imported by now or nothing is there any more."""
        for directory in places:
            self._retries.pop(directory, None)
            if self.pop(directory, None) is not None:
                log.info("could not be imported, which is over", directory=str(directory))
                said = f"{readable_path(directory)} could not be imported for a while, which is over."
                await self._commit(store, directory, PutNotification(_notification(directory), "info", _KIND, said))

    async def tell(self, store: Store, directory: Path, named: Path, name: str | None, error: ElcanoError) -> None:
        """Remember and tell why a directory could not be imported, and try again later; the same is told once."""
        if not isinstance(error, ManifestInvalid):  # its file is looked at when it is written anew
            before = self._retries.get(directory)
            after_s = FIRST_RETRY_S if before is None else min(2 * before.after_s, _LONGEST_RETRY_S)
            self._retries[directory] = Retry(named, name, after_s, self._clock_s() + after_s)
        if self.get(directory) == str(error):
            return
        self[directory] = str(error)
        log.error("session not imported", directory=str(named), reason=str(error))
        told = PutNotification(_notification(directory), "error", _KIND, error.message, error.hint)
        await self._commit(store, directory, told)

    async def _commit(self, store: Store, directory: Path, told: PutNotification) -> None:
        """Commit a notification; an event tells it too where the directory is a session's that is known."""
        rows = await sessions.sessions(store)
        concerned = [row.session for row in rows if row.session.raw_directory == directory]
        said = [
            events.notification(
                self._subjects,
                SessionRef(session.session_id, session.name),
                notification_id=told.notification_id,
                severity="info" if told.severity == "info" else "warning",
                message=f"{told.message} {told.hint}".strip(),
                at_s=time.time(),
            )
            for session in concerned
        ]
        await store.commit(told, *(queue(self._subjects, event) for event in said))

    def take_due(self) -> list[tuple[Path, str | None]]:
        """Return the imports that are to be tried again now, as they were named; each is due once."""
        now_s = self._clock_s()
        due = [(directory, retry) for directory, retry in self._retries.items() if retry.due_s <= now_s]
        for directory, retry in due:
            self._retries[directory] = Retry(retry.named, retry.name, retry.after_s, float("inf"))
        return [(retry.named, retry.name) for _, retry in due]

    async def moved_by_now(self, directories: Directories) -> list[Path]:
        """Return the copies whose original is gone by now: a session was moved, file by file. Each is named once."""
        moved = []
        for copy in [copy for copy in self.copied if copy in self]:
            original = self.copied.pop(copy)
            if await directories.is_archived(original):
                moved.append(copy)
            else:
                self.copied.setdefault(copy, original)
        return moved


def _notification(directory: Path) -> str:
    return stable_id("not_imported", str(directory))
