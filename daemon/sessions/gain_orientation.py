"""Looks in the raw counts of a session's first movies how its gain reference lies on their frames.

With `orientation = "auto"` a movie waits for the look that decides, which in practice is the look at the first one, and
what was decided is kept before it is used. Movies that went on undecided are corrected by the next import, which
`on_found` asks for. Otherwise the look comes after the movie was offered, holds up nothing and only warns.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import numpy as np
import numpy.typing as npt
import structlog

from daemon.domain.acquisition import Acquisition, EerFractions, GainReference
from daemon.domain.movie import MovieFormat, MovieHeader
from daemon.domain.names import readable_path
from daemon.errors import ElcanoError, GainUnsuitable
from daemon.formats.camera_image import read_stored_image, turn_image
from daemon.formats.dark import read_dark
from daemon.formats.detached import PatientCalls
from daemon.formats.gain import divides
from daemon.formats.movie import iterate_frames, read_movie_header
from daemon.messages.events import SessionRef
from daemon.sessions.found_orientation import (
    GAIN_CHECKED,
    GAIN_ORIENTATION,
    CheckedOrientation,
    FoundOrientation,
    Why,
    all_turns,
    known_orientation,
    lie_alike,
    say_how,
    say_keys,
    say_reason,
)
from daemon.sessions.telling import Teller, notice
from daemon.store import sessions
from daemon.store.changes import PutDecision
from daemon.store.rows import encode_path

if TYPE_CHECKING:
    from daemon.numerics.gain_orientation import PatternEvidence

log = structlog.get_logger(__name__)

MOST_MOVIES = 4
"""Movies whose counts are added up: what they do not tell, the next ones will not either."""

_LIMIT_S = 300.0
_WHERE = (
    "under acquisition.gain in the [[session]] entry of config.toml or in session.json, "
    "then run `elcano import` with the session's directory"
)


@dataclass(frozen=True)
class _Counts:
    """Raw counts of movies added up, to be compared with one gain."""

    gain: GainReference
    sum_yx: npt.NDArray[np.float32]
    movies: int = 1


@dataclass(frozen=True)
class _Seen:
    """What a look has shown; `divides`: whether the gain divides frames of this format as it is configured."""

    counts: _Counts
    evidence: "PatternEvidence[GainReference]"
    divides: bool

    @property
    def is_final(self) -> bool:
        """Whether more movies would not help."""
        return self.evidence.doubt in {None, "flat"} or self.counts.movies >= MOST_MOVIES

    @property
    def is_as_configured(self) -> bool:
        """Whether the best orientation and operation are those that are configured."""
        return lie_alike(self.evidence.best, self.counts.gain) and self.evidence.divides == self.divides


class GainOrientation:
    """The orientation of one session's gain."""

    def __init__(
        self,
        teller: Teller,
        session: SessionRef,
        clock_s: Callable[[], float],
        on_found: Callable[[], None],
        *,
        limit_s: float = _LIMIT_S,
    ) -> None:
        """`on_found` is called when a gain lies otherwise than is configured; `limit_s`: how long a look may take."""
        self._teller = teller
        self._session = session
        self._clock_s = clock_s
        self._on_found = on_found
        self._calls = PatientCalls(limit_s)
        self._one_at_a_time = anyio.Lock()
        self._counts: _Counts | None = None
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
            if self._found is not None and self._found.path == encode_path(gain.path):
                return self._found
            seen = await self._look(path, acquisition, gain)
            if seen is None or not seen.is_final:
                return None
            self._found = await self._decide(seen)
            self._counts = None
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
            if self._checked is not None and self._checked.is_of(gain):
                return
            seen = await self._look(path, acquisition, gain)
            if seen is None or not seen.is_final:
                return
            self._checked, self._counts = await self._warn(seen), None

    async def _look(self, path: Path, acquisition: Acquisition, gain: GainReference) -> _Seen | None:
        """Add a movie's counts to those before and weigh them; None where movie or gain cannot be read."""
        before = self._counts if self._counts is not None and self._counts.gain == gain else None
        try:
            seen = await self._calls.call(path.parent, partial(_weigh, path, acquisition, gain, before))
        except (ElcanoError, OSError, ValueError) as error:
            # Whoever processes the movie tells of it: it needs both files.
            log.info("orientation of the gain not looked for", movie=readable_path(path), reason=str(error))
            return None
        self._counts = seen.counts
        evidence = seen.evidence
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

    async def _decide(self, seen: _Seen) -> FoundOrientation:
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
        )
        change = PutDecision(self._session.session_id, GAIN_ORIENTATION, asdict(found))
        how = say_how(gain, divides=found.divides)
        if found.doubt is None:
            keys = say_keys(gain, divides=evidence.divides)
            message = f"The gain reference {readable_path(gain.path)} fits the movies of {name} {how} ({_proof(seen)})."
            hint = f"It is used so. To fix it for all sessions of this camera: {keys}."
            await self._tell(message, hint, change, gain, is_warning=False)
        else:
            message = f"{say_reason(found.doubt, gain)}. In {name} it is used as it is configured: {how}."
            await self._tell(message, f"If that is wrong, set rotate_deg, flip and operation {_WHERE}.", change, gain)
        return found

    async def _warn(self, seen: _Seen) -> CheckedOrientation:
        """Keep that a gain was compared; tell it where it is used otherwise than the movies show."""
        evidence, gain = seen.evidence, seen.counts.gain
        checked = CheckedOrientation.of(gain)
        is_contradicted = evidence.doubt is None and not seen.is_as_configured
        if is_contradicted:
            checked = replace(checked, fits=say_how(evidence.best, divides=evidence.divides))
        change = PutDecision(self._session.session_id, GAIN_CHECKED, asdict(checked))
        if not is_contradicted:
            await self._teller.commit([change], [])
            return checked
        used = say_how(gain, divides=seen.divides)
        message = (
            f"The gain reference {readable_path(gain.path)} of {self._session.session} is used {used}, but its movies "
            f"show that it fits {checked.fits} ({_proof(seen)}): the sums carry the camera's pattern."
        )
        keys = say_keys(evidence.best, divides=evidence.divides)
        await self._tell(message, f'Set {keys}, or orientation = "auto", {_WHERE}.', change, gain)
        return checked

    async def _tell(
        self, message: str, hint: str, change: PutDecision, gain: GainReference, *, is_warning: bool = True
    ) -> None:
        tell = log.warning if is_warning else log.info
        tell("gain orientation", session=self._session.session, said=message)
        put, event = notice(
            self._teller.subjects,
            self._session,
            kind=GAIN_ORIENTATION,
            message=message,
            hint=hint,
            at_s=self._clock_s(),
            severity="warning" if is_warning else "info",
            fact=f"{readable_path(gain.path)} {gain.rotate_deg} {gain.flip} {gain.operation}",
        )
        await self._teller.commit([change, put], [event])


