"""The daemon's side of the bus, put together: server, link, and all that runs over it."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio

from daemon.bus.connection import Target
from daemon.bus.connection_file import find_target
from daemon.bus.embedded import EmbeddedServer
from daemon.bus.heartbeat import Beat, Heartbeat
from daemon.bus.hints import Hints
from daemon.bus.link import Link
from daemon.bus.publisher import OutboxPublisher, OutboxSource
from daemon.bus.responder import Handler, Responder
from daemon.bus.settings import BusSettings
from daemon.bus.signals import SignalChannel
from daemon.bus.summaries import JobSummaries
from daemon.errors import BusUnavailable, FileNotWritten

logger = logging.getLogger(__name__)

_SERVER_RETRY_S = 30.0


@dataclass(frozen=True)
class BusStatus:
    """How the bus is, for `elcano status` and the node's heartbeat."""

    connected: bool
    url: str
    problem: str | None
    connections_made: int
    server_starts: int
    published: int
    repeats: int
    refused: int
    signals_sent: int
    signals_dropped: int
    answered: int


class Bus:
    """Everything a daemon needs of NATS; processing goes on without it."""

    def __init__(
        self,
        settings: BusSettings,
        *,
        outbox: OutboxSource,
        handlers: Mapping[str, Handler],
        look: Callable[[], Awaitable[Beat]],
        signals: SignalChannel | None = None,
        on_hint: Callable[[Path], None] | None = None,
    ) -> None:
        subjects = settings.subjects
        self._settings = settings
        self._server = EmbeddedServer(settings) if settings.url is None else None
        self._server_problem: str | None = None
        self.subjects = subjects
        self.publisher = OutboxPublisher(outbox, subjects, max_store_bytes=settings.max_store_bytes)
        self.signals = signals or SignalChannel()
        self.summaries = JobSummaries(subjects, max_store_bytes=settings.max_store_bytes)
        self.responder = Responder(subjects, handlers)
        self.link = Link(self._target, name=f"elcano daemon {settings.instance}")
        for service in (
            self.publisher.serve,
            self.signals.serve,
            self.summaries.serve,
            self.responder.serve,
            Heartbeat(subjects, look).serve,
        ):
            self.link.add(service)
        if on_hint is not None:
            self.link.add(Hints(subjects, on_hint).serve)

    async def run(self) -> None:
        """Serve until cancelled. NATS being away is logged and waited for, never raised."""
        async with anyio.create_task_group() as parts:
            if self._server is not None:
                parts.start_soon(self._keep_server, self._server)
                await self._server.started.wait()
            parts.start_soon(self.link.run)

    async def wait_known(self) -> None:
        """Return when NATS is there, or is known not to be."""
        await self.link.tried.wait()

    def status(self) -> BusStatus:
        """Return figures for people."""
        connection = self.link.connection
        return BusStatus(
            connected=connection is not None,
            url=connection.target.shown if connection else (self._settings.url or "embedded"),
            problem=None if connection else (self._server_problem or self.link.problem),
            connections_made=self.link.connections_made,
            server_starts=self._server.starts if self._server else 0,
            published=self.publisher.counts.published,
            repeats=self.publisher.counts.repeats,
            refused=self.publisher.counts.refused,
            signals_sent=self.signals.counts.sent,
            signals_dropped=self.signals.counts.dropped,
            answered=self.responder.counts.answered,
        )

    def _target(self) -> Target:
        return find_target(self._settings) if self._server is None else self._server.target()

    async def _keep_server(self, server: EmbeddedServer) -> None:
        while True:
            try:
                await server.run()
            except (BusUnavailable, FileNotWritten) as error:
                self._server_problem = str(error)
                self.link.tried.set()
                logger.error("%s Trying again in %.0f s; processing goes on.", error, _SERVER_RETRY_S)  # noqa: TRY400
            await anyio.sleep(_SERVER_RETRY_S)
