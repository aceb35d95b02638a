"""What holds the whole daemon up, said once where people look: the log, the notifications, the status page."""

import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from daemon.domain.identity import stable_id
from daemon.domain.names import readable_path
from daemon.messages.envelope import utc
from daemon.sessions.troubles import KIND, PlaceTrouble
from daemon.store.changes import Change, PutNotification

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Trouble:
    """What is wrong, since when, and what to do about it; `path` is empty where no place is concerned."""

    kind: str
    message: str
    hint: str
    since_s: float
    path: str = ""

    def told(self) -> dict[str, str]:
        """Return it as an answer has it."""
        since = utc(self.since_s).isoformat(timespec="seconds")
        return {"kind": self.kind, "path": self.path, "since": since, "text": self.message, "hint": self.hint}


async def _keep_nothing(_: Change) -> None:
    return


class Troubles:
    """The troubles that last now, by kind."""

    def __init__(
        self, commit: Callable[[Change], Awaitable[None]] = _keep_nothing, *, clock_s: Callable[[], float] = time.time
    ) -> None:
        """`commit` makes a notification durable."""
        self._commit = commit
        self._clock_s = clock_s
        self._lasting: dict[str, Trouble] = {}

    def lasting(self) -> list[Trouble]:
        """Return what is wrong now."""
        return list(self._lasting.values())

    async def begin(self, kind: str, message: str, hint: str, *, path: Path | None = None) -> None:
        """Something goes wrong, `path` where it is one place; while it lasts it is not told again."""
        if kind in self._lasting:
            return
        where = "" if path is None else readable_path(path)
        self._lasting[kind] = Trouble(kind, message, hint, self._clock_s(), where)
        log.error(message, kind=kind, hint=hint)
        await self._commit(PutNotification(_notification(kind), "error", kind, message, hint))

    async def end(self, kind: str, message: str) -> None:
        """It is well again; harmless when nothing was wrong."""
        if self._lasting.pop(kind, None) is not None:
            log.info(message, kind=kind)
            await self._commit(PutNotification(_notification(kind), "info", kind, message))


def place_trouble(place: PlaceTrouble) -> Trouble:
    """Return that a place cannot be watched as one of the daemon's troubles."""
    return Trouble(KIND, place.message, place.hint, place.since_s, readable_path(place.path))


def _notification(kind: str) -> str:
    return stable_id("trouble", socket.gethostname(), kind)
