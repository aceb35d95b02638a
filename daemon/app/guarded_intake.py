"""Takes what watching finds for as long as the raw directory is the one that was imported.

A directory that takes the name of another, or is emptied for another session, brings files of its own: taken for the
session's they would be mixed into it, and those of known names would replace its results, before anybody has asked
whose they are. So before a file is entered it is asked whether an import would find the directory to be the session's:
where its session.json stands otherwise than when that was asked last, and, before a file takes the place of a movie,
where its file system cannot tell a new directory from an old one and no other movie is there as it was.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

from daemon.domain.movie import FileIdentity
from daemon.errors import CommandRefused, ElcanoError, FileUnanswered
from daemon.formats.detached import DetachedCall, PatientCalls
from daemon.sessions.book import SessionBook
from daemon.sessions.importing import stored_manifest
from daemon.sessions.manifest import FILE_NAME, parse_manifest
from daemon.sessions.place_mark import ManifestMark, PlaceMark, read_manifest_mark, read_place_mark
from daemon.sessions.taken_places import find_left
from daemon.store.store import Store
from daemon.watchers.ledger_sink import Intake

log = structlog.get_logger(__name__)

_MOST_COMPARED = 20
_NEVER_ASKED = ManifestMark(-1, -1)


@dataclass(frozen=True)
class _Look:
    mark: PlaceMark | None
    manifest: ManifestMark | None
    holds_known: bool
    """Whether one of the movies that were compared is there as it was."""


class GuardedIntake:
    """The intake of one session; once its directory is another one it takes nothing more, and watching waits."""

    def __init__(
        self,
        intake: Intake,
        book: SessionBook,
        mark: PlaceMark | None,
        *,
        holds_still: Callable[[], Awaitable[bool]],
        on_replaced: Callable[[], None],
    ) -> None:
        """`mark` is the directory's at the import, None where nobody could tell; `on_replaced` ends the watching.

        `holds_still` says whether an import would find that the directory is its session's.
        """
        self._intake = intake
        self._book = book
        self._raw_directory = book.session.raw_directory
        self._mark = mark
        self._holds_still = holds_still
        self._on_replaced = on_replaced
        self._is_replaced = False
        self._asked_with: ManifestMark | None = _NEVER_ASKED
        """How session.json stood when it was last asked whose the directory is."""

    async def seen(self, files: Sequence[FileIdentity]) -> None:
        """Enter new files."""
        takes_places = any(self._takes_a_place(file) for file in files)
        is_new = any(self._book.find(file.path) is None for file in files)
        await self._stop_where_replaced(takes_places=takes_places, is_new=is_new)
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
        await self._stop_where_replaced(takes_places=before != now)
        await self._intake.rewritten(before, now)

    def _takes_a_place(self, file: FileIdentity) -> bool:
        known = self._book.find(file.path)
        return known is not None and known.image is not None and known.identity != file

    async def _stop_where_replaced(self, *, takes_places: bool = False, is_new: bool = False) -> None:
        """Return where the directory is as it was, or gone, of which watching tells; else wait to be ended."""
        compared = self._book.some_whole(_MOST_COMPARED) if takes_places else []
        call = DetachedCall(partial(_look, self._raw_directory, compared))
        await call.wait(float("inf"))
        look = call.result()
        if look.mark is None or self._mark is None:
            return
        is_asked = takes_places or (is_new and look.manifest != self._asked_with)
        if self._mark.may_be(look.mark) and not (is_asked and await self._is_anothers(self._mark, look)):
            return
        if not self._is_replaced:
            self._is_replaced = True
            log.warning("another directory has the name of this one", directory=str(self._raw_directory))
            self._on_replaced()
        await anyio.sleep_forever()

    async def _is_anothers(self, mark: PlaceMark, look: _Look) -> bool:
        told = look.mark is not None and mark.is_surely(look.mark)
        if look.manifest == self._asked_with and (told or look.holds_known):
            return False
        if not await self._holds_still():
            return True
        self._asked_with = look.manifest
        return False


async def holds_still(store: Store, raw_directory: Path, roots: Sequence[Path], calls: PatientCalls) -> bool:
    """Whether an import would find that a directory is its session's; waits for one that does not answer."""
    while True:
        try:
            return await _is_not_left(store, raw_directory, roots, calls)
        except FileUnanswered as error:
            await calls.wait_answered(error.path)


async def _is_not_left(store: Store, raw_directory: Path, roots: Sequence[Path], calls: PatientCalls) -> bool:
    try:
        stored = await calls.call(raw_directory, partial(stored_manifest, raw_directory, roots))
        manifest = await anyio.to_thread.run_sync(parse_manifest, *stored) if stored else None
    except FileUnanswered:
        raise
    except ElcanoError:
        manifest = None  # the import says what is wrong with it
    try:
        return await find_left(store, raw_directory, manifest, calls) is None
    except CommandRefused:
        return False


def _look(raw_directory: Path, compared: Sequence[FileIdentity]) -> _Look:
    manifest = read_manifest_mark(raw_directory / FILE_NAME)
    holds_known = any(_identify(file.path) == file for file in compared)
    return _Look(read_place_mark(raw_directory), manifest, holds_known)


def _identify(path: Path) -> FileIdentity | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return FileIdentity(path, status.st_size, status.st_mtime_ns)
