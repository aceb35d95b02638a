"""Looks in the raw counts of a session's first movies how its gain reference lies on their frames.

With `orientation = "auto"` a movie waits for the look that decides, which in practice is the look at the first one, and
what was decided is kept before it is used. Movies that went on undecided are corrected by the next import, which
`on_found` asks for. Otherwise the look comes after the movie was offered, holds up nothing and only warns.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import anyio
import structlog

from daemon.domain.acquisition import Acquisition, GainReference
from daemon.domain.names import readable_path
from daemon.errors import READ_AGAIN
from daemon.messages.events import SessionRef
from daemon.sessions.found_orientation import (
    GAIN_CHECKED,
    GAIN_ORIENTATION,
    CheckedOrientation,
    FoundOrientation,
    Why,
    known_orientation,
    say_asked,
    say_how,
    say_keys,
    say_reason,
    say_remedy,
)
from daemon.sessions.gain_evidence import MOST_MOVIES, Seen
from daemon.sessions.gain_looks import GainLooks
from daemon.sessions.telling import Teller, notice
from daemon.store import sessions
from daemon.store.changes import PutDecision
from daemon.store.rows import encode_path

log = structlog.get_logger(__name__)

_LIMIT_S = 300.0
_WHERE = f"under acquisition.gain in the [[session]] entry of config.toml or in session.json, {READ_AGAIN}"


class GainOrientation:
    """The orientation of one session's gain."""

    def __init__(
        self,
        teller: Teller,
        session: SessionRef,
        clock_s: Callable[[], float],
        on_found: Callable[[], None],
        *,
        configured: Callable[[], Acquisition],
        hash_gain: Callable[[Path], Awaitable[str | None]],
        limit_s: float = _LIMIT_S,
    ) -> None:
        """`on_found` is called when a gain lies otherwise than is configured; `configured`: how the session is now.

        `hash_gain` returns the sha256 of a gain, None where it cannot be read: one that is written anew is another.
        `limit_s`: how long a look may take.
        """
        self._teller = teller
        self._session = session
        self._clock_s = clock_s
        self._on_found = on_found
        self._configured = configured
        self._hash_gain = hash_gain
        self._looks = GainLooks(teller, session, clock_s, limit_s)
        self._one_at_a_time = anyio.Lock()
        self._found: FoundOrientation | None = None
        self._checked: CheckedOrientation | None = None

    async def find(self, path: Path, acquisition: Acquisition) -> FoundOrientation | None:
        """Return what is decided of this gain, looking at the movie while nothing is; None while nothing is, or asked.

        Others wait meanwhile: what the first movie shows is there for all of them.
        """
        gain = acquisition.gain
        if gain is None or gain.orientation != "auto":
            return None
        async with self._one_at_a_time:
            if self._found is None:
                self._found = await known_orientation(self._teller.store, self._session.session_id)
            gain, sha256 = self._as_configured(gain), await self._hash_gain(gain.path)
            if self._found is not None and self._found.is_of(gain, sha256):
                return self._found
            seen = await self._looks.look(path, acquisition, gain, sha256)
            if seen is None or not seen.is_final:
                return None
            self._found = await self._decide(seen)
            self._looks.forget()
        if self._found.turn(acquisition) != acquisition:
            self._on_found()
        return self._found

    async def find_in(self, movies: Sequence[tuple[Path, Acquisition]]) -> None:
        """Look at movies that were whole before anyone asked how their gain lies."""
        asked = [movie for movie in movies if movie[1].gain is not None and movie[1].gain.orientation == "auto"]
        for path, acquisition in asked[:MOST_MOVIES]:
            if await self.find(path, acquisition) is not None:
                return

    async def check(self, path: Path, acquisition: Acquisition) -> None:
        """Compare a gain that is used as it is configured with a movie; say once when the movies contradict it."""
        gain = acquisition.gain
        if gain is None or gain.orientation != "as_is" or self._one_at_a_time.locked():
            return
        async with self._one_at_a_time:
            if self._checked is None:
                kept = await sessions.decisions(self._teller.store, self._session.session_id)
                self._checked = CheckedOrientation(**kept[GAIN_CHECKED]) if GAIN_CHECKED in kept else None
            sha256 = await self._hash_gain(gain.path)
            if self._checked is not None and self._checked.is_of(gain, sha256):
                return
            seen = await self._looks.look(path, acquisition, gain, sha256)
            if seen is None or not seen.is_final:
                return
            self._checked = await self._warn(seen)
            self._looks.forget()

    def _as_configured(self, gain: GainReference) -> GainReference:
        """Return the gain as somebody configured it: an image has it as it was found to lie."""
        configured = self._configured().gain
        return configured if configured is not None and configured.path == gain.path else gain

    async def _decide(self, seen: Seen) -> FoundOrientation:
        """Keep what the movies say of the gain, and tell it."""
        evidence, configured, name = seen.evidence, seen.counts.gain, self._session.session
        gain = configured
        doubt: Why | None = evidence.doubt
        operation: Any = "divide" if evidence.divides else "multiply"
        is_against = configured.operation not in {"auto", operation}
        if doubt is None and not seen.is_as_configured and not is_against:
            gain = replace(evidence.best, operation=operation)
        doubt = "contradicted" if doubt is None and is_against else doubt
        found = FoundOrientation(
            path=encode_path(gain.path),
            rotate_deg=gain.rotate_deg,
            flip=gain.flip,
            operation=gain.operation,
            divides=evidence.divides if doubt is None else seen.divides,
            doubt=doubt,
            movies=seen.counts.movies,
            fit_sigma=round(evidence.fit_sigma, 2),
            margin_sigma=round(evidence.margin_sigma, 2),
            strength=round(evidence.strength, 4),
            sha256=seen.counts.sha256,
            asked=say_asked(configured),
        )
        change = PutDecision(self._session.session_id, GAIN_ORIENTATION, asdict(found))
        how = say_how(gain, divides=found.divides)
        if found.doubt is None:
            keys = say_keys(gain, divides=evidence.divides)
            message = f"The gain reference {readable_path(gain.path)} fits the movies of {name} {how} ({_proof(seen)})."
            hint = f"It is used so. To fix it for all sessions of this camera: {keys}."
            await self._tell(message, hint, change, seen, gain, is_warning=False)
        else:
            message = f"{say_reason(found.doubt, gain)}. In {name} it is used as it is configured: {how}."
            await self._tell(
                message, f"If that is wrong, set rotate_deg, flip and operation {_WHERE}.", change, seen, gain
            )
        return found

    async def _warn(self, seen: Seen) -> CheckedOrientation:
        """Keep that a gain was compared; tell it where it is used otherwise than the movies show."""
        evidence, gain = seen.evidence, seen.counts.gain
        checked = CheckedOrientation.of(gain, seen.counts.sha256)
        is_contradicted = evidence.doubt is None and not seen.is_as_configured
        if is_contradicted:
            keys = say_keys(evidence.best, divides=evidence.divides)
            checked = replace(checked, fits=say_how(evidence.best, divides=evidence.divides), keys=keys)
        change = PutDecision(self._session.session_id, GAIN_CHECKED, asdict(checked))
        if not is_contradicted:
            await self._teller.commit([change], [])
            return checked
        used = say_how(gain, divides=seen.divides)
        message = (
            f"The gain reference {readable_path(gain.path)} of {self._session.session} is used {used}, but its movies "
            f"show that it fits {checked.fits} ({_proof(seen)}): the sums carry the camera's pattern."
        )
        await self._tell(message, say_remedy(checked.keys or ""), change, seen, gain)
        return checked

    async def _tell(
        self, message: str, hint: str, change: PutDecision, seen: Seen, gain: GainReference, *, is_warning: bool = True
    ) -> None:
        tell = log.warning if is_warning else log.info
        tell("gain orientation", session=self._session.session, said=message, hint=hint)
        put, event = notice(
            self._teller.subjects,
            self._session,
            kind=GAIN_ORIENTATION,
            message=message,
            hint=hint,
            at_s=self._clock_s(),
            severity="warning" if is_warning else "info",
            fact=f"{readable_path(gain.path)} {say_asked(gain)} {seen.counts.sha256}",
        )
        await self._teller.commit([change, put], [event])


def _proof(seen: Seen) -> str:
    evidence, movies = seen.evidence, seen.counts.movies
    return (
        f"evidence {evidence.fit_sigma:.0f} σ from {movies} movie{'s' if movies > 1 else ''}, "
        f"{evidence.margin_sigma:.0f} σ before the next best orientation"
    )
