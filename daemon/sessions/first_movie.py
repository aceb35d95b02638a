"""Mistakes that show only in the results, and that the first whole movie of a session gives away: told once a session.

A counting movie without a gain, a pixel size that the movie contradicts or that no microscope has, a dose that no
specimen bears, an aberration given in metres.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from daemon.domain.acquisition import Acquisition
from daemon.domain.movie import MovieFormat, MovieHeader
from daemon.errors import READ_AGAIN, AcquisitionUnknown, ElcanoError
from daemon.formats.detached import PatientCalls
from daemon.formats.movie import frame_count_after, read_movie_header
from daemon.messages.envelope import Event
from daemon.messages.events import SessionRef
from daemon.sessions.acquisition import complete_from_header
from daemon.sessions.telling import Teller, notice
from daemon.store import sessions
from daemon.store.changes import PutDecision, PutNotification

log = structlog.get_logger(__name__)

FIRST_MOVIE = "first_movie"
"""Key of the decision that holds what was told, by its kind."""

GAIN_MISSING = "gain_missing"
"""Kind of the notification; so are the next four."""
PIXEL_SIZE_CONTRADICTED = "pixel_size_contradicted"
PIXEL_SIZE_IMPLAUSIBLE = "pixel_size_implausible"
DOSE_IMPLAUSIBLE = "dose_implausible"
ABERRATION_IMPLAUSIBLE = "aberration_implausible"
FIRST_MOVIE_KINDS = (
    GAIN_MISSING,
    PIXEL_SIZE_CONTRADICTED,
    PIXEL_SIZE_IMPLAUSIBLE,
    DOSE_IMPLAUSIBLE,
    ABERRATION_IMPLAUSIBLE,
)

_COUNTING = ("int8", "uint8")
_CALIBRATION_SHARE = 0.1
"""By how much a calibrated pixel size may differ from the nominal one; neighbouring magnifications differ by more."""
_HEADER_DEFAULT_ANG = 1.0
"""What programs write that do not know it."""
_PIXEL_SIZES_ANG = (0.2, 10.0)
"""Between the finest super-resolution pixel and the coarsest in which Thon rings are seen."""
_MOST_DOSE_E_PER_ANG2 = 200.0
"""Far above any exposure of a single movie from which detail is wanted; 30 to 60 are usual."""
_MOST_DOSE_OF_A_FRAME_E_PER_ANG2 = 10.0
"""Of one of several frames; 0.5 to 2 are usual."""
_LEAST_ABERRATION_MM = 0.05
"""Of lenses that are not corrected, whose aberration is 0; less is a length in metres."""
_WHERE = f"in a [[session]] entry of config.toml or in session.json, {READ_AGAIN}."


@dataclass(frozen=True)
class Doubt:
    """One mistake: `given` is what somebody gave that the movie speaks against, None where nothing was given.

    `note` says it in short, without the session.
    """

    kind: str
    message: str
    hint: str
    note: str
    given: float | None = None


class FirstMovieCheck:
    """Looks at the first whole movie of a session whose header can be read."""

    def __init__(self, teller: Teller, session: SessionRef, clock_s: Callable[[], float], calls: PatientCalls) -> None:
        self._teller = teller
        self._session = session
        self._clock_s = clock_s
        self._calls = calls
        self._is_over = False

    async def look(self, path: Path, acquisition: Acquisition) -> None:
        """Look at a movie that is whole; with a header that cannot be read, the next movie is looked at."""
        if self._is_over:
            return
        try:
            header = await self._calls.call(path.parent, partial(read_movie_header, path))
        except ElcanoError as error:
            log.debug("no header to judge what was given by", path=str(path), reason=str(error))
            return
        self._is_over = True
        doubts = find_doubts(self._session.session, acquisition, header)
        if not doubts:
            return
        decided = await sessions.decisions(self._teller.store, self._session.session_id)
        told: dict[str, Any] = decided.get(FIRST_MOVIE, {})
        kept = {doubt.kind: {"given": doubt.given, "note": doubt.note} for doubt in doubts}
        notices = [self._notice(doubt) for doubt in doubts if told.get(doubt.kind) != kept[doubt.kind]]
        if notices:
            changes, told_events = zip(*notices, strict=True)
            decision = PutDecision(self._session.session_id, FIRST_MOVIE, {**told, **kept})
            await self._teller.commit([*changes, decision], told_events)

    def _notice(self, doubt: Doubt) -> tuple[PutNotification, Event]:
        log.warning(doubt.kind.replace("_", " "), session=self._session.session, said=doubt.message)
        return notice(
            self._teller.subjects,
            self._session,
            kind=doubt.kind,
            message=doubt.message,
            hint=doubt.hint,
            at_s=self._clock_s(),
        )


def find_doubts(session: str, acquisition: Acquisition, header: MovieHeader) -> list[Doubt]:
    """Return what a movie's header shows to be missing or mistaken in what is known of its session."""
    doubts = (
        _doubt_gain(session, acquisition, header),
        _doubt_pixel_size(session, acquisition, header),
        _doubt_scale(session, acquisition, header),
        _doubt_dose(session, acquisition, header),
        _doubt_aberration(session, acquisition),
    )
    return [doubt for doubt in doubts if doubt is not None]


def first_movie_notes(acquisition: Acquisition, decided: Mapping[str, Any]) -> list[str]:
    """Return what a status page says of it, as long as what was doubted is still what is given."""
    told = decided.get(FIRST_MOVIE, {})
    return [told[kind]["note"] for kind in FIRST_MOVIE_KINDS if kind in told and _holds(kind, acquisition, told)]


