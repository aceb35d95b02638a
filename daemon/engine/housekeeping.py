"""What a daemon does now and then: snapshots, closing idle sessions, forgetting what was published long ago."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
import anyio.to_thread
import structlog

from daemon.bus.service import Bus
from daemon.domain.session import Session
from daemon.domain.states import SessionState
from daemon.errors import StoreUnavailable
from daemon.sessions.closing import SessionCloser
from daemon.sessions.lifecycle import END_MARKER, find_end_marker
from daemon.store import ledger, outbox, sessions
from daemon.store.snapshots import write_snapshots
from daemon.store.store import Store

log = structlog.get_logger(__name__)

_LOOK_FOR_IDLE_S = 15.0
_QUIET_BEFORE_END_S = 30.0
"""The last movies may be seen after the marker is there: directories are not listed at once."""
_PATIENCE_S = 10.0
_PRUNE_EVERY_S = 3600.0
_KEEP_PUBLISHED_S = 7 * 86400.0


@dataclass
class Housekeeping:
    """Runs beside the work; nothing depends on it. Its times may be set while it runs, from the next round on."""

    store: Store
    bus: Bus
    snapshot_interval_s: float
    idle_close_s: float
    closer: SessionCloser
    clock_s: Callable[[], float] = time.time
    end_marker: str | None = None
    """Name of the file in a raw directory that says that the session is over."""
    _looking: set[str] = field(default_factory=set)
    """Sessions whose raw directory has not answered yet: their file system may hang."""

    async def run(self) -> None:
        """Keep house until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._keep_snapshots)
            group.start_soon(self._keep_closing)
            group.start_soon(self._keep_forgetting)

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

    async def close_idle_sessions(self) -> None:
        """Have every session closed that has had no new file for long enough."""
        for row in await sessions.sessions(self.store, SessionState.OPEN):
            newest_s = await ledger.last_seen_s(self.store, row.session.session_id) or row.created_at_s
            is_idle = self.clock_s() - newest_s > self.idle_close_s
            if is_idle and not await self.closer.is_asked(row.session.session_id):
                why = f"no new file for {self.idle_close_s / 60:.0f} min"
                await self.closer.begin(row.session, why, is_idle=True)

    async def close_marked_sessions(self) -> None:
        """Have every session closed whose raw directory holds a new end marker and where nothing new appears.

        A marker counts once: a late file reopens its session, and only a marker that is written anew ends that.
        """
        for row in await sessions.sessions(self.store, SessionState.OPEN) if self.end_marker else []:
            session_id = row.session.session_id
            newest_s = await ledger.last_seen_s(self.store, session_id) or row.created_at_s
            if self.clock_s() - newest_s < _QUIET_BEFORE_END_S or session_id in self._looking:
                continue
            marker = None
            with anyio.move_on_after(_PATIENCE_S):
                marker = await anyio.to_thread.run_sync(self._look_for_marker, row.session, abandon_on_cancel=True)
            known = (await sessions.decisions(self.store, session_id)).get(END_MARKER)
            if marker is not None and marker != known:
                await self.closer.begin(row.session, f"{self.end_marker} says so", marker=marker)

    def _look_for_marker(self, session: Session) -> int | None:
        """Return when the end marker was written, None where there is none."""
        self._looking.add(session.session_id)
        try:
            return find_end_marker(session, self.end_marker or "")
        finally:
            self._looking.discard(session.session_id)

    async def forget_published_events(self) -> None:
        """Forget events that were published long ago; subscribers have had them."""
        await outbox.prune(self.store, self.clock_s() - _KEEP_PUBLISHED_S)

    async def _keep_closing(self) -> None:
        while True:
            await anyio.sleep(min(_LOOK_FOR_IDLE_S, self.idle_close_s))
            await self.close_idle_sessions()
            await self.close_marked_sessions()
            await self.closer.go_on()

    async def _keep_forgetting(self) -> None:
        while True:
            await self.forget_published_events()
            await anyio.sleep(_PRUNE_EVERY_S)
