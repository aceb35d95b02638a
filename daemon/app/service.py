"""A daemon as a service: it says when it is ready, how it is and that it lives, and listens to signals.

SIGTERM and SIGINT end it, SIGHUP lets it read its configuration again. The watchdog is pinged by the event
loop, and only while the daemon finds nothing dead in itself: a loop that is stuck cannot ping, and a daemon
whose threads have ended, or whose work stands still for hours, does not.
"""

import signal
from typing import Protocol

import anyio
import anyio.abc
import structlog

from daemon.app.service_manager import ServiceManager

log = structlog.get_logger(__name__)

_STATUS_EVERY_S = 5.0
_PINGS_PER_WATCHDOG = 3


class Served(Protocol):
    """What a service runs."""

    async def run(self) -> None:
        """Serve until cancelled, or until done."""
        ...

    async def wait_serving(self) -> None:
        """Return when everything that was asked for at the start is there."""
        ...

    async def reload(self, asked_by: str) -> None:
        """Read the configuration again; whatever is wrong with it is told, never raised."""
        ...

    def summary(self) -> str:
        """Return how things are, in one line."""
        ...

    def dead_part(self) -> str | None:
        """Name what has ended that should never end, None while all is alive."""
        ...


class Service:
    """Runs a daemon under a service manager, or under none."""

    def __init__(
        self,
        daemon: Served,
        manager: ServiceManager,
        *,
        status_every_s: float = _STATUS_EVERY_S,
    ) -> None:
        self._daemon = daemon
        self._manager = manager
        self._status_every_s = status_every_s
        self._said = ""

    async def run(self) -> None:
        """Run the daemon until it is done or a signal ends it."""
        async with anyio.create_task_group() as group:
            await group.start(self._stop_on_signal, group.cancel_scope)
            await group.start(self._reload_on_signal)
            group.start_soon(self._tell)
            if self._manager.watchdog_s is not None:
                group.start_soon(self._ping, self._manager.watchdog_s / _PINGS_PER_WATCHDOG)
            await self._daemon.run()
            self._manager.stopping()
            group.cancel_scope.cancel()

    async def _stop_on_signal(
        self, scope: anyio.CancelScope, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for number in signals:
                log.info("stopping", signal=number.name)
                self._manager.stopping()
                scope.cancel()
                return

    async def _reload_on_signal(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        with anyio.open_signal_receiver(signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                # A daemon that does not serve yet is not ready either: the manager must not be told so.
                await self._daemon.wait_serving()
                self._manager.reloading()
                await self._daemon.reload(number.name)
                self._say_ready()

    async def _tell(self) -> None:
        await self._daemon.wait_serving()
        log.info("ready", summary=self._daemon.summary())
        self._say_ready()
        while self._manager.is_there:
            await anyio.sleep(self._status_every_s)
            status = self._daemon.summary()
            if status != self._said:
                self._said = status
                self._manager.status(status)

    def _say_ready(self) -> None:
        self._said = self._daemon.summary()
        self._manager.ready(self._said)

    async def _ping(self, every_s: float) -> None:
        is_told = False
        while True:
            dead = self._daemon.dead_part()
            if dead is None:
                self._manager.ping()
            elif not is_told:
                is_told = True
                log.error("no sign of life is given any more", ended=dead, hint="The service manager restarts us.")
            await anyio.sleep(every_s)
