"""Looks at how a session's gain lies, each of which may be slow, fail, or be the end of the daemon: none is repeated.

A movie that ends the daemon when it is decoded would end every next one too, as it is looked at before it is offered.
So it is kept before a look that it begins and after it that it ended, and a look that did not end is not begun again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import anyio
import structlog

from daemon.domain.acquisition import Acquisition, GainReference
from daemon.domain.names import readable_path
from daemon.errors import READ_AGAIN, ElcanoError
from daemon.formats.detached import DetachedCall, PatientCalls
from daemon.messages.events import SessionRef
from daemon.sessions.found_orientation import GAIN_ORIENTATION, say_how
from daemon.sessions.gain_evidence import Counts, GainRefused, GainStamp, Seen, stamp_gain, weigh
from daemon.sessions.telling import Teller, notice
from daemon.store import sessions
from daemon.store.changes import PutDecision
from daemon.store.rows import encode_path

log = structlog.get_logger(__name__)

GAIN_LOOKS = "gain_looks"
"""Key of the decision that holds the looks that began and did not end."""

MOST_UNENDED = 2
"""Looks for one gain that did not end: one can be a movie's fault, of two it is the gain's."""

_HEADER_LIMIT_S = 30.0
_STOP_LIMIT_S = 5.0
_Mark: TypeAlias = dict[str, str | None]


@dataclass(frozen=True)
class _Look:
    """One look under way, for a gain as it was configured and as its bytes were."""

    call: DetachedCall[Seen]
    movie: Path
    gain: GainReference
    sha256: str | None
    stamp: GainStamp
    mark: _Mark


class GainLooks:
    """The looks of one session, one at a time; the counts of those that told too little are kept for the next."""

    def __init__(self, teller: Teller, session: SessionRef, clock_s: Callable[[], float], limit_s: float) -> None:
        """`limit_s` is how long a look is waited for; what it shows later is there for the next movie."""
        self._teller = teller
        self._session = session
        self._clock_s = clock_s
        self._limit_s = limit_s
        self._calls = PatientCalls(_HEADER_LIMIT_S)
        self._counts: Counts | None = None
        self._refused: GainStamp | None = None
        self._late: _Look | None = None
        self._marks: list[_Mark] | None = None
        self._told: set[str] = set()

    def forget(self) -> None:
        """Drop the counts: they have told what they tell."""
        self._counts = None

    async def look(self, path: Path, acquisition: Acquisition, gain: GainReference, sha256: str | None) -> Seen | None:
        """Add a movie's counts to those before and weigh them; None where that cannot be done, or not yet."""
        if self._late is not None:
            if not self._late.call.is_finished:
                return None
            late, self._late = self._late, None
            seen = await self._end(late)
            if seen is not None and seen.is_final and (late.gain, late.sha256) == (gain, sha256):
                return seen
        stamp = await self._stamp(path, gain)
        if stamp is None or stamp == self._refused or not await self._may(path, gain, sha256):
            return None
        counts = self._counts
        before = counts if counts is not None and (counts.gain, counts.sha256) == (gain, sha256) else None
        mark: _Mark = {"movie": encode_path(path), "gain": encode_path(gain.path), "sha256": sha256}
        try:
            await self._keep([*await self._known_marks(), mark])
            call = DetachedCall(partial(weigh, path, acquisition, gain, sha256, before))
            is_over = await call.wait(self._limit_s)
        except BaseException:
            # The daemon stops in order: this movie is not to blame for anything.
            with anyio.move_on_after(_STOP_LIMIT_S, shield=True):
                await self._unmark(mark)
            raise
        look = _Look(call, path, gain, sha256, stamp, mark)
        if not is_over:
            self._late = look
            await self._tell_late(look)
            return None
        return await self._end(look)

    async def _stamp(self, path: Path, gain: GainReference) -> GainStamp | None:
        """Return the stamp of the gain for a movie, None where one of the two is not there."""
        try:
            return await self._calls.call(path.parent, partial(stamp_gain, path, gain.path))
        except Exception as error:  # noqa: BLE001 - whatever a file makes of its reader is no reason to end the daemon
            # Whoever processes the movie tells of it: it needs both files.
            log.info("orientation of the gain not looked for", path=readable_path(path), reason=_say(error))
            return None

    async def _end(self, look: _Look) -> Seen | None:
        """Take what a look has shown; None where it has failed."""
        await self._unmark(look.mark)
        try:
            seen = look.call.result()
        except (GainRefused, MemoryError) as error:
            # Every other movie would be decoded for the same.
            self._refused = look.stamp
            log.warning("gain not compared with the movies", gain=readable_path(look.gain.path), reason=_say(error))
            return None
        except (ElcanoError, OSError, ValueError) as error:
            # Whoever processes the movie tells of it.
            log.info("orientation of the gain not looked for", path=readable_path(look.movie), reason=_say(error))
            return None
        except Exception:
            log.exception("look at the orientation of the gain failed", path=readable_path(look.movie))
            return None
        self._counts, evidence = seen.counts, seen.evidence
        log.info(
            "orientation of the gain looked for",
            session=self._session.session,
            movies=seen.counts.movies,
            best=say_how(evidence.best, divides=evidence.divides),
            doubt=evidence.doubt,
            fit_sigma=round(evidence.fit_sigma, 1),
            margin_sigma=round(evidence.margin_sigma, 1),
            strength=round(evidence.strength, 3),
        )
        return seen

    async def _may(self, path: Path, gain: GainReference, sha256: str | None) -> bool:
        """Whether a look may begin: none of this movie, and not too many of this gain, began before and did not end."""
        marks = [mark for mark in await self._known_marks() if mark["gain"] == encode_path(gain.path)]
        if any(mark["movie"] == encode_path(path) for mark in marks):
            log.warning(
                "how the gain lies is not looked for in this movie",
                path=readable_path(path),
                reason="the daemon ended while it was looked at before",
            )
            return False
        if len([mark for mark in marks if mark["sha256"] == sha256]) < MOST_UNENDED:
            return True
        message = (
            f"How the gain reference {readable_path(gain.path)} lies on the movies of {self._session.session} is not "
            f"looked for any more: {MOST_UNENDED} looks began and did not end. It is used as it is configured."
        )
        await self._tell(message, gain, f"unended {readable_path(gain.path)} {sha256}")
        return False

    async def _known_marks(self) -> list[_Mark]:
        if self._marks is None:
            kept = await sessions.decisions(self._teller.store, self._session.session_id)
            self._marks = list(kept.get(GAIN_LOOKS, []))
        return self._marks

    async def _unmark(self, mark: _Mark) -> None:
        await self._keep([other for other in await self._known_marks() if other is not mark])

    async def _keep(self, marks: list[_Mark]) -> None:
        await self._teller.commit([PutDecision(self._session.session_id, GAIN_LOOKS, marks)], [])
        self._marks = marks

    async def _tell_late(self, look: _Look) -> None:
        message = (
            f"How the gain reference {readable_path(look.gain.path)} lies on the movies of {self._session.session} is "
            f"not found yet: looking at {readable_path(look.movie)} takes longer than {self._limit_s:g} s. "
            "Until it is found the gain is used as it is configured."
        )
        await self._tell(message, look.gain, f"late {readable_path(look.gain.path)}")

    async def _tell(self, message: str, gain: GainReference, fact: str) -> None:
        """Say it in the log, and once to those who wait for what is found."""
        if fact in self._told:
            return
        self._told.add(fact)
        log.warning("gain orientation", session=self._session.session, said=message)
        if gain.orientation != "auto":
            return
        hint = (
            "If the gain lies otherwise, set rotate_deg, flip and operation under acquisition.gain in the [[session]] "
            f"entry of config.toml or in session.json, {READ_AGAIN}."
        )
        put, event = notice(
            self._teller.subjects,
            self._session,
            kind=GAIN_ORIENTATION,
            message=message,
            hint=hint,
            at_s=self._clock_s(),
            fact=fact,
        )
        await self._teller.commit([put], [event])


def _say(error: Exception) -> str:
    return str(error) or type(error).__name__
