"""One look at how a gain lies: a movie's raw counts, added to those before, against the gain. It blocks and is long."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from daemon.domain.acquisition import Acquisition, EerFractions, GainReference
from daemon.domain.movie import FileIdentity, MovieFormat, MovieHeader
from daemon.errors import ElcanoError, GainUnsuitable
from daemon.formats.camera_image import check_fit, read_stored_image, turn_image
from daemon.formats.dark import read_dark
from daemon.formats.gain import divides
from daemon.formats.movie import iterate_frames, read_movie_header
from daemon.sessions.found_orientation import all_turns, lie_alike

if TYPE_CHECKING:
    from daemon.numerics.gain_orientation import PatternEvidence

MOST_MOVIES = 4
"""Movies whose counts are added up: what they do not tell, the next ones will not either."""


class GainRefused(Exception):
    """The gain, as its file is now, is none for movies of this shape: no movie need be decoded."""


@dataclass(frozen=True)
class GainStamp:
    """A gain's file and the shape of frames that it is asked for: what was refused once is refused again."""

    gain: FileIdentity
    shape_yx: tuple[int, int]


@dataclass(frozen=True)
class Counts:
    """Raw counts of movies added up, to be compared with one gain, as it is configured and as its bytes are."""

    gain: GainReference
    sha256: str | None
    sum_yx: npt.NDArray[np.float32]
    movies: int = 1


@dataclass(frozen=True)
class Seen:
    """What a look has shown; `divides`: whether the gain divides frames of this format as it is configured."""

    counts: Counts
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


def stamp_gain(movie: Path, gain: Path) -> GainStamp:
    """Return what decides whether this gain need be read at all. Raises OSError and what reading a header raises."""
    status = gain.stat()
    return GainStamp(FileIdentity(gain, status.st_size, status.st_mtime_ns), read_movie_header(movie).shape_yx)


def weigh(path: Path, acquisition: Acquisition, gain: GainReference, sha256: str | None, before: Counts | None) -> Seen:
    """Read the gain, then a movie, and compare them. Raises what reading them raises, ValueError and GainRefused."""
    # Brings scipy, which a daemon that waits for its first movie does without.
    from daemon.numerics.gain_orientation import weigh_orientations  # noqa: PLC0415

    header = read_movie_header(path)
    pattern_yx = _read_pattern(gain, header)
    counts = Counts(gain, sha256, _sum_counts(header, acquisition))
    if before is not None and before.sum_yx.shape == counts.sum_yx.shape:
        counts = Counts(gain, sha256, counts.sum_yx + before.sum_yx, before.movies + 1)
    patterns = {turned: turn_image(pattern_yx, turned) for turned in all_turns(gain)}
    return Seen(counts, weigh_orientations(counts.sum_yx, patterns), divides(gain, header))


def _read_pattern(gain: GainReference, header: MovieHeader) -> npt.NDArray[np.float32]:
    """Return the middle of the gain's pattern as it is stored. Raises GainRefused and, where a later try may do, more.

    It is read before the movie is: where there is no use in it, thousands of frames need not be decoded.
    """
    from daemon.numerics.gain_orientation import central_part, gain_pattern  # noqa: PLC0415

    try:
        stored_yx = read_stored_image(gain.path)
        if stored_yx.ndim != 2:
            raise GainUnsuitable(gain.path, f"it holds {stored_yx.shape[0]} images where one is expected")
        if stored_yx.shape != header.shape_yx[::-1]:
            check_fit(stored_yx.shape, gain, header, GainUnsuitable)
        return gain_pattern(stored_yx[central_part(stored_yx.shape)])
    except (ElcanoError, ValueError) as error:
        if isinstance(error, ElcanoError) and error.retryable:
            raise
        raise GainRefused(str(error)) from error


def _sum_counts(header: MovieHeader, acquisition: Acquisition) -> npt.NDArray[np.float32]:
    """Return the middle of the sum of all raw frames less their dark."""
    from daemon.numerics.gain_orientation import central_part  # noqa: PLC0415

    middle = central_part(header.shape_yx)
    dark_yx: npt.NDArray[np.float32] | None = None
    if acquisition.dark is not None and header.format is not MovieFormat.EER:
        dark_yx = read_dark(acquisition.dark, header)[middle]
    height, width = (part.stop - part.start for part in middle)
    total_yx = np.zeros((height, width), dtype=np.float32)
    frames = 0
    for frame_yx in iterate_frames(header, eer=EerFractions(fractions=1)):
        total_yx += frame_yx[middle]
        frames += 1
    if dark_yx is not None:
        total_yx -= frames * dark_yx
    return total_yx
