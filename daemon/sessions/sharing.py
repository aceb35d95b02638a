"""A lock that one holds alone, or any number hold together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType

import anyio


class SharedLock:
    """`async with lock` holds it alone, `async with lock.shared()` beside others that do the same.

    Whoever comes first goes first: who waits to be alone is not overtaken by those who would share. Not reentrant.
    """

    def __init__(self) -> None:
        self._door = anyio.Lock()
        """Held while somebody is alone, and in passing by those who share."""
        self._sharing = 0
        self._all_gone = anyio.Event()

    def statistics(self) -> anyio.LockStatistics:
        """Say who is alone, or wants to be, and how many wait at the door."""
        return self._door.statistics()

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Hold it together with others."""
        async with self._door:
            self._sharing += 1
        try:
            yield
        finally:
            self._sharing -= 1
            if not self._sharing:
                self._all_gone.set()

    async def __aenter__(self) -> None:
        await self._door.acquire()
        try:
            while self._sharing:
                self._all_gone = anyio.Event()
                await self._all_gone.wait()
        except BaseException:
            self._door.release()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._door.release()
