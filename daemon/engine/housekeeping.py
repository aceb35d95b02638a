"""What a daemon does now and then: snapshots, closing idle sessions, forgetting what was published long ago."""

import time
from dataclasses import dataclass

import anyio
import structlog

from daemon.bus.service import Bus
from daemon.domain.states import SessionState
from daemon.errors import StoreUnavailable
from daemon.sessions.lifecycle import closing
from daemon.store import ledger, outbox, sessions
from daemon.store.changes import QueueEvent
from daemon.store.snapshots import write_snapshots
from daemon.store.store import Store

log = structlog.get_logger(__name__)

_LOOK_FOR_IDLE_S = 60.0
_PRUNE_EVERY_S = 3600.0
_KEEP_PUBLISHED_S = 7 * 86400.0


@dataclass(frozen=True)
class Housekeeping:
    """Runs beside the work; nothing depends on it."""

    store: Store
    bus: Bus
    snapshot_interval_s: float
    idle_close_s: float

    async def run(self) -> None:
        """Keep house until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._keep_snapshots)
            group.start_soon(self._close_idle_sessions)
            group.start_soon(self._prune_events)

    async def write_snapshots(self) -> None:
        """Write every session's Parquet tables."""
        for row in await sessions.sessions(self.store):
            try:
                await write_snapshots(self.store, row.session.session_id, row.session.home / "tables")
            except StoreUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - a convenience for analysts never stops the processing
                log.warning("snapshot not written", session=row.session.name, reason=str(error))

    async def _keep_snapshots(self) -> None:
        written = -1
        while True:
            await anyio.sleep(self.snapshot_interval_s)
            if self.store.transactions != written:
                written = self.store.transactions
                await self.write_snapshots()

    async def _close_idle_sessions(self) -> None:
        while True:
            await anyio.sleep(min(_LOOK_FOR_IDLE_S, self.idle_close_s))
            for row in await sessions.sessions(self.store, SessionState.OPEN):
                newest_s = await ledger.last_seen_s(self.store, row.session.session_id) or row.created_at_s
                if time.time() - newest_s > self.idle_close_s:
                    reason = f"no new file for {self.idle_close_s / 60:.0f} min"
                    log.info("session closed", session=row.session.name, reason=reason)
                    change, event = closing(self.bus.subjects, row.session, reason=reason, at_s=time.time())
                    stream = self.bus.subjects.session_stream
                    await self.store.commit(change, QueueEvent(event.id, event.subject, event.body(), stream=stream))
                    self.bus.publisher.wake()

    async def _prune_events(self) -> None:
        while True:
            await outbox.prune(self.store, time.time() - _KEEP_PUBLISHED_S)
            await anyio.sleep(_PRUNE_EVERY_S)
