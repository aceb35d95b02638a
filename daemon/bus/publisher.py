"""Publishes what the store's outbox holds, in order, until the server has it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import anyio
from nats.errors import BadSubjectError, MaxPayloadError
from nats.js import JetStreamContext
from nats.js.errors import APIError

from daemon.bus.connection import Connection
from daemon.bus.streams import ensure_streams
from daemon.messages.subjects import Subjects

logger = logging.getLogger(__name__)

_MESSAGE_TOO_LARGE = 10054
"""JetStream's code for a message beyond the stream's or the server's limit."""


class OutboxRow(Protocol):
    """One event that is stored and not yet published."""

    @property
    def seq(self) -> int:
        """Its place in the order."""
        ...

    @property
    def event_id(self) -> str:
        """Its id, which also is the `Nats-Msg-Id`."""
        ...

    @property
    def subject(self) -> str:
        """Where it is published."""
        ...

    @property
    def body(self) -> bytes:
        """The whole envelope."""
        ...


class OutboxSource(Protocol):
    """The part of the store that the publisher needs."""

    async def unpublished(self, limit: int) -> Sequence[OutboxRow]:
        """Return the oldest rows not marked yet, in order."""
        ...

    async def mark_published(self, seqs: Sequence[int]) -> None:
        """Remember that the server has these."""
        ...


@dataclass
class PublisherCounts:
    """What the publisher did since it was made."""

    published: int = 0
    repeats: int = 0
    refused: int = 0


class OutboxPublisher:
    """Takes rows in order, publishes each with its id, and marks it once JetStream has acknowledged it.

    One row at a time: a later event is never in the stream before an earlier one, whatever fails in
    between (thousands a second all the same). What was acknowledged but not marked is published again with the
    same id, which the server drops within its window and consumers drop for good.
    """

    def __init__(
        self,
        source: OutboxSource,
        subjects: Subjects,
        *,
        max_store_bytes: int = 2**30,
        batch: int = 100,
        idle_poll_s: float = 5.0,
        acknowledge_timeout_s: float = 2.0,
    ) -> None:
        self._source = source
        self._subjects = subjects
        self._max_store_bytes = max_store_bytes
        self._batch = batch
        self._idle_poll_s = idle_poll_s
        self._acknowledge_timeout_s = acknowledge_timeout_s
        self._wake = anyio.Event()
        self._drained = anyio.Event()
        self.counts = PublisherCounts()

    def wake(self) -> None:
        """Say that the outbox has grown; from the thread of the event loop."""
        if self._drained.is_set():
            self._drained = anyio.Event()
        self._wake.set()

    async def wait_drained(self) -> None:
        """Return once the outbox was found empty after the last `wake`; bound it with a time limit."""
        await self._drained.wait()

    async def serve(self, connection: Connection) -> None:
        """Publish over this connection until it is lost."""
        js = connection.client.jetstream(timeout=self._acknowledge_timeout_s)
        await ensure_streams(js, self._subjects, self._max_store_bytes)
        while True:
            # A commit during the read below sets this event, so that no wake-up is missed.
            self._wake = anyio.Event()
            rows = await self._source.unpublished(self._batch)
            if rows:
                await self._publish_all(js, rows)
                continue
            if not self._wake.is_set():
                self._drained.set()
            with anyio.move_on_after(self._idle_poll_s):
                await self._wake.wait()

    async def _publish_all(self, js: JetStreamContext, rows: Sequence[OutboxRow]) -> None:
        done: list[int] = []
        try:
            for row in rows:
                await self._publish(js, row)
                done.append(row.seq)
        finally:
            if done:
                # Marked even when the connection is lost or the daemon stops: fewer repeats.
                with anyio.CancelScope(shield=True):
                    await self._source.mark_published(done)

    async def _publish(self, js: JetStreamContext, row: OutboxRow) -> None:
        try:
            acknowledgement = await js.publish(row.subject, row.body, headers={"Nats-Msg-Id": row.event_id})
        except (MaxPayloadError, BadSubjectError) as error:
            self._refuse(row, error)
        except APIError as error:
            if error.err_code != _MESSAGE_TOO_LARGE:
                raise
            self._refuse(row, error)
        else:
            self.counts.published += 1
            self.counts.repeats += bool(acknowledgement.duplicate)

    def _refuse(self, row: OutboxRow, error: Exception) -> None:
        """Leave out a row that no server will ever take: it must not hold up all that follow."""
        self.counts.refused += 1
        logger.error(
            "event %s (number %d, %d bytes on %s) can never be published: %r; its state stays in the store",
            row.event_id,
            row.seq,
            len(row.body),
            row.subject,
            error,
        )
