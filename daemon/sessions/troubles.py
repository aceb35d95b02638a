"""Places that cannot be watched: told once when it begins and once when it is over, and shown for as long as it lasts.

Movies in such a place are not seen. A restart is no news: what was told before stays as it was, with its time.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from daemon.domain.identity import stable_id
from daemon.domain.names import readable_path
from daemon.domain.states import SessionState
from daemon.messages import events
from daemon.messages.envelope import Event
from daemon.messages.events import SessionRef
from daemon.messages.subjects import Subjects
from daemon.sessions.telling import Teller
from daemon.store import sessions
from daemon.store.changes import PutNotification
from daemon.store.store import Store

Severity = Literal["info", "warning"]

KIND = "not_watched"
_MOST_EVENTS = 5
"""Of places that are refused at once as many are told one by one; more are told together."""


@dataclass(frozen=True)
class PlaceTrouble:
    """What is wrong with a place, since when, and what to do."""

    path: Path
    text: str
    hint: str
    since_s: float

    @property
    def message(self) -> str:
        """The sentence about it."""
        return f"{readable_path(self.path)} {self.text}."


class PlaceTroubles:
    """The places of one session, or of the watched roots, that cannot be watched now."""

    def __init__(
        self,
        store: Store,
        subjects: Subjects,
        on_event: Callable[[], None],
        session: SessionRef | None = None,
        *,
        raw_directory: Path | None = None,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        """`session` unset: the roots, of which notifications tell but no event, as no session is concerned yet.

        `raw_directory` of the session: once that is closed, it may be gone.
        """
        self._teller = Teller(store, subjects, on_event)
        self._session = session
        self._raw_directory = raw_directory
        self._clock_s = clock_s
        self._lasting: dict[Path, PlaceTrouble] = {}

    def lasting(self) -> list[PlaceTrouble]:
        """Return what is wrong now, by path."""
        return [self._lasting[path] for path in sorted(self._lasting)]

    async def begin(self, troubles: Sequence[tuple[Path, str, str]]) -> None:
        """Places cannot be watched: where, what is wrong, what to do. What was told already is not told again."""
        news = []
        for path, text, hint in troubles:
            if path == self._raw_directory and await self._is_closed():
                continue
            trouble = PlaceTrouble(path, text.rstrip("."), hint, self._clock_s())
            told = await sessions.notification(self._teller.store, self._id(path))
            is_told = told is not None and told.severity == "warning" and told.message == trouble.message
            if told is not None and told.at_s is not None and is_told:
                trouble = PlaceTrouble(path, trouble.text, hint, told.at_s)
            else:
                news.append(trouble)
            self._lasting[path] = trouble
        await self._tell(news, "warning")

    async def end(self, paths: Iterable[Path]) -> None:
        """Places can be watched again; harmless where nothing was wrong."""
        over = [self._lasting.pop(path) for path in paths if path in self._lasting]
        now_s = self._clock_s()
        ended = [PlaceTrouble(trouble.path, "is watched again", "", now_s) for trouble in over]
        await self._tell(ended, "info")

    async def _is_closed(self) -> bool:
        row = None if self._session is None else await sessions.session(self._teller.store, self._session.session_id)
        return row is not None and row.session.state is SessionState.CLOSED

    async def _tell(self, news: Sequence[PlaceTrouble], severity: Severity) -> None:
        session_id = None if self._session is None else self._session.session_id
        changes = [
            PutNotification(
                self._id(trouble.path),
                severity,
                KIND,
                trouble.message,
                trouble.hint,
                session_id=session_id,
                at_s=trouble.since_s,
            )
            for trouble in news
        ]
        told = [] if self._session is None else [self._event(self._session, group, severity) for group in _group(news)]
        await self._teller.commit(changes, told)

    def _event(self, session: SessionRef, group: Sequence[PlaceTrouble], severity: Severity) -> Event:
        first = group[0]
        rest = "" if len(group) == 1 else f" Likewise {len(group) - 1} more."
        return events.notification(
            self._teller.subjects,
            session,
            notification_id=self._id(first.path),
            severity=severity,
            message=f"{first.message}{rest} {first.hint}".strip(),
            at_s=first.since_s,
        )

    def _id(self, path: Path) -> str:
        return stable_id(KIND, "" if self._session is None else self._session.session_id, readable_path(path))


def _group(news: Sequence[PlaceTrouble]) -> list[Sequence[PlaceTrouble]]:
    if len(news) <= _MOST_EVENTS:
        return [[trouble] for trouble in news]
    alike: dict[str, list[PlaceTrouble]] = {}
    for trouble in news:
        alike.setdefault(trouble.text, []).append(trouble)
    return list(alike.values())
