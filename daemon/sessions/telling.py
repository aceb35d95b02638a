"""Commits what became of a session's files together with the events that tell of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from daemon.domain.identity import stable_id
from daemon.messages import events
from daemon.messages.envelope import Event
from daemon.messages.events import SessionRef
from daemon.messages.subjects import Subjects
from daemon.store.changes import Change, PutNotification, QueueEvent
from daemon.store.store import Store


@dataclass(frozen=True)
class Teller:
    """The way of a session's facts into the store; `on_event` is called after events were committed."""

    store: Store
    subjects: Subjects
    on_event: Callable[[], None]

    async def commit(self, changes: Sequence[Change], told: Sequence[Event]) -> None:
        """Commit changes and events together, if there are any. Raises IllegalMove, StoreUnavailable."""
        if not changes and not told:
            return
        await self.store.commit(*changes, *(queue(self.subjects, event) for event in told))
        if told:
            self.on_event()


def queue(subjects: Subjects, event: Event) -> QueueEvent:
    """Return the change by which an event enters the outbox, for the stream of its kind."""
    is_step = event.envelope.type.startswith("magellon.step.")
    stream = subjects.step_stream if is_step else subjects.session_stream
    return QueueEvent(event.id, event.subject, event.body(), stream=stream)


def notice(
    subjects: Subjects,
    session: SessionRef,
    *,
    kind: str,
    message: str,
    hint: str,
    at_s: float,
    severity: Literal["info", "warning"] = "warning",
    fact: str = "",
) -> tuple[PutNotification, Event]:
    """Return a notification and the event that tells it, to be committed together.

    The same `kind` and `fact` of one session give the same notification, which replaces the earlier one.
    """
    notification_id = stable_id(kind, session.session_id, fact)
    event = events.notification(
        subjects,
        session,
        notification_id=notification_id,
        severity=severity,
        message=f"{message} {hint}".strip(),
        at_s=at_s,
    )
    change = PutNotification(notification_id, severity, kind, message, hint, session_id=session.session_id, at_s=at_s)
    return change, event
