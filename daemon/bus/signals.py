"""Best-effort messages: progress and log lines. Sent while there is a connection, dropped and counted otherwise."""

import asyncio
import threading
from collections import deque
from dataclasses import dataclass

import anyio

from daemon.bus.connection import Connection
from daemon.messages.envelope import Event

_EXPIRY = "60s"


async def send_signal(connection: Connection, event: Event) -> None:
    """Publish without waiting for anyone; a stream that happens to keep the subject forgets it after a minute."""
    await connection.client.publish(event.subject, event.body(), headers={"Nats-TTL": _EXPIRY})


@dataclass
class SignalCounts:
    """What became of the messages offered."""

    sent: int = 0
    coalesced: int = 0
    dropped: int = 0


class SignalChannel:
    """Gathers messages from any thread and sends them four times a second at most.

    Of the messages offered under one key (a task's progress) only the latest is sent; messages without a
    key (log lines) are all sent, in order, up to `capacity` per round.
    """

    def __init__(self, *, interval_s: float = 0.25, capacity: int = 2000) -> None:
        self._interval_s = interval_s
        self._capacity = capacity
        self._lock = threading.Lock()
        self._latest: dict[str, Event] = {}
        self._queue: deque[Event] = deque()
        self._connected: tuple[asyncio.AbstractEventLoop, anyio.Event] | None = None
        self.counts = SignalCounts()

    def offer(self, event: Event, *, key: str | None = None) -> None:
        """Take a message to send; never waits, callable from any thread."""
        with self._lock:
            if self._connected is None or (key is None and len(self._queue) >= self._capacity):
                self.counts.dropped += 1
                return
            if key is None:
                self._queue.append(event)
            else:
                self.counts.coalesced += key in self._latest
                self._latest[key] = event
            loop, wake = self._connected
            loop.call_soon_threadsafe(wake.set)

    def forget(self, key: str) -> None:
        """Drop what waits under a key: the task has ended, its progress would come late."""
        with self._lock:
            if self._latest.pop(key, None) is not None:
                self.counts.dropped += 1

    async def serve(self, connection: Connection) -> None:
        """Send over this connection until it is lost."""
        try:
            while True:
                wake = anyio.Event()
                with self._lock:
                    self._connected = (asyncio.get_running_loop(), wake)
                    waiting = bool(self._queue or self._latest)
                if not waiting:
                    await wake.wait()
                await self._send(connection, self._take())
                await anyio.sleep(self._interval_s)
        finally:
            with self._lock:
                self._connected = None
                self.counts.dropped += len(self._queue) + len(self._latest)
                self._queue.clear()
                self._latest.clear()

    async def _send(self, connection: Connection, events: list[Event]) -> None:
        sent = 0
        try:
            for event in events:
                await send_signal(connection, event)
                sent += 1
        finally:
            self.counts.sent += sent
            self.counts.dropped += len(events) - sent

    def _take(self) -> list[Event]:
        with self._lock:
            events = [*self._queue, *self._latest.values()]
            self._queue.clear()
            self._latest.clear()
        return events
