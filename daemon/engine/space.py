"""Keeps a reserve of disk space: no new movie is started while the home is nearly full."""

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

log = structlog.get_logger(__name__)


def free_bytes(folder: Path) -> int:
    """Return the free space of the file system that `folder`, or the nearest folder above it, lies on."""
    place = next(place for place in (folder, *folder.parents) if place.exists())
    return shutil.disk_usage(place).free


class DiskReserve:
    """Makes whoever wants to start a movie wait until there is room for its results."""

    def __init__(
        self,
        home: Path,
        reserve_bytes: int,
        *,
        measure: Callable[[Path], int] = free_bytes,
        look_again_s: float = 10.0,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._home = home
        self._reserve_bytes = reserve_bytes
        self._measure = measure
        self._look_again_s = look_again_s
        self._sleep = sleep
        self.is_short = False

    async def wait_for_room(self) -> None:
        """Return once the home has more free space than the reserve; say so in the log while it has not."""
        while (trouble := await self._look()) is not None:
            if not self.is_short:
                log.error(
                    "no new movie is started",
                    home=str(self._home),
                    reason=trouble,
                    hint="Make room, or lower [limits] disk_reserve_gib.",
                )
            self.is_short = True
            await self._sleep(self._look_again_s)
        if self.is_short:
            log.info("enough disk space again", home=str(self._home))
        self.is_short = False

    async def _look(self) -> str | None:
        """Return why there is no room, or None."""
        if self._reserve_bytes <= 0:
            return None
        try:
            free = await anyio.to_thread.run_sync(self._measure, self._home)
        except OSError as error:  # a mount that went away is no place to write to either
            return f"its free space cannot be read: {error.strerror or error}"
        if free >= self._reserve_bytes:
            return None
        return f"{free / 2**30:.1f} GiB are free, {self._reserve_bytes / 2**30:.1f} GiB are kept in reserve"
