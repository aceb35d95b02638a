"""The end of a session; a late file reopens it (daemon.sessions.intake)."""

from daemon.domain.session import Session
from daemon.messages import events
from daemon.messages.envelope import Event
from daemon.messages.events import SessionRef
from daemon.messages.subjects import Subjects
from daemon.store.changes import CloseSession


def closing(
    subjects: Subjects, session: Session, *, reason: str, at_s: float, asked_by: str | None = None
) -> tuple[CloseSession, Event]:
    """Return the change and the event, to be committed together, by which no more movies are expected."""
    ref = SessionRef(session.session_id, session.name)
    event = events.session_closed(subjects, ref, reason=reason, at_s=at_s, asked_by=asked_by or "")
    return CloseSession(session.session_id, reason, asked_by, at_s), event
