"""Tells people that files which look like movies are left alone: the first, then each ten times as many."""

from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from daemon.domain.names import readable_path, spell_controls
from daemon.messages.events import SessionRef
from daemon.sessions.book import SessionBook
from daemon.sessions.left_alone import KINDS, say_count
from daemon.sessions.no_movies import SINGLE_IMAGE
from daemon.sessions.telling import Teller, notice
from daemon.store import ledger

log = structlog.get_logger(__name__)

LEFT_ALONE = "left_alone"
"""Kind of the notification: one for each reason and session."""
_FEW_IMAGES = 3
"""Fewer single frames are no session of such: an overview, or the sum that a camera writes beside its first movies."""


class LeftAloneNotices:
    """Of one session. Status, audit and report have the exact numbers."""

    def __init__(self, teller: Teller, book: SessionBook, clock_s: Callable[[], float]) -> None:
        self._teller = teller
        self._book = book
        self._clock_s = clock_s
        self._told_next: dict[str, int] = {}

    async def note(self, files: Iterable[tuple[Path, str]]) -> None:
        """Take note that files were entered as left alone, each for a reason."""
        new: dict[str, int] = {}
        for _, reason in files:
            if reason in KINDS:
                new[reason] = new.get(reason, 0) + 1
        for reason, count in new.items():
            await self._note(reason, count)

    async def _note(self, reason: str, new: int) -> None:
        # Beside movies a camera may write their sums: nobody misses those.
        if reason == SINGLE_IMAGE and self._book.some_whole(1):
            return
        session = self._book.session
        found = await ledger.ignored_for(self._teller.store, session.session_id, [reason])
        first = _FEW_IMAGES if reason == SINGLE_IMAGE else 1
        due = self._told_next.get(reason) or _after(len(found) - new, first)
        if len(found) < due:
            return
        self._told_next[reason] = _after(len(found), first)
        name = spell_controls(readable_path(self._inside(found[0][0])))
        message = f"{say_count(KINDS[reason], len(found))} left alone in {session.name} so far, first {name}."
        if reason == SINGLE_IMAGE:
            message += " No movie has come yet."
        advice = KINDS[reason].advice
        log.warning("files left alone", session=session.name, said=message)
        change, event = notice(
            self._teller.subjects,
            SessionRef(session.session_id, session.name),
            kind=LEFT_ALONE,
            message=message,
            hint=f"To have them processed: {advice}.",
            at_s=self._clock_s(),
            fact=reason,
        )
        await self._teller.commit([change], [event])

    def _inside(self, path: Path) -> Path:
        raw = self._book.session.raw_directory
        return path.relative_to(raw) if path.is_relative_to(raw) else path


def _after(count: int, first: int) -> int:
    """Return the next number at which to tell: the first one, ten times that, a hundred times that."""
    due = first
    while due <= count:
        due *= 10
    return due
