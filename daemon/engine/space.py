"""Keeps a reserve of disk space, and waits when a write found none: no new movie is started until there is room."""

import os
import secrets
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import anyio.to_thread

from daemon.engine.troubles import Troubles
from daemon.formats.atomic import make_temporary_name

TROUBLE = "disk_full"
"""Kind of the trouble that is told."""

_LONGEST_WAIT = 30
"""Waits grow with every write that fails again, up to this many times the first."""

_LEAST_BYTES = 2**20


def free_bytes(folder: Path) -> int:
    """Return the free space of the file system that `folder`, or the nearest folder above it, lies on."""
    place = next(place for place in (folder, *folder.parents) if place.exists())
    return shutil.disk_usage(place).free


def try_room(folder: Path, wanted_bytes: int) -> None:
    """Take so much room in `folder` and give it back: a quota shows in no other way. Raises OSError."""
    place = next(place for place in (folder, *folder.parents) if place.exists())
    path = place / make_temporary_name(".room")
    try:
        with path.open("xb") as file:
            os.posix_fallocate(file.fileno(), 0, wanted_bytes)
            file.write(secrets.token_bytes(4096))  # blocks that are only promised may be refused when written
            file.flush()
            os.fsync(file.fileno())
    finally:
        path.unlink(missing_ok=True)


class DiskReserve:
    """Makes whoever wants to start a movie wait until there is room for its results."""

    def __init__(
        self,
        home: Path,
        reserve_bytes: int,
        *,
        troubles: Troubles | None = None,
        measure: Callable[[Path], int] = free_bytes,
        try_room: Callable[[Path, int], None] = try_room,
        look_again_s: float = 10.0,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._home = home
        self._reserve_bytes = reserve_bytes
        self._troubles = troubles or Troubles()
        self._measure = measure
        self._try_room = try_room
        self._look_again_s = look_again_s
        self._sleep = sleep
        self._full: tuple[Path, int] | None = None
        """Where a write found no room, and how much is wanted there before the next is tried."""
        self._refusals = 0
        """Writes in a row that found none although it had looked as if there were some."""
        self.is_short = False

    def keep(self, reserve_bytes: int) -> None:
        """Keep another amount free from now on; who waits for room looks again at its time."""
        self._reserve_bytes = reserve_bytes

    async def note_full(self, folder: Path, reason: str, wanted_bytes: int) -> None:
        """A write under `folder` failed for want of room: nothing new is started until `wanted_bytes` fit there."""
        if self._full is None:
            self._refusals += 1
        self._full = (folder, max(wanted_bytes, _LEAST_BYTES))
        self.is_short = True
        await self._tell(reason)

    async def note_written(self) -> None:
        """The results of a stage are on disk: there is room indeed."""
        if self._full is None and self._refusals:
            self._refusals = 0
            await self._tell_end()

    async def wait_for_room(self) -> None:
        """Return once the home has more free space than the reserve and takes what a write found no room for."""
        while True:
            if self._full is not None:
                # Never at once: what fits now may be what the failed attempt has just given back.
                await self._sleep(self._look_again_s * min(2 ** (self._refusals - 1), _LONGEST_WAIT))
            trouble = await self._look()
            if trouble is None:
                break
            self.is_short = True
            await self._tell(f"{self._home}: {trouble}.")
            if self._full is None:
                await self._sleep(self._look_again_s)
        self.is_short = False
        if not self._refusals:  # else only a write that succeeds is proof
            await self._tell_end()

    async def _tell_end(self) -> None:
        await self._troubles.end(TROUBLE, f"{self._home}: there is room again; processing goes on.")

    async def _tell(self, reason: str) -> None:
        hint = "Make room or raise the quota (or lower [limits] disk_reserve_gib); it goes on by itself."
        await self._troubles.begin(TROUBLE, f"No new movie is started: {reason}", hint, path=self._home)

    async def _look(self) -> str | None:
        """Return why there is no room, or None."""
        try:
            if self._reserve_bytes > 0:
                free = await anyio.to_thread.run_sync(self._measure, self._home)
                if free < self._reserve_bytes:
                    return f"{free / 2**30:.1f} GiB are free, {self._reserve_bytes / 2**30:.1f} GiB are kept in reserve"
        except OSError as error:  # a mount that went away is no place to write to either
            return f"its free space cannot be read: {error.strerror or error}"
        if self._full is not None:
            try:
                await anyio.to_thread.run_sync(self._try_room, *self._full)
            except OSError as error:
                return f"nothing can be written: {error.strerror or error}"
            self._full = None
        return None
