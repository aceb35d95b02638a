"""Notifications: each once, the newest first, and how many were not seen."""

from daemon.messages.envelope import utc
from daemon.messages.event_data import Notification
from daemon.messages.news import NotificationEntry, NotificationsAnswer
from tui.core.notifications import Notifications


def entry(name: str, at_s: float, **more: str) -> NotificationEntry:
    return NotificationEntry(
        notification_id=name,
        severity="warning",
        kind="gain_missing",
        message=more.get("message", name),
        hint=more.get("hint", "Put it there."),
        raised_at_s=at_s,
        session_id="id",
        session="24dec03a",
    )


def event(name: str, at_s: float, message: str = "") -> Notification:
    return Notification(
        ts=utc(at_s),
        session_id="id",
        session="24dec03a",
        notification_id=name,
        severity="warning",
        message=message or name,
    )


def test_history_and_events_give_each_notification_once() -> None:
    known = Notifications()
    known.take_event(event("b", 20.0))
    known.take_answer(NotificationsAnswer(notifications=[entry("b", 20.0), entry("a", 10.0)]))
    known.take_event(event("b", 20.0))
    assert [each.notification_id for each in known.entries] == ["b", "a"]
    assert known.entries[0].hint == "Put it there."


def test_one_that_is_told_again_is_new_again() -> None:
    known = Notifications()
    known.take_answer(NotificationsAnswer(notifications=[entry("b", 20.0), entry("a", 10.0)]))
    assert known.unread == 2
    assert known.mark_read()
    assert not known.mark_read()
    assert known.unread == 0
    known.take_event(event("a", 30.0, "worse"))
    assert known.unread == 1
    assert [each.message for each in known.entries] == ["worse", "b"]
