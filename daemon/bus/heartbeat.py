"""Signs of life of this machine and of each stage."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import anyio

from daemon.bus.connection import Connection
from daemon.bus.signals import send_signal
from daemon.messages.event_data import NodeHeartbeat, StageHeartbeat
from daemon.messages.events import node_heartbeat, stage_heartbeat
from daemon.messages.subjects import Subjects

INTERVAL_S = 15.0


@dataclass(frozen=True)
class Beat:
    """How this machine and its stages are at one moment."""

    node: NodeHeartbeat
    stages: Sequence[StageHeartbeat]


class Heartbeat:
    """Asks `look` how things are, and tells it: at once over a new connection, then every 15 s."""

    def __init__(
        self, subjects: Subjects, look: Callable[[], Awaitable[Beat]], *, interval_s: float = INTERVAL_S
    ) -> None:
        self._subjects = subjects
        self._look = look
        self._interval_s = interval_s

    async def serve(self, connection: Connection) -> None:
        """Beat over this connection until it is lost."""
        while True:
            beat = await self._look()
            await send_signal(connection, node_heartbeat(self._subjects, beat.node))
            for stage in beat.stages:
                await send_signal(connection, stage_heartbeat(self._subjects, stage))
            await anyio.sleep(self._interval_s)
