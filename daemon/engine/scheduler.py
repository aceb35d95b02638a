"""Decides which image is visited next, keeps a bounded number of visits in flight, and brings retries back."""

import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from daemon.engine.backlog import Backlog, Order
from daemon.engine.machinery import Machinery
from daemon.engine.visit import Visit
from daemon.engine.work import ImageWork, VisitOutcome

_LOOK_AT_CLOCK_S = 60.0

FetchWork = Callable[[str], Awaitable[ImageWork | None]]
"""Reads what one movie is owed; None when it is owed nothing any more."""


@dataclass(frozen=True)
class SchedulerStatistics:
    """What the scheduler holds now, for status pages.

    `in_flight` counts movies taken up, `visited` visits begun; `next_retry_at_s` is when the first delayed one is due.
    """

    waiting: int
    delayed: int
    in_flight: int
    visited: int
    next_retry_at_s: float | None


class Scheduler:
    """Feeds visits from the backlog. No two visits of one image overlap; everything here runs on the event loop."""

    def __init__(
        self,
        machinery: Machinery,
        fetch: FetchWork,
        wait_for_room: Callable[[], Awaitable[None]],
        *,
        visits_in_flight: int,
        order: Order = "normal",
    ) -> None:
        """`wait_for_room` returns when the disk can take another movie's results."""
        self._machinery = machinery
        self._fetch = fetch
        self._lanes = visits_in_flight
        self._wait_for_room = wait_for_room
        self._backlog = Backlog(order)
        self._in_hand: dict[str, threading.Event] = {}
        """Movies taken from the backlog whose visit is not over, each with the sign to stop."""
        self._again: dict[str, float] = {}
        """Movies offered while they were in hand, with their time of last write."""
        self._busy_images: set[str] = set()
        self._visited = 0
        self._changes = 0
        self._changed = anyio.Event()

    def offer(self, movie_id: str, last_write_s: float, *, suspect: bool = False) -> None:
        """Queue a complete movie with pending tasks; offering it twice is harmless.

        A suspect, whose earlier attempt died with the daemon, is visited alone and before all others.
        """
        if movie_id in self._in_hand:
            self._again[movie_id] = last_write_s
        elif suspect:
            self._backlog.offer_suspect(movie_id)
        else:
            self._backlog.offer(movie_id, last_write_s)
        self._wake()

    def offer_anew(self, movie_id: str, last_write_s: float) -> None:
        """Queue a movie whose tasks were put back; a visit in hand, which runs with what held before, is stopped."""
        self.stop(movie_id)
        self.offer(movie_id, last_write_s)

    def stop(self, movie_id: str) -> None:
        """Ask the visit of a movie, if one is in hand, to stop at its next chance; what waits goes on waiting."""
        if movie_id in self._in_hand:
            self._in_hand[movie_id].set()

    def cancel(self, movie_id: str) -> None:
        """Forget a movie, or ask its visit to stop at its next chance; whoever calls ends its tasks."""
        self._again.pop(movie_id, None)
        self._backlog.withdraw(movie_id)
        if movie_id in self._in_hand:
            self._in_hand[movie_id].set()
        self._wake()

    def statistics(self) -> SchedulerStatistics:
        """Return how much waits and runs."""
        backlog = self._backlog
        return SchedulerStatistics(
            len(backlog), backlog.delayed, len(self._in_hand), self._visited, backlog.next_due_s()
        )

    def look_again(self) -> None:
        """Look at pauses and at the clock at once: someone changed them."""
        self._wake()

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits, is delayed or runs; what waits for the end of the node's pause does not count."""
        if self._machinery.pauses.node is not None:
            return not self._in_hand
        return not (len(self._backlog) or self._backlog.delayed or self._in_hand)

    @property
    def changes(self) -> int:
        """How often what waits or runs has changed; read it before looking, and give it to `wait_for_change`."""
        return self._changes

    async def wait_for_change(self, since: int | None = None) -> None:
        """Return once something has changed after `changes` was `since`; without it, at the next change."""
        if since is None or since == self._changes:
            await self._changed.wait()

    async def run(self) -> None:
        """Serve until cancelled. Raises StoreUnavailable, in a group, when nothing can be recorded any more."""
        send, receive = anyio.create_memory_object_stream[str](0)
        with send, receive:
            async with anyio.create_task_group() as group:
                for _ in range(self._lanes):
                    group.start_soon(self._serve_lane, receive)
                group.start_soon(self._release_delayed)
                await self._feed(send)

    async def _feed(self, send: MemoryObjectSendStream[str]) -> None:
        while True:
            since = self._changes
            if self._machinery.pauses.node is not None:
                await self.wait_for_change(since)
                continue
            suspect = self._backlog.take_suspect()
            movie_id = suspect or self._backlog.take()
            if movie_id is None:
                await self.wait_for_change(since)
                continue
            self._in_hand[movie_id] = threading.Event()
            self._wake()
            await self._wait_for_room()
            if suspect is None:
                await send.send(movie_id)
                continue
            while len(self._in_hand) > 1:
                await self.wait_for_change()
            await self._visit(movie_id)

    async def _serve_lane(self, receive: MemoryObjectReceiveStream[str]) -> None:
        async for movie_id in receive:
            await self._visit(movie_id)

    async def _release_delayed(self) -> None:
        while True:
            now_s = self._machinery.recorder.now_s()
            if self._backlog.release_due(now_s):
                self._wake()
            due_s = self._backlog.next_due_s()
            since = self._changes
            # Not longer, so that a clock that is set forward is noticed.
            with anyio.move_on_after(None if due_s is None else min(max(0.0, due_s - now_s), _LOOK_AT_CLOCK_S)):
                await self.wait_for_change(since)

    async def _visit(self, movie_id: str) -> None:
        outcome, last_write_s = VisitOutcome(), 0.0
        try:
            work = await self._fetch(movie_id)
            if work is not None:
                last_write_s = work.movie.last_write_s
                outcome = await self._visit_alone_on_its_image(work, self._in_hand[movie_id])
        finally:
            # Where the daemon stops in the middle, a stage that still computes on its thread ends at its next look.
            self._in_hand.pop(movie_id).set()
            self._wake()
        if movie_id in self._again:
            self._backlog.offer(movie_id, self._again.pop(movie_id))
        elif outcome.retry_at_s is not None:
            self._backlog.delay(movie_id, last_write_s, outcome.retry_at_s)
        self._wake()

    async def _visit_alone_on_its_image(self, work: ImageWork, cancelled: threading.Event) -> VisitOutcome:
        async with self._only_visit_of(work.image.image_id) as waited:
            current = await self._fetch(work.movie.movie_id) if waited else work
            if current is None or cancelled.is_set():
                return VisitOutcome()
            self._visited += 1
            return await Visit(self._machinery, current, priority=self._visited, cancelled=cancelled).run()

    @asynccontextmanager
    async def _only_visit_of(self, image_id: str) -> AsyncIterator[bool]:
        """Keep other visits of an image away, as those of an earlier revision; gives whether one had to end first."""
        waited = image_id in self._busy_images
        while image_id in self._busy_images:
            await self.wait_for_change()
        self._busy_images.add(image_id)
        try:
            yield waited
        finally:
            self._busy_images.discard(image_id)
            self._wake()

    def _wake(self) -> None:
        self._changes += 1
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
