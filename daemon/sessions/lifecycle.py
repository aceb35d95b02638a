"""The end of a session, and its reopening: by a late file, or by a person who imports it again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import Lock

from daemon.domain.session import Session
from daemon.domain.states import SessionState
from daemon.messages import events
from daemon.messages.envelope import Event
from daemon.messages.events import SessionRef
from daemon.messages.subjects import Subjects
from daemon.store import sessions
from daemon.store.changes import CloseSession, ReopenSession
from daemon.store.store import Store

END_MARKER = "end_marker"
"""Key of the session-level decision which end marker has closed it last: when that was written, in nanoseconds."""


def find_end_marker(session: Session, name: str) -> int | None:
    """Return when a session's end marker was written, in nanoseconds; None where there is none, or none to be read."""
    try:
        return (session.raw_directory / name).stat().st_mtime_ns
    except OSError:
        return None


def closing(
    subjects: Subjects, session: Session, *, reason: str, at_s: float, asked_by: str | None = None
) -> tuple[CloseSession, Event]:
    """Return the change and the event, to be committed together, by which no more movies are expected."""
    ref = SessionRef(session.session_id, session.name)
    event = events.session_closed(subjects, ref, reason=reason, at_s=at_s, asked_by=asked_by or "")
    return CloseSession(session.session_id, reason, asked_by, at_s), event


async def reopening(
    store: Store, subjects: Subjects, session: SessionRef, *, reason: str, at_s: float, asked_by: str | None = None
) -> tuple[list[ReopenSession], list[Event]]:
    """Return change and event, to be committed together, by which movies are expected again; none while they are."""
    row = await sessions.session(store, session.session_id)
    if row is None or row.session.state is SessionState.OPEN:
        return [], []
    event = events.session_reopened(subjects, session, reason=reason, at_s=at_s, asked_by=asked_by or "")
    return [ReopenSession(session.session_id, reason, asked_by, at_s)], [event]


@asynccontextmanager
async def reopening_once(
    turns: Lock, store: Store, subjects: Subjects, session: SessionRef, *, reason: str, at_s: float
) -> AsyncIterator[tuple[list[ReopenSession], list[Event]]]:
    """As `reopening`, for what is committed inside: of several that find the session closed, the first reopens it."""
    opening = await reopening(store, subjects, session, reason=reason, at_s=at_s)
    if not opening[0]:
        yield opening
        return
    async with turns:
        yield await reopening(store, subjects, session, reason=reason, at_s=at_s)
