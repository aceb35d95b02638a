"""A connection that is made again whenever it is lost, and the services that run while there is one."""

import logging
from collections.abc import Awaitable, Callable

import anyio

from daemon.bus.connection import NATS_TROUBLE, Connection, Target
from daemon.errors import BusUnavailable, DaemonNotRunning

logger = logging.getLogger(__name__)

Service = Callable[[Connection], Awaitable[None]]
"""Runs over one connection; it is cancelled when that is lost and started again over the next."""

_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 5.0


class Link:
    """Keeps one connection alive, forever; asks each time anew where NATS is."""

    def __init__(
        self, find_target: Callable[[], Target], *, name: str, longest_wait_s: float = _LONGEST_WAIT_S
    ) -> None:
        self._find_target = find_target
        self._name = name
        self._longest_wait_s = longest_wait_s
        self._services: list[Service] = []
        self._changed = anyio.Event()
        self.connection: Connection | None = None
        self.problem: str | None = "not connected yet"
        self.connections_made = 0
        self.tried = anyio.Event()
        """Set once it is known whether NATS is there."""

    def add(self, service: Service) -> None:
        """Run `service` over every connection from now on; call before `run`."""
        self._services.append(service)

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self.connection is not None

    async def wait_change(self) -> None:
        """Return when a connection was made or lost."""
        await self._changed.wait()

    async def wait_connected(self) -> Connection:
        """Return the connection, waiting for one if need be."""
        while self.connection is None:
            await self._changed.wait()
        return self.connection

    async def connect(self) -> None:
        """Connect now, trying once; `run` goes on with what this made. Raises BusUnavailable, DaemonNotRunning."""
        self._set(await Connection.open(self._find_target(), name=self._name))

    async def run(self) -> None:
        """Connect, serve, connect again, until cancelled."""
        while True:
            connection = self.connection or await self._connect_patiently()
            try:
                await self._serve(connection)
            finally:
                self._set(None)
                await connection.close()

    async def _connect_patiently(self) -> Connection:
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                await self.connect()
            except (BusUnavailable, DaemonNotRunning) as error:
                self._tell_problem(error)
                await anyio.sleep(wait_s)
                wait_s = min(2 * wait_s, self._longest_wait_s)
            else:
                assert self.connection is not None
                return self.connection

    async def _serve(self, connection: Connection) -> None:
        async with anyio.create_task_group() as services:
            for service in self._services:
                services.start_soon(self._serve_one, service, connection)
            await connection.lost.wait()
            logger.warning("lost the connection to NATS at %s; connecting again", connection.target.shown)
            services.cancel_scope.cancel()

    async def _serve_one(self, service: Service, connection: Connection) -> None:
        wait_s = _FIRST_WAIT_S
        told: str | None = None
        while not connection.lost.is_set():
            try:
                await service(connection)
            except (*NATS_TROUBLE, BusUnavailable) as error:
                words = str(error) or type(error).__name__
                if words != told and not connection.lost.is_set():
                    logger.warning("NATS at %s: %s; trying again", connection.target.shown, words)
                    told = words
                with anyio.move_on_after(wait_s):
                    await connection.lost.wait()
                wait_s = min(2 * wait_s, self._longest_wait_s)
            else:
                return

    def _set(self, connection: Connection | None) -> None:
        self.connection = connection
        if connection is not None:
            self.connections_made += 1
            self.problem = None
            self.tried.set()
            logger.info("connected to NATS at %s", connection.target.shown)
        else:
            self.problem = "connection lost"
        self._changed.set()
        self._changed = anyio.Event()

    def _tell_problem(self, error: BusUnavailable | DaemonNotRunning) -> None:
        if str(error) != self.problem:
            logger.warning("%s Trying again until it works.", error)
        self.problem = str(error)
        self.tried.set()