def _proof(seen: _Seen) -> str:
    evidence, movies = seen.evidence, seen.counts.movies
    return (
        f"evidence {evidence.fit_sigma:.0f} σ from {movies} movie{'s' if movies > 1 else ''}, "
        f"{evidence.margin_sigma:.0f} σ before the next best orientation"
    )


def _weigh(path: Path, acquisition: Acquisition, gain: GainReference, before: _Counts | None) -> _Seen:
    """Read a movie and the gain and compare them. Raises what reading them raises, and ValueError."""
    # Brings scipy, which a daemon that waits for its first movie does without.
    from daemon.numerics.gain_orientation import central_part, gain_pattern, weigh_orientations  # noqa: PLC0415

    header = read_movie_header(path)
    sum_yx = _sum_counts(header, acquisition, central_part(header.shape_yx))
    counts = _Counts(gain, sum_yx)
    if before is not None and before.sum_yx.shape == sum_yx.shape:
        counts = _Counts(gain, sum_yx + before.sum_yx, before.movies + 1)
    stored_yx = read_stored_image(gain.path)
    if stored_yx.ndim != 2:
        raise GainUnsuitable(gain.path, f"it holds {stored_yx.shape[0]} images where one is expected")
    pattern_yx = gain_pattern(stored_yx[central_part(stored_yx.shape)])
    patterns = {turned: turn_image(pattern_yx, turned) for turned in all_turns(gain)}
    return _Seen(counts, weigh_orientations(counts.sum_yx, patterns), divides(gain, header))


def _sum_counts(header: MovieHeader, acquisition: Acquisition, middle: tuple[slice, slice]) -> npt.NDArray[np.float32]:
    """Return the middle of the sum of all raw frames less their dark."""
    height, width = (part.stop - part.start for part in middle)
    total_yx = np.zeros((height, width), dtype=np.float32)
    frames = 0
    for frame_yx in iterate_frames(header, eer=EerFractions(fractions=1)):
        total_yx += frame_yx[middle]
        frames += 1
    if acquisition.dark is not None and header.format is not MovieFormat.EER:
        total_yx -= frames * read_dark(acquisition.dark, header)[middle]
    return total_yx
