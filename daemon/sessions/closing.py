"""How a session ends: a last full look at its files, then all that is owed is done, then it is closed.

That it is to be closed is kept before anything is done about it, until it is sure that nothing came at the very moment
of the end: a daemon that dies meanwhile goes on with it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import structlog

from daemon.domain.session import Session
from daemon.domain.states import SessionState
from daemon.messages.envelope import Event
from daemon.messages.events import SessionRef
from daemon.messages.subjects import Subjects
from daemon.sessions.lifecycle import END_MARKER, closing, reopening
from daemon.sessions.telling import Teller, notice
from daemon.store import ledger, sessions
from daemon.store.changes import Change, PutDecision
from daemon.store.rows import SessionRow
from daemon.store.store import Store
from daemon.store.unfinished import Backlog, backlog, decided, has_new_movie

log = structlog.get_logger(__name__)

CLOSING = "closing"
"""Key of the session-level decision that a session is to be closed: why, who asked and when; None once it is."""
_CLOSED_AFTER = "closed_after"
"""What it holds of a session that was closed, until it is sure that nothing came at that moment: a line of the history,
after which a movie that was entered is one that came."""

_PATIENCE_S = 5.0
"""How long who asks waits for the last look; it goes on, and the session is closed later."""
_LONGEST_JUDGING_S = 3600.0
"""How long files that do not become whole or cannot be looked at hold up the end, from when it was first asked for:
longer than a broken one takes to be quarantined."""
_MOST_NAMES = 5


@dataclass(frozen=True)
class Unfinished:
    """What a session waits for before it is closed."""

    is_looked_through: bool
    open: Backlog
    unseen: tuple[str, ...] = ()
    """Places that the last look did not see, each with why."""

    def describe(self) -> str:
        """Say what is missing, by count and the first few names; empty when nothing is."""
        said = [] if self.is_looked_through else ["the last look at its files has not ended"]
        if self.unseen:
            said.append(f"the last look at its files did not see all: {_first(self.unseen, len(self.unseen))}")
        if self.open.movies:
            names = sorted(path.name for path in self.open.first_movies)
            said.append(f"{self.open.movies} file(s) are not whole: {_first(names, self.open.movies)}")
        if stages := self.open.tasks:
            listed = ", ".join(sorted(stages))
            said.append(f"{sum(stages.values())} step(s) of {self.open.task_movies} movie(s) have not ended ({listed})")
        return "; ".join(said)


_NOTHING = Unfinished(is_looked_through=True, open=Backlog(0, (), {}, 0, 0))


def _first(names: Sequence[str], count: int) -> str:
    more = count - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _looked_at_once(_: str) -> anyio.Event:
    looked = anyio.Event()
    looked.set()
    return looked


def _join(earlier: dict[str, Any], fresh: dict[str, Any]) -> dict[str, Any]:
    """Return what is asked for once it is asked for again: who asks more firmly is named, whoever asked first."""
    firmer = max(earlier, fresh, key=lambda asked: (bool(asked["asked_by"]), not asked["is_idle"]))
    return {
        **firmer,
        "at_s": min(earlier["at_s"], fresh["at_s"]),
        "is_idle": earlier["is_idle"] and fresh["is_idle"],
        "is_told": earlier["is_told"],
    }


class SessionCloser:
    """Ends sessions, each when nothing of it is left to do; a late file opens it again."""

    def __init__(
        self, store: Store, subjects: Subjects, on_event: Callable[[], None], clock_s: Callable[[], float]
    ) -> None:
        self.look: Callable[[str], anyio.Event] = _looked_at_once
        """Begins a full look at a session's files, by id; the event is set when all that it found is in the ledger."""
        self.unseen: Callable[[str], Sequence[str]] = lambda _: ()
        """Says which places of a session, by id, its last look could not see, and why."""
        self._store = store
        self._subjects = subjects
        self._clock_s = clock_s
        self._teller = Teller(store, subjects, on_event)
        self._looks: dict[str, anyio.Event] = {}
        self._one_at_a_time = anyio.Lock()

    async def begin(
        self, session: Session, reason: str, *, asked_by: str = "", marker: int | None = None, is_idle: bool = False
    ) -> Unfinished:
        """Have a session closed; return what it still waits for, nothing when it is closed already.

        marker: when the end marker was written that asks for it. is_idle: a new file takes it back. Asked again, it
        ends no later than as it was first asked, for the reason that a person gave first.
        """
        fresh: dict[str, Any] = {
            "reason": reason, "asked_by": asked_by, "at_s": self._clock_s(), "is_idle": is_idle, "is_told": False
        }  # fmt: skip
        seen = [] if marker is None else [PutDecision(session.session_id, END_MARKER, marker)]
        async with self._one_at_a_time:
            earlier = await self._asked(session.session_id)
            asked = fresh if earlier is None or _CLOSED_AFTER in earlier else _join(earlier, fresh)
            await self._teller.commit([PutDecision(session.session_id, CLOSING, asked), *seen], [])
        looked = self._looks[session.session_id] = self.look(session.session_id)
        with anyio.move_on_after(_PATIENCE_S):
            await looked.wait()
        async with self._one_at_a_time:
            row = await sessions.session(self._store, session.session_id)
            assert row is not None, "a session is never forgotten"
            return await self._go_on_with(row)

    async def go_on(self) -> None:
        """Close what can be closed by now, and open again what a daemon closed that died before it looked once more."""
        for session_id in await decided(self._store, CLOSING):
            async with self._one_at_a_time:
                row = await sessions.session(self._store, session_id)
                if row is not None:
                    await self._go_on_with(row)

    async def is_asked(self, session_id: str) -> bool:
        """Whether a session is to be closed already."""
        return await self._asked(session_id) is not None

    async def _asked(self, session_id: str) -> dict[str, Any] | None:
        return (await sessions.decisions(self._store, session_id)).get(CLOSING)

    async def _go_on_with(self, row: SessionRow) -> Unfinished:
        session, asked = row.session, await self._asked(row.session.session_id)
        if asked is None:
            return _NOTHING
        if _CLOSED_AFTER in asked:
            await self._open_again_for_what_came(session, asked[_CLOSED_AFTER])
            return _NOTHING
        if row.session.state is SessionState.CLOSED:  # by someone else
            await self._teller.commit([PutDecision(session.session_id, CLOSING, None)], [])
            return _NOTHING
        newest_s = await ledger.last_seen_s(self._store, session.session_id) or 0.0
        if asked["is_idle"] and newest_s > asked["at_s"]:
            log.info("session not closed: a file came", session=session.name)
            await self._teller.commit([PutDecision(session.session_id, CLOSING, None)], [])
            self._looks.pop(session.session_id, None)
            return _NOTHING
        left = await self._look_for_unfinished(session)
        is_late = self._clock_s() - asked["at_s"] > _LONGEST_JUDGING_S
        if left.unseen:  # what cannot be seen now may be there when it is looked for again
            self._looks[session.session_id] = self.look(session.session_id)
        if not left.is_looked_through or left.open.tasks or ((left.open.movies or left.unseen) and not is_late):
            await self._tell(session, asked, left)
            return left
        reason = "; ".join(filter(None, [asked["reason"], left.describe()]))
        log.info("session closed", session=session.name, reason=reason)
        change, event = closing(
            self._subjects, session, reason=reason, at_s=self._clock_s(), asked_by=asked["asked_by"] or None
        )
        closed = PutDecision(session.session_id, CLOSING, {**asked, _CLOSED_AFTER: left.open.newest_move})
        await self._teller.commit([change, closed], [event])
        await self._open_again_for_what_came(session, left.open.newest_move)
        return _NOTHING

    async def _look_for_unfinished(self, session: Session) -> Unfinished:
        if session.session_id not in self._looks:  # asked of an earlier daemon
            self._looks[session.session_id] = self.look(session.session_id)
        is_looked_through = self._looks[session.session_id].is_set()
        unseen = tuple(self.unseen(session.session_id)) if is_looked_through else ()
        return Unfinished(is_looked_through, await backlog(self._store, session.session_id), unseen)

    async def _tell(self, session: Session, asked: dict[str, Any], left: Unfinished) -> None:
        """Say once what the end waits for; the counts of the moment are seen in the session's job."""
        if asked["is_told"]:
            return
        log.info("session is to be closed", session=session.name, waits_for=left.describe())
        change, event = notice(
            self._subjects,
            SessionRef(session.session_id, session.name),
            kind="session_closing",
            message=f"{session.name} will be closed ({asked['reason']}). Before that: {left.describe()}.",
            hint="What is not wanted any more, elcano cancel ends; what is paused, elcano resume lets go on.",
            at_s=self._clock_s(),
            severity="info",
        )
        told = PutDecision(session.session_id, CLOSING, {**asked, "is_told": True})
        await self._teller.commit([change, told], [event])

    async def _open_again_for_what_came(self, session: Session, closed_after: int) -> None:
        """A file may have been entered at the very moment of the end, by someone who still saw the session open."""
        self._looks.pop(session.session_id, None)
        now = await backlog(self._store, session.session_id)
        opening: tuple[Sequence[Change], Sequence[Event]] = ((), ())
        if now.tasks or await has_new_movie(self._store, session.session_id, closed_after):
            ref, why = SessionRef(session.session_id, session.name), "a file came as it was closed"
            opening = await reopening(self._store, self._subjects, ref, reason=why, at_s=self._clock_s())
        await self._teller.commit([*opening[0], PutDecision(session.session_id, CLOSING, None)], opening[1])
