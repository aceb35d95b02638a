"""Answers commands and queries: core NATS request/reply, one handler per name."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
from anyio.abc import TaskGroup
from nats.aio.msg import Msg

from daemon.bus.connection import NATS_TROUBLE, Connection, subscribed
from daemon.bus.paging import split_reply
from daemon.bus.roles import role_of_inbox
from daemon.errors import CommandRefused, ElcanoError
from daemon.messages.arguments import Arguments
from daemon.messages.commands import COMMANDS, QUERIES, Reply, decode_command, read_arguments
from daemon.messages.error_info import ErrorInfo
from daemon.messages.subjects import Subjects

logger = logging.getLogger(__name__)

Handler = Callable[[Any, str], Awaitable[Any]]
"""Takes the typed arguments of its name and who asked; returns data for the reply or raises ElcanoError."""

_AT_ONCE = 32
_LONG = frozenset({"sql", "audit"})
"""Queries that may work for minutes. They have a lane of their own, so that no number of them holds back the others."""
_LONG_AT_ONCE = 4
_LONG_WAITING = 32
_ENCODED_AT_ONCE = 2
"""Answers that are encoded beside each other: each is held in memory twice meanwhile."""


@dataclass
class ResponderCounts:
    """What was asked since the responder was made."""

    answered: int = 0
    refused: int = 0
    broken: int = 0


class _LongLane:
    """Lets a few long queries work at a time; some wait their turn, more are told to come back."""

    def __init__(self) -> None:
        self._turns = anyio.Semaphore(_LONG_AT_ONCE)

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Wait for one's turn. Raises CommandRefused when too many wait already."""
        if self._turns.statistics().tasks_waiting >= _LONG_WAITING:
            raise CommandRefused(
                f"{_LONG_WAITING} long queries wait already, {name} is one too many.", hint="Ask again in a minute."
            )
        async with self._turns:
            yield


class Responder:
    """Serves the handlers it was given; names come from daemon.messages.commands."""

    def __init__(self, subjects: Subjects, handlers: Mapping[str, Handler]) -> None:
        known = {**COMMANDS, **QUERIES}
        unknown = sorted(set(handlers) - set(known))
        if unknown:
            raise ValueError(f"no command or query is named {', '.join(unknown)}")
        self._subjects = subjects
        self._handlers = dict(handlers)
        self._arguments: Mapping[str, type[Arguments]] = known
        self._encoders = anyio.CapacityLimiter(_ENCODED_AT_ONCE)
        self.counts = ResponderCounts()

    async def serve(self, connection: Connection) -> None:
        """Answer over this connection until it is lost."""
        async with anyio.create_task_group() as answers:
            for subject in (self._subjects.all_commands, self._subjects.all_queries):
                answers.start_soon(self._listen, connection, subject, answers)

    async def _listen(self, connection: Connection, subject: str, answers: TaskGroup) -> None:
        limiter, long_lane = anyio.Semaphore(_AT_ONCE), _LongLane()
        async with subscribed(connection, subject) as requests:
            async for request in requests:
                kind, name = self._subjects.asked_name(request.subject) or ("", request.subject)
                if kind == "query" and name in _LONG:
                    answers.start_soon(self._answer_long, connection, request, name, long_lane)
                else:
                    await limiter.acquire()
                    answers.start_soon(self._answer, connection, request, kind, name, limiter)

    async def _answer(
        self, connection: Connection, request: Msg, kind: str, name: str, limiter: anyio.Semaphore
    ) -> None:
        try:
            # A command that has begun is finished even if the connection is lost: half of one helps nobody.
            with anyio.CancelScope(shield=kind == "cmd"):
                reply = await self._reply(kind, name, request)
            await self._send(connection, request, reply)
        finally:
            limiter.release()

    async def _answer_long(self, connection: Connection, request: Msg, name: str, lane: "_LongLane") -> None:
        try:
            async with lane.turn(name):
                reply = await self._reply("query", name, request)
        except CommandRefused as error:
            self.counts.refused += 1
            reply = Reply(ok=False, error=ErrorInfo.from_error(error))
        await self._send(connection, request, reply)

    async def _reply(self, kind: str, name: str, request: Msg) -> Reply:
        try:
            handler = self._handler(kind, name)
            command = decode_command(name, request.data)
            arguments = read_arguments(command, self._arguments[name])
            data = await handler(arguments, self._asker(command.asked_by, request.reply))
        except ElcanoError as error:
            self.counts.refused += 1
            logger.info("%s %s refused: %s", kind, name, error)
            return Reply(ok=False, error=ErrorInfo.from_error(error))
        except Exception as error:  # a defect in one handler must not end the daemon; it is told and logged in full
            self.counts.broken += 1
            logger.exception("%s %s failed", kind, name)
            return Reply(ok=False, error=_internal(name, error))
        self.counts.answered += 1
        return Reply(ok=True, data=data)

    async def _send(self, connection: Connection, request: Msg, reply: Reply) -> None:
        if not request.reply:
            return
        limit_bytes = connection.client.max_payload
        try:
            bodies = await self._split(reply, limit_bytes)
        except CommandRefused as error:
            bodies = await self._split(Reply(ok=False, error=ErrorInfo.from_error(error)), limit_bytes)
        except TypeError as error:
            self.counts.broken += 1
            logger.exception("the answer to %s cannot be sent", request.subject)
            bodies = await self._split(Reply(ok=False, error=_internal(request.subject, error)), limit_bytes)
        try:
            for body in bodies:
                await request.respond(body)
                await anyio.lowlevel.checkpoint()  # pages of a MiB each: others have their turn between them
        except NATS_TROUBLE as error:
            logger.warning("the answer to %s was not sent: %s", request.subject, error)

    async def _split(self, reply: Reply, limit_bytes: int) -> list[bytes]:
        return await anyio.to_thread.run_sync(
            split_reply, reply, limit_bytes, limiter=self._encoders, abandon_on_cancel=True
        )

    def _handler(self, kind: str, name: str) -> Handler:
        known = self._handlers.keys() & (COMMANDS if kind == "cmd" else QUERIES).keys()
        if name not in known:
            what = "command" if kind == "cmd" else "query"
            raise CommandRefused(f"There is no {what} {name!r}.", hint=f"Known: {', '.join(sorted(known)) or 'none'}.")
        return self._handlers[name]

    def _asker(self, claimed: str, reply_subject: str) -> str:
        """Say who asks: the name claimed and the role that the server let in, or that it is not known."""
        role = role_of_inbox(reply_subject, self._subjects)
        return f"{claimed or 'unnamed'} ({role.value if role else 'unverified'})"


def _internal(name: str, error: Exception) -> ErrorInfo:
    return ErrorInfo(
        kind="internal",
        message=f"The daemon failed at {name}: {type(error).__name__}: {error}.",
        hint="Its log has the details; please report it.",
    )
