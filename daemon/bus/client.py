"""The bus as the command line and the terminal use it: ask, follow events, reconnect."""

import asyncio
import getpass
import logging
import socket
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream
from nats.aio.msg import Msg

from daemon.bus.connection import NATS_TROUBLE, Connection, subscribed
from daemon.bus.connection_file import find_target
from daemon.bus.follow import Start, follow
from daemon.bus.link import Link
from daemon.bus.paging import join_replies
from daemon.bus.settings import BusSettings
from daemon.errors import BusUnavailable, CommandRefused, DaemonNotRunning, MessageInvalid
from daemon.messages.arguments import Arguments
from daemon.messages.commands import COMMANDS, QUERIES, Command, Reply, decode_reply, encode_command
from daemon.messages.envelope import Event, decode_envelope
from daemon.messages.event_data import JobSummary

logger = logging.getLogger(__name__)

_REMEMBERED_IDS = 10_000
_NO_RESPONDERS = "503"
_BUSY_HINT = "The daemon is there but busy: look at its log, or ask again later."


class BusClient:
    """One terminal's or command's way to the daemon: `async with BusClient(settings) as bus: …`.

    Entering connects once and raises DaemonNotRunning or BusUnavailable; afterwards a lost connection is
    made again by itself, also to a daemon that has restarted elsewhere.
    """

    def __init__(self, settings: BusSettings, *, name: str = "elcano", asked_by: str | None = None) -> None:
        self._settings = settings
        self._subjects = settings.subjects
        self._asked_by = asked_by or f"{getpass.getuser()}@{socket.gethostname()}"
        self.link = Link(lambda: find_target(settings), name=name)
        self._running: asyncio.Task[None] | None = None
        self._scope = anyio.CancelScope()

    async def __aenter__(self) -> Self:
        try:
            await self.link.connect()
        except BusUnavailable as error:
            if self._settings.url is None and isinstance(error.__cause__, ConnectionRefusedError):
                raise DaemonNotRunning(str(self._settings.state_directory)) from error
            raise
        # Not a task group: it would wrap every error raised inside the caller's `async with` in a group.
        self._running = asyncio.get_running_loop().create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._running is not None
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([self._running])
        self._running.result()  # raises what a defect in the link raised

    async def request(
        self, name: str, arguments: Arguments | Mapping[str, Any] | None = None, *, timeout_s: float = 30.0
    ) -> Reply:
        """Ask the daemon a command or query by name and return its whole answer, all pages joined.

        Raises DaemonNotRunning when nobody serves it, CommandRefused when the server does not let this
        user ask, BusUnavailable when no answer comes in time; what the daemon refuses is in the reply.
        """
        if name not in COMMANDS and name not in QUERIES:
            raise CommandRefused(f"There is no command or query {name!r}.")
        if name in COMMANDS and self._settings.looks_only:
            raise CommandRefused(f"Who looks only cannot ask {name}.", hint="Open a terminal without --look.")
        subject = self._subjects.command(name) if name in COMMANDS else self._subjects.query(name)
        command = Command(
            name=name, arguments=msgspec.to_builtins(arguments or {}, enc_hook=str), asked_by=self._asked_by
        )
        with anyio.move_on_after(timeout_s):
            connection = await self.link.wait_connected()
            try:
                return await self._ask(connection, subject, encode_command(command))
            except NATS_TROUBLE as error:
                raise self._lost(name) from error
        raise BusUnavailable(
            f"The daemon did not answer {name} within {timeout_s:g} s.",
            hint=_BUSY_HINT if name == "status" else "It may still be working on it: look at `elcano status`.",
        )

    async def events(self, subject: str, *, start: Start = "new") -> AsyncIterator[Event]:
        """Yield the events on a subject (see Subjects), each id once.

        Where a stream keeps the subject, from `start` on and without a gap over lost connections; elsewhere
        (logs, heartbeats, patterns across streams) what is published while connected, and `start` must be "new".
        Raises ValueError for another start there.
        """
        stream = self._subjects.stream_of(subject)
        if stream is None and start != "new":
            raise ValueError(f"no stream keeps {subject}: its past cannot be read")
        known: OrderedDict[str, None] = OrderedDict()
        bodies = self._live(subject) if stream is None else self._kept(stream, subject, start)
        async for body in bodies:
            try:
                envelope = decode_envelope(body)
            except MessageInvalid as error:
                logger.warning("left out a message on %s: %s", subject, error)
                continue
            if envelope.id in known:
                continue
            known[envelope.id] = None
            if len(known) > _REMEMBERED_IDS:
                known.popitem(last=False)
            yield Event(envelope.subject, envelope)

    async def job_summaries(self) -> AsyncIterator[JobSummary]:
        """Yield the latest summary of every job, then each change, over lost connections too."""
        async for delivery in follow(
            self.link, self._subjects.job_bucket_stream, self._subjects.job_bucket_keys, start="latest"
        ):
            if delivery.body:  # an empty one marks a deleted key
                yield msgspec.json.decode(delivery.body, type=JobSummary)

    async def _run(self) -> None:
        # A scope cancels again and again; a single Task.cancel can be lost inside nats-py or asyncio.wait_for.
        with self._scope:
            await self.link.run()

    async def _kept(self, stream: str, subject: str, start: Start) -> AsyncIterator[bytes]:
        async for delivery in follow(self.link, stream, subject, start=start):
            yield delivery.body

    async def _live(self, subject: str) -> AsyncIterator[bytes]:
        while True:
            connection = await self.link.wait_connected()
            try:
                async with subscribed(connection, subject) as messages:
                    async for message in messages:
                        yield message.data
            except NATS_TROUBLE as error:
                logger.debug("listening to %s: %r", subject, error)
            await connection.lost.wait()

    async def _ask(self, connection: Connection, subject: str, body: bytes) -> Reply:
        denied: list[str] = []
        pages: list[Reply] = []
        inbox = connection.client.new_inbox()
        with anyio.CancelScope() as scope:

            def deny(words: str) -> None:
                if f'"{subject.lower()}"' in words.lower():  # nats-py makes the server's words lower-case
                    denied.append(words)
                    scope.cancel()

            forget = connection.on_denied(deny)
            try:
                async with subscribed(connection, inbox) as replies:
                    await connection.client.publish(subject, body, reply=inbox)
                    pages = await self._collect(connection, replies)
            finally:
                forget()
        if denied:
            role = f" as {connection.target.role}" if connection.target.role else ""
            raise CommandRefused(
                f"NATS does not let you{role} ask {subject}.", hint="Ask someone with the operator's credentials."
            )
        return join_replies(pages)

    async def _collect(self, connection: Connection, replies: MemoryObjectReceiveStream[Msg]) -> list[Reply]:
        pages: list[Reply] = []
        async for message in replies:
            if (message.headers or {}).get("Status") == _NO_RESPONDERS:
                raise DaemonNotRunning(connection.target.shown)
            reply = decode_reply(message.data)
            pages.append(reply)
            if reply.page is None or len(pages) == reply.page.of:
                return pages
        raise self._lost("the request")

    def _lost(self, what: str) -> BusUnavailable:
        return BusUnavailable(
            f"The connection to NATS was lost before {what} was answered.",
            hint="A command may have been carried out all the same: look at `elcano status`.",
        )