def settled_doubts(acquisition: Acquisition, decided: Mapping[str, Any]) -> set[str]:
    """Return the kinds of notification that were told of a first movie, of which none holds any more."""
    told = decided.get(FIRST_MOVIE, {})
    return {kind for kind in FIRST_MOVIE_KINDS if kind in told and not _holds(kind, acquisition, told)}


def _holds(kind: str, acquisition: Acquisition, told: Mapping[str, Any]) -> bool:
    """Whether what was doubted is still what is given."""
    still_given: dict[str, tuple[bool, float | None]] = {
        GAIN_MISSING: (acquisition.gain is None, None),
        PIXEL_SIZE_CONTRADICTED: (True, acquisition.pixel_size_ang),
        PIXEL_SIZE_IMPLAUSIBLE: (True, acquisition.pixel_size_ang),
        DOSE_IMPLAUSIBLE: (True, acquisition.dose_per_frame_e_per_ang2 or acquisition.total_dose_e_per_ang2),
        ABERRATION_IMPLAUSIBLE: (True, acquisition.spherical_aberration_mm),
    }
    applies, given = still_given[kind]
    # What an image alone was given, the session does not know.
    return applies and given in {None, told[kind]["given"]}


def _doubt_gain(session: str, acquisition: Acquisition, header: MovieHeader) -> Doubt | None:
    if acquisition.gain is not None or not _counts(header):
        return None
    return Doubt(
        GAIN_MISSING,
        f"No gain reference is known for {session}, and its movies hold counts: "
        "they are taken as if the camera had corrected them.",
        f"If it has not, give acquisition.gain {_WHERE}",
        "no gain reference is known: movies are taken as if the camera had corrected them",
    )


def _doubt_pixel_size(session: str, acquisition: Acquisition, header: MovieHeader) -> Doubt | None:
    given, said = acquisition.pixel_size_ang, header.pixel_size_ang
    if given is None or said is None or said == _HEADER_DEFAULT_ANG:
        return None
    if abs(said - given) <= _CALIBRATION_SHARE * given:
        return None
    both = f"{given:g} Å/px is given, and the movies say {said:g} Å/px"
    return Doubt(
        PIXEL_SIZE_CONTRADICTED,
        f"The pixel size of {session} is doubtful: {both}. What is given is used; if it is wrong, so are defocus and "
        "dose.",
        f"A movie's own pixel counts: in super-resolution, half the physical one. To change it, set "
        f"acquisition.pixel_size_ang {_WHERE}",
        f"the pixel size is doubtful: {both}",
        given,
    )


def _doubt_scale(session: str, acquisition: Acquisition, header: MovieHeader) -> Doubt | None:
    given = acquisition.pixel_size_ang
    used = given or header.pixel_size_ang
    lowest, highest = _PIXEL_SIZES_ANG
    if used is None or lowest <= used <= highest:
        return None
    which = f"{used:g} Å/px is given" if given is not None else f"the movies say {used:g} Å/px"
    return Doubt(
        PIXEL_SIZE_IMPLAUSIBLE,
        f"The pixel size of {session} is doubtful: {which}, and single particles are recorded with {lowest:g} to "
        f"{highest:g}. It is used as it is; if it is wrong, so are motion, defocus and dose, however sure they look.",
        f"It is in Å, not nm. To change it, set acquisition.pixel_size_ang {_WHERE}",
        f"the pixel size is doubtful: {which}",
        given,
    )


def _doubt_dose(session: str, acquisition: Acquisition, header: MovieHeader) -> Doubt | None:
    known = complete_from_header(acquisition, header)
    try:
        frames = frame_count_after(header, known.eer)
    except AcquisitionUnknown:
        return None  # fractions by dose, and no dose: the movie itself fails for it and says so
    dose = known.dose_per_frame(frames)
    most = _MOST_DOSE_E_PER_ANG2
    if frames > 1:
        most = min(most, frames * _MOST_DOSE_OF_A_FRAME_E_PER_ANG2)
    if dose is None or dose * frames <= most:
        return None
    in_all = f"{dose * frames:.0f} e⁻/Å² a movie ({dose:g} a frame, {frames} frames)"
    return Doubt(
        DOSE_IMPLAUSIBLE,
        f"The dose of {session} is doubtful: {in_all} is more than specimens get. It is used as it is given: "
        "sums are weighted for it.",
        "dose_per_frame_e_per_ang2 is that of one stored frame, total_dose_e_per_ang2 that of the movie. To change it, "
        f"set one of the two {_WHERE}",
        f"the dose is doubtful: {in_all}",
        acquisition.dose_per_frame_e_per_ang2 or acquisition.total_dose_e_per_ang2,
    )


def _doubt_aberration(session: str, acquisition: Acquisition) -> Doubt | None:
    given = acquisition.spherical_aberration_mm
    if given is None or not 0 < given < _LEAST_ABERRATION_MM:
        return None
    return Doubt(
        ABERRATION_IMPLAUSIBLE,
        f"The spherical aberration of {session} is doubtful: {given:g} mm is given and used.",
        f"It is in millimetres, not metres. To change it, set acquisition.spherical_aberration_mm {_WHERE}",
        f"the spherical aberration is doubtful: {given:g} mm is given",
        given,
    )


def _counts(header: MovieHeader) -> bool:
    """Whether frames hold what the camera counted; wider integers mostly hold what a program corrected and scaled."""
    return header.format is MovieFormat.EER or header.dtype in _COUNTING
