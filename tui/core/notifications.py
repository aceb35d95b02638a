"""Notifications as a terminal knows them: each once, and which of them its person has not seen yet."""

from collections.abc import Iterable

from daemon.messages.event_data import Notification
from daemon.messages.news import NotificationEntry, NotificationsAnswer

_MOST = 1000


class Notifications:
    """The history, newest first. Told again under the same id, a notification replaces the earlier one."""

    def __init__(self) -> None:
        self.entries: list[NotificationEntry] = []
        self.read_until_s = 0.0
        """What was raised later is unread."""

    @property
    def unread(self) -> int:
        """How many were not seen yet."""
        return sum(self.is_unread(entry) for entry in self.entries)

    def is_unread(self, entry: NotificationEntry) -> bool:
        """Whether one was not seen yet."""
        return entry.raised_at_s > self.read_until_s

    def take_answer(self, answer: NotificationsAnswer) -> None:
        """Take the history as the daemon has it, over whatever was told meanwhile."""
        self._put(answer.notifications)

    def take_event(self, told: Notification) -> None:
        """Take one that is told now; what to do about it comes with the history."""
        known = {entry.notification_id: entry for entry in self.entries}.get(told.notification_id)
        raised_at_s = told.ts.timestamp()
        if known is None or known.raised_at_s < raised_at_s:
            entry = NotificationEntry(
                notification_id=told.notification_id,
                severity=told.severity,
                kind="",
                message=told.message,
                hint="",
                raised_at_s=raised_at_s,
                session_id=told.session_id,
                session=told.session,
            )
            self._put([entry])

    def mark_read(self) -> bool:
        """Everything known was seen; whether any of it was new."""
        newest_s = max((entry.raised_at_s for entry in self.entries), default=0.0)
        had = newest_s > self.read_until_s
        self.read_until_s = max(newest_s, self.read_until_s)
        return had

    def _put(self, entries: Iterable[NotificationEntry]) -> None:
        known = {entry.notification_id: entry for entry in self.entries}
        known |= {entry.notification_id: entry for entry in entries}
        ordered = sorted(known.values(), key=lambda entry: (-entry.raised_at_s, entry.notification_id))
        self.entries = ordered[:_MOST]
