"""Reads a stream from a place in it and goes on as it grows, over lost connections and restarted servers."""

import logging
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream
from nats.aio.msg import Msg
from nats.js import api
from nats.js.errors import NotFoundError

from daemon.bus.connection import NATS_TROUBLE, Connection, subscribed
from daemon.bus.link import Link

logger = logging.getLogger(__name__)

_IDLE_HEARTBEAT_S = 5.0
_RETRY_S = 0.2

Start = int | Literal["first", "new", "latest"]
"""From a sequence number; from the oldest kept; from now on; or the latest of each subject and then from now on."""


@dataclass(frozen=True)
class Delivery:
    """One message of a stream; `pending` is how many that are there already come after it."""

    sequence: int
    subject: str
    body: bytes
    pending: int


async def follow(link: Link, stream: str, subject: str, *, start: Start = "first") -> AsyncIterator[Delivery]:
    """Yield the messages of a stream on `subject`, in order, forever.

    After any trouble it goes on behind the last message it yielded: nothing is lost that the stream still
    holds, nothing comes twice. Waits for the stream to be made. "new" counts from the first connection on.
    """
    place: Start = start
    while True:
        connection = await link.wait_connected()
        try:
            inbox = connection.client.new_inbox()
            async with subscribed(connection, inbox) as messages:
                place = await _find_place(connection, stream, place)
                await _make_consumer(connection, stream, subject, inbox, place)
                received = 0
                while (message := await _next(messages)) is not None:
                    delivery, number = _read(message)
                    received += 1
                    if number != received:
                        logger.debug("%s: message %d of the consumer came as number %d", stream, number, received)
                        break
                    place = delivery.sequence + 1
                    yield delivery
        except NotFoundError:
            logger.debug("stream %s does not exist yet", stream)
            place = "first" if place == "new" else place  # all that it will hold is new
        except NATS_TROUBLE as error:
            logger.debug("following %s: %r", stream, error)
        await anyio.sleep(_RETRY_S)


async def _find_place(connection: Connection, stream: str, place: Start) -> Start:
    """Return where to begin in the stream as it is now."""
    last = (await connection.client.jetstream().stream_info(stream)).state.last_seq
    if place == "new":
        return last + 1
    if isinstance(place, int) and place > last + 1:
        logger.warning("stream %s was made anew; reading it from its beginning", stream)
        return "first"
    return place


async def _make_consumer(connection: Connection, stream: str, subject: str, inbox: str, place: Start) -> None:
    """Make a consumer that pushes to `inbox`; the server removes it when nobody listens."""
    policy = {"first": api.DeliverPolicy.ALL, "latest": api.DeliverPolicy.LAST_PER_SUBJECT}
    await connection.client.jetstream().add_consumer(
        stream,
        api.ConsumerConfig(
            name=f"elcano-{secrets.token_hex(8)}",
            deliver_subject=inbox,
            deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE if isinstance(place, int) else policy[place],
            opt_start_seq=max(1, place) if isinstance(place, int) else None,
            filter_subject=subject,
            ack_policy=api.AckPolicy.NONE,
            idle_heartbeat=_IDLE_HEARTBEAT_S,
            mem_storage=True,
        ),
    )


async def _next(messages: MemoryObjectReceiveStream[Msg]) -> Msg | None:
    """Return the next message; None when the connection was lost or not even heartbeats come any more."""
    while True:
        message: Msg | None = None
        with anyio.move_on_after(3 * _IDLE_HEARTBEAT_S):
            try:
                message = await messages.receive()
            except anyio.EndOfStream:
                return None
        if message is None or "Status" not in (message.headers or {}):
            return message


def _read(message: Msg) -> tuple[Delivery, int]:
    """Return the message and its number in the consumer, which grows by one unless one was dropped on the way."""
    place = message.metadata
    return Delivery(place.sequence.stream, message.subject, message.data, place.num_pending), place.sequence.consumer
