"""The byte budget: how much host memory all movies in flight may take together."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import anyio

from daemon.errors import OutOfMemory


@dataclass(frozen=True)
class BudgetStatistics:
    """What the budget holds now, for status pages."""

    total_bytes: int
    reserved_bytes: int
    peak_bytes: int
    waiting: int


class Spare(Protocol):
    """Memory kept for later by others, of which nothing is needed."""

    def shrink(self, most_kept_bytes: int) -> None:
        """Keep no more than this; returns at once."""
        ...


class ByteBudget:
    """First come, first served: a large movie waits its turn and is never overtaken for ever by small ones."""

    def __init__(self, total_bytes: int) -> None:
        if total_bytes <= 0:
            raise ValueError(f"total_bytes must be positive, got {total_bytes}")
        self._total = total_bytes
        self._reserved = 0
        self._peak = 0
        self._waiting: deque[tuple[int, anyio.Event]] = deque()
        self._spare: Spare | None = None

    def share_with(self, spare: Spare) -> None:
        """Leave to `spare` only what movies leave: from now on, and whenever one is admitted."""
        self._spare = spare
        spare.shrink(self._total - self._reserved)

    @asynccontextmanager
    async def reserve(self, wanted_bytes: int, what: str) -> AsyncIterator[None]:
        """Hold `wanted_bytes` for the block. Raises OutOfMemory when the budget can never give that much."""
        if wanted_bytes > self._total:
            raise OutOfMemory(what, wanted_bytes, self._total)
        await self._acquire(wanted_bytes)
        try:
            yield
        finally:
            self._reserved -= wanted_bytes
            self._admit()

    async def _acquire(self, wanted_bytes: int) -> None:
        if not self._waiting and self._reserved + wanted_bytes <= self._total:
            self._take(wanted_bytes)
            return
        turn = (wanted_bytes, anyio.Event())
        self._waiting.append(turn)
        try:
            await turn[1].wait()
        except BaseException:
            if turn[1].is_set():  # admitted in the moment of cancellation: give it back
                self._reserved -= wanted_bytes
            else:
                self._waiting.remove(turn)
            self._admit()
            raise

    def _take(self, wanted_bytes: int) -> None:
        self._reserved += wanted_bytes
        self._peak = max(self._peak, self._reserved)
        if self._spare is not None:
            self._spare.shrink(self._total - self._reserved)

    def _admit(self) -> None:
        while self._waiting and self._reserved + self._waiting[0][0] <= self._total:
            wanted_bytes, turn = self._waiting.popleft()
            self._take(wanted_bytes)
            turn.set()

    def statistics(self) -> BudgetStatistics:
        """Return what is held and who waits."""
        return BudgetStatistics(self._total, self._reserved, self._peak, len(self._waiting))
