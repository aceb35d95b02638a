"""Takes what watching finds for as long as the raw directory is the one that was imported.

A directory that takes the name of another brings files of the same names: taken for the session's movies, written
anew, they would replace its results before anybody has asked whose they are.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import anyio
import structlog

from daemon.domain.movie import FileIdentity
from daemon.formats.detached import DetachedCall
from daemon.sessions.taken_places import place_number
from daemon.watchers.ledger_sink import Intake

log = structlog.get_logger(__name__)


class GuardedIntake:
    """The intake of one session; once its directory is another one it takes nothing more, and watching waits."""

    def __init__(
        self, intake: Intake, raw_directory: Path, number: int | None, on_replaced: Callable[[], None]
    ) -> None:
        """`number` is the directory's at the import, None where nobody could tell; `on_replaced` ends the watching."""
        self._intake = intake
        self._raw_directory = raw_directory
        self._number = number
        self._on_replaced = on_replaced
        self._is_replaced = False

    async def seen(self, files: Sequence[FileIdentity]) -> None:
        """Enter new files."""
        await self._stop_where_replaced()
        await self._intake.seen(files)

    async def complete(self, identity: FileIdentity, frame_count: int | None, reason: str) -> None:
        """A movie is proven whole."""
        await self._stop_where_replaced()
        await self._intake.complete(identity, frame_count, reason)

    async def quarantined(self, identity: FileIdentity, reason: str) -> None:
        """A movie stays broken."""
        await self._stop_where_replaced()
        await self._intake.quarantined(identity, reason)

    async def ignored(self, files: Sequence[tuple[FileIdentity, str]]) -> None:
        """Enter files that are no movies."""
        await self._stop_where_replaced()
        await self._intake.ignored(files)

    async def vanished(self, files: Sequence[FileIdentity]) -> None:
        """Note files that are gone."""
        await self._stop_where_replaced()
        await self._intake.vanished(files)

    async def rewritten(self, before: FileIdentity, now: FileIdentity) -> None:
        """A judged file was written again."""
        await self._stop_where_replaced()
        await self._intake.rewritten(before, now)

    async def _stop_where_replaced(self) -> None:
        """Return where the directory is as it was, or gone, of which watching tells; else wait to be ended."""
        call = DetachedCall(partial(place_number, self._raw_directory))
        await call.wait(float("inf"))
        if self._number is None or call.result() in {None, self._number}:
            return
        if not self._is_replaced:
            self._is_replaced = True
            log.warning("another directory has the name of this one", directory=str(self._raw_directory))
            self._on_replaced()
        await anyio.sleep_forever()
