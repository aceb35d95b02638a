"""The daemon's log and its notifications as they are asked for: what is asked, and answers typed at both ends."""

from typing import Annotated

import msgspec

from daemon.messages.arguments import Arguments


class LogsQuery(Arguments, frozen=True, kw_only=True):
    """The latest lines of the daemon's log; with `run` and `last` of an earlier answer: only those since.

    With `task_id` only those of this task.
    """

    run: str = ""
    after: int = 0
    task_id: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=5000)] = 2000


class LogEntry(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One line of the daemon's log; what it is not about is empty."""

    seq: int
    """Counts the lines of one run."""
    at_s: float
    level: str
    """debug, info, warning or error."""
    message: str
    source: str
    """The part of the daemon that wrote it."""
    session: str
    stage: str
    image: str
    task_id: str
    facts: dict[str, str]
    """What else was noted with it."""


class LogsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Lines in the order they were written. Lines before `first` are no longer kept."""

    run: str
    """Another one means that the daemon was started again and counts anew."""
    first: int
    last: int
    lines: list[LogEntry]


class NotificationsQuery(Arguments, frozen=True, kw_only=True):
    """The latest notifications, newest first: those of one session, or of all."""

    session: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=5000)] = 500


class NotificationEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Something a person should know; told again under the same id, it replaces what was told before."""

    notification_id: str
    severity: str
    kind: str
    message: str
    hint: str
    raised_at_s: float
    session_id: str | None
    session: str


class NotificationsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Notifications, newest first."""

    notifications: list[NotificationEntry]
