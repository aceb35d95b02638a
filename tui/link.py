"""The way to the daemon: what the bus tells becomes news for the model, in batches; what screens ask is answered.

The bus is imported when the link runs, which is after the first paint. Durable facts come over lost connections
without a gap and without repeats (the bus sees to that); everything that was asked for is asked again after each new
connection (`LinkState.connections`), so a state never rests on an event that may have been missed.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from textual.message import Message

from daemon.errors import BusUnavailable, CommandRefused, DaemonNotRunning, ElcanoError, MessageInvalid
from daemon.messages.news import NotificationsAnswer
from tui.core.link_state import LinkPhase, LinkState
from tui.core.model import News, Queues

if TYPE_CHECKING:
    from daemon.bus.client import BusClient
    from daemon.bus.settings import BusSettings

FLUSH_S = 0.2
_RETRY_S = 1.0
_QUEUES_EVERY_S = 2.0
_NOTIFICATIONS_EVERY_S = 10.0
"""Of what concerns no session no event tells."""
_LATEST = 50
_SILENCE_S = 45.0
"""The daemon gives a sign of life every 15 s."""

Deliver = Callable[[Sequence[News]], None]


class NewsCame(Message):
    """A batch of news, at most five a second."""

    def __init__(self, news: Sequence[News]) -> None:
        super().__init__()
        self.news = news


class Link(Protocol):
    """What the app needs of a way to the daemon; tests have one without a bus."""

    async def run(self, deliver: Deliver) -> None:
        """Connect, and deliver news until cancelled, over every trouble."""
        ...

    async def ask(self, name: str, arguments: Mapping[str, Any] | None = None, *, timeout_s: float = 30.0) -> Any:
        """Ask a query or command and return its data. Raises CommandRefused, DaemonNotRunning, BusUnavailable."""
        ...


class LateLink:
    """The link to a daemon that has yet to be found: by what is asked for once something is painted."""

    def __init__(self, find: Callable[[], Link]) -> None:
        """`find` may read and import what it wants, on a thread of its own; what it raises, `run` raises."""
        self._find = find
        self._link: Link | None = None

    async def run(self, deliver: Deliver) -> None:
        """Find the daemon, then be its link."""
        self._link = await asyncio.to_thread(self._find)
        await self._link.run(deliver)

    async def ask(self, name: str, arguments: Mapping[str, Any] | None = None, *, timeout_s: float = 30.0) -> Any:
        """Ask a query or command and return its data. Raises CommandRefused, DaemonNotRunning, BusUnavailable."""
        if self._link is None:
            raise BusUnavailable("There is no connection to the daemon yet.")
        return await self._link.ask(name, arguments, timeout_s=timeout_s)


class BusLink:
    """The link over NATS."""

    def __init__(self, settings: "BusSettings", *, config: str = "", clock_s: Callable[[], float] = time.time) -> None:
        """`config`: the file of the configuration, which is told to whoever has to start the daemon."""
        self._settings = settings
        self._clock_s = clock_s
        self._client: BusClient | None = None
        self._state = LinkState(where=settings.url or str(settings.state_directory), config=config)
        self._pending: list[News] = []
        self._heard_s = 0.0
        self._made = 0

    async def run(self, deliver: Deliver) -> None:
        """Connect, and deliver news until cancelled, over every trouble."""
        flusher = asyncio.create_task(self._flush(deliver))
        try:
            while True:
                await self._run_once()
                await asyncio.sleep(_RETRY_S)
        finally:
            flusher.cancel()

    async def ask(self, name: str, arguments: Mapping[str, Any] | None = None, *, timeout_s: float = 30.0) -> Any:
        """Ask a query or command and return its data. Raises CommandRefused, DaemonNotRunning, BusUnavailable."""
        if self._client is None:
            raise BusUnavailable(
                self._state.message or "There is no connection to the daemon yet.", hint=self._state.hint
            )
        reply = await self._client.request(name, arguments, timeout_s=timeout_s)
        if not reply.ok:
            assert reply.error is not None
            raise CommandRefused(reply.error.message, hint=reply.error.hint)
        return reply.data

    async def _run_once(self) -> None:
        """Connect and follow until that is beyond repair by the bus itself; say what is the matter."""
        from daemon.bus.client import BusClient  # noqa: PLC0415 - 0.25 s, and the first paint comes before it

        try:
            async with BusClient(self._settings) as client:
                self._client = client
                await self._follow(client)
        except DaemonNotRunning as error:
            self._say(LinkPhase.NOT_RUNNING, error)
        except BusUnavailable as error:
            self._say(LinkPhase.REFUSED, error)
        finally:
            self._client = None

    async def _follow(self, client: "BusClient") -> None:
        import anyio  # noqa: PLC0415

        from daemon.messages.subjects import ANY  # noqa: PLC0415

        subjects = self._settings.subjects
        # Its scope cancels again and again: a single Task.cancel can be lost inside nats-py, and no one could quit.
        async with anyio.create_task_group() as group:
            group.start_soon(self._follow_jobs, client)
            group.start_soon(self._follow_events, client, subjects.step(ANY, ANY))
            group.start_soon(self._follow_events, client, subjects.session_all())
            group.start_soon(self._follow_events, client, subjects.log(ANY, ANY))
            group.start_soon(self._follow_events, client, subjects.node_heartbeat(ANY))
            group.start_soon(self._follow_events, client, subjects.stage_heartbeat(ANY, ANY))
            group.start_soon(self._follow_connection, client)
            group.start_soon(self._follow_queues, client)
            group.start_soon(self._follow_notifications, client)

    async def _follow_jobs(self, client: "BusClient") -> None:
        async for summary in client.job_summaries():
            self._pending.append(summary)

    async def _follow_events(self, client: "BusClient", subject: str) -> None:
        from daemon.messages.catalogue import read_data  # noqa: PLC0415

        async for event in client.events(subject):
            try:
                data = read_data(event.envelope)
            except MessageInvalid:
                continue  # another program's event under the same prefix; Elcano's own are all known
            self._heard_s = self._clock_s()
            self._pending.append(data)

    async def _follow_connection(self, client: "BusClient") -> None:
        """Say when the connection is made and lost; NATS may stay while the daemon is gone, and the other way round."""
        while True:
            connection = client.link.connection
            if connection is None:
                # A cause is known once it has been tried again; that it is lost, the phase says.
                problem = client.link.problem or ""
                cause = problem if problem.endswith(".") else ""
                self._note(replace(self._state, phase=LinkPhase.LOST, message=cause, hint=self._state.how_to_start()))
            elif (
                self._made != client.link.connections_made
                or not self._state.is_connected
                or self._clock_s() - self._heard_s > _SILENCE_S
            ):
                await self._greet(client, "viewer" if self._settings.looks_only else connection.target.role)
            changed = asyncio.create_task(client.link.wait_change())
            await asyncio.wait([changed], timeout=_RETRY_S)
            changed.cancel()

    async def _greet(self, client: "BusClient", role: str | None) -> None:
        """Ask for a sign of life; it makes the connection good, its absence is told."""
        made = client.link.connections_made
        try:
            data = await self.ask("queues", timeout_s=10.0)
        except (DaemonNotRunning, BusUnavailable) as error:
            if client.link.connected:
                self._say(LinkPhase.LOST if self._state.was_connected else LinkPhase.NOT_RUNNING, error)
            return
        except CommandRefused as error:
            self._say(LinkPhase.REFUSED, error)
            return
        is_new = self._made != made or not self._state.is_connected
        self._made, self._heard_s = made, self._clock_s()
        self._pending.append(Queues(data))
        connections = self._state.connections + is_new
        connected = LinkState(
            LinkPhase.CONNECTED,
            where=self._state.where,
            config=self._state.config,
            role=role or "",
            connections=connections,
            was_connected=True,
        )
        self._note(connected)
        # How many nobody has read stands on every screen; why there is no answer, the screen that shows them says.
        with contextlib.suppress(ElcanoError):
            told = await self.ask("notifications", timeout_s=10.0)
            self._pending.append(msgspec.convert(told, NotificationsAnswer))

    async def _follow_queues(self, client: "BusClient") -> None:
        while True:
            await asyncio.sleep(_QUEUES_EVERY_S)
            if self._state.is_connected and client.link.connected:
                try:
                    self._pending.append(Queues(await self.ask("queues", timeout_s=10.0)))
                except ElcanoError:
                    self._heard_s = 0.0  # the other follower finds out what is the matter, and says so

    async def _follow_notifications(self, client: "BusClient") -> None:
        while True:
            await asyncio.sleep(_NOTIFICATIONS_EVERY_S)
            if self._state.is_connected and client.link.connected:
                # Why there is no answer, the follower of the queues finds out and says.
                with contextlib.suppress(ElcanoError):
                    told = await self.ask("notifications", {"limit": _LATEST}, timeout_s=10.0)
                    self._pending.append(msgspec.convert(told, NotificationsAnswer))

    def _say(self, phase: LinkPhase, error: ElcanoError) -> None:
        self._note(replace(self._state, phase=phase, message=error.message, hint=error.hint))

    def _note(self, state: LinkState) -> None:
        same = replace(state, since_s=self._state.since_s)
        if same != self._state:
            # A connection that is lost stays so since then, whatever is found out about it meanwhile.
            is_new = state.phase is not self._state.phase and not (state.is_cut and self._state.is_cut)
            self._state = replace(state, since_s=self._clock_s() if is_new else self._state.since_s)
            self._pending.append(self._state)

    async def _flush(self, deliver: Deliver) -> None:
        """Hand over what has come, at most five times a second."""
        self._pending.append(self._state)
        while True:
            if self._pending:
                news, self._pending = self._pending, []
                deliver(news)
            await asyncio.sleep(FLUSH_S)
