"""Writes the report of a session once it is closed, or on command; no processing waits for it or fails by it.

What is taken up again in a closed session, or judged otherwise, renews its report once all of it has ended.
"""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import structlog

from daemon.domain.session import Session
from daemon.domain.states import SessionState
from daemon.engine.answers import Handler
from daemon.engine.lookup import find_session
from daemon.errors import StoreUnavailable
from daemon.messages.sessions import SessionReport
from daemon.pipeline.gate import Limits
from daemon.sessions.folders import SessionFolders
from daemon.store import sessions
from daemon.store.rows import SessionRow
from daemon.store.standing import LastChange, last_changes
from daemon.store.store import Store

if TYPE_CHECKING:
    from daemon.reports.writing import Written

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 5.0
_OLDEST_S = 86400.0
"""A session that was closed, or changed, longer ago gets no report by itself: an update would write hundreds."""


class ClosingReports:
    """Looks which sessions have been closed, or have changed after they were, since their last report.

    It rests on what the store and the disk say, so a daemon that died before it wrote a report writes it after.
    """

    def __init__(
        self,
        store: Store,
        limits: Callable[[str], Limits],
        *,
        umask: int,
        group: str | None,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        """`limits` gives those of a session's gates by its id; `umask` and `group` are those of outputs."""
        self._store = store
        self._limits = limits
        self._umask = umask
        self._group = group
        self._clock_s = clock_s
        self._is_first_look = True
        self._done: dict[str, tuple[float, float]] = {}
        """When each session was closed, and last changed, for which there is a report, or none could be written."""
        self._one_at_a_time = anyio.Lock()

    def handlers(self) -> Mapping[str, Handler]:
        """Return every handler this class has."""
        return {"session.report": self.report}

    async def report(self, command: SessionReport, asked_by: str) -> dict[str, Any]:
        """Write the report of a session as it is now. Raises CommandRefused, FileNotWritten."""
        session = await find_session(self._store, command.session)
        async with self._one_at_a_time:
            written = await anyio.to_thread.run_sync(self._write, session, abandon_on_cancel=True)
        log.info("report asked for", session=session.name, by=asked_by, why=command.why)
        return {"session": session.name, "path": str(written.path), "size_bytes": written.size_bytes}

    async def find(self, session: Session) -> Path | None:
        """Return where the report of a session lies, None where none was written."""
        return await anyio.to_thread.run_sync(_find, session, abandon_on_cancel=True)

    async def run(self) -> None:
        """Look until cancelled."""
        seen = -1
        while True:
            if self._store.transactions != seen:
                seen = self._store.transactions
                await self.write_missing()
            await anyio.sleep(_LOOK_EVERY_S)

    async def write_missing(self) -> None:
        """Write the reports of closed sessions that changed lately and have none that is newer."""
        changes = await last_changes(self._store, self._clock_s() - _OLDEST_S)
        for row in await sessions.sessions(self._store, SessionState.CLOSED):
            closed_s = row.closed_at_s or 0.0
            due_s = _due_s(closed_s, changes.get(row.session.session_id))
            written = self._done.get(row.session.session_id)
            is_written = written is not None and written[0] == closed_s and written[1] >= due_s
            if is_written or self._clock_s() - due_s > _OLDEST_S:
                continue
            try:
                await anyio.to_thread.run_sync(partial(self._write_newer, row, due_s), abandon_on_cancel=True)
            except StoreUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - a page for people never stops the processing
                log.warning("report not written", session=row.session.name, reason=str(error))
            self._done[row.session.session_id] = (closed_s, due_s)
        self._is_first_look = False

    def _write_newer(self, row: SessionRow, due_s: float) -> None:
        # Later the daemon has seen the change itself: the clock of the disk need not be asked.
        path = _find(row.session) if self._is_first_look else None
        if path is None or path.stat().st_mtime < due_s:
            self._write(row.session)

    def _write(self, session: Session) -> "Written":
        # Only where a report is written: drawing loads what nothing else of the daemon needs.
        from daemon.reports.data import Moment  # noqa: PLC0415
        from daemon.reports.writing import Source, ask_store, gather, report_path, write_report  # noqa: PLC0415

        zone = datetime.now().astimezone().tzinfo
        assert zone is not None
        source = Source(ask_store(self._store), lambda session_id, _: self._limits(session_id))
        data = gather(source, session.session_id, Moment(self._clock_s(), zone))
        folders = SessionFolders(session.home, self._umask, self._group)
        written = write_report(data, report_path(session.home, session.name), mode=folders.file_mode, group=self._group)
        log.info("report written", session=session.name, file=str(written.path), size_bytes=written.size_bytes)
        return written


def _due_s(closed_s: float, change: LastChange | None) -> float:
    """Return when what a report tells last changed; while a closed session works again that is its end."""
    return closed_s if change is None or change.is_in_work else max(closed_s, change.at_s)


def _find(session: Session) -> Path | None:
    from daemon.reports.writing import report_path  # noqa: PLC0415

    path = report_path(session.home, session.name)
    return path if path.exists() else None
