"""Who may import a directory now: one at a time, and nobody while a session is leaving it."""

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import anyio

T = TypeVar("T")


class PlaceBusyError(Exception):
    """A directory that a session is to leave is imported itself just now."""

    def __init__(self, place: Path) -> None:
        """`place` is that directory."""
        super().__init__(str(place))
        self.place = place


class Turns:
    """One lock for each directory."""

    def __init__(self) -> None:
        self._locks: defaultdict[Path, anyio.Lock] = defaultdict(anyio.Lock)

    def of(self, place: Path) -> anyio.Lock:
        """Return the lock of a directory, for who holds no other."""
        return self._locks[place]

    async def take(self, place: Path, do: Callable[[], Awaitable[T]]) -> T:
        """Do what concerns a directory in turn, and anew where it needs one that another has its turn at."""
        while True:
            try:
                async with self._locks[place]:
                    return await do()
            except PlaceBusyError as busy:  # two that wait for each other's directory would wait for ever
                async with self._locks[busy.place]:
                    pass

    @asynccontextmanager
    async def hold_also(self, place: Path) -> AsyncIterator[None]:
        """Hold another directory within a turn. Raises PlaceBusyError, which ends the turn."""
        try:
            self._locks[place].acquire_nowait()
        except anyio.WouldBlock as error:
            raise PlaceBusyError(place) from error
        try:
            yield
        finally:
            self._locks[place].release()
