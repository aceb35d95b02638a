"""What holds the whole daemon up, said once where people look: the log, the notifications, the status page."""

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from daemon.domain.identity import stable_id
from daemon.store.changes import Change, PutNotification

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Trouble:
    """What is wrong, and what to do about it."""

    message: str
    hint: str


async def _keep_nothing(_: Change) -> None:
    return


class Troubles:
    """The troubles that last now, by kind."""

    def __init__(self, commit: Callable[[Change], Awaitable[None]] = _keep_nothing) -> None:
        """`commit` makes a notification durable."""
        self._commit = commit
        self._lasting: dict[str, Trouble] = {}

    def lasting(self) -> list[Trouble]:
        """Return what is wrong now."""
        return list(self._lasting.values())

    async def begin(self, kind: str, message: str, hint: str) -> None:
        """Something goes wrong; while it lasts it is not told again."""
        if kind in self._lasting:
            return
        self._lasting[kind] = Trouble(message, hint)
        log.error(message, kind=kind, hint=hint)
        await self._commit(PutNotification(_notification(kind), "error", kind, message, hint))

    async def end(self, kind: str, message: str) -> None:
        """It is well again; harmless when nothing was wrong."""
        if self._lasting.pop(kind, None) is not None:
            log.info(message, kind=kind)
            await self._commit(PutNotification(_notification(kind), "info", kind, message))


def _notification(kind: str) -> str:
    return stable_id("trouble", socket.gethostname(), kind)
