"""What is to be summed of a movie, and what comes out."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor

from daemon.numerics.detector import FrameCorrection
from daemon.numerics.dose import ExposureWeights
from daemon.numerics.movie_source import MovieSource
from daemon.numerics.spectrum import MovieSpectrum

_PARTIAL_SUM_E_PER_ANG2 = 8.0
_PARTIAL_SUMS_WITHOUT_DOSE = 6


@dataclass(frozen=True)
class SumPlan:
    """Frames in the parts that they are summed in, one row of weights for each frame, in that order, or none.

    pixel_size_ang: of the frames; sums are cut in Fourier space to pixels that are `binning` times larger, and weights
    are by ring of those.
    """

    movie_tyx: MovieSource
    correction: FrameCorrection
    parts: tuple[tuple[int, ...], ...]
    weights: ExposureWeights | None
    want_even_odd: bool
    pixel_size_ang: float
    binning: int = 1

    @property
    def shape_yx(self) -> tuple[int, int]:
        """Rows and columns of a frame."""
        return int(self.movie_tyx.shape[1]), int(self.movie_tyx.shape[2])

    @property
    def frames(self) -> tuple[int, ...]:
        """All frames that are summed, in order."""
        return tuple(frame for part in self.parts for frame in part)


@dataclass(frozen=True)
class CorrectedMovie:
    """Motion-corrected sums, float32, all at the mean level of the sum of the frames used, binned or not.

    weighted_yx: filtered by exposure, Σ q_t Y_t √(T / Σ q_t²), so that noise is as white and as strong as in the
    plain sum; None when the dose is unknown or no weighting was wanted. even_yx, odd_yx: frames 0, 2, … and 1, 3, …
    of the weighted sum (of the plain one where there is none); the two add up to it. spectrum: of plain partial sums of
    about 8 e⁻/Å² (a sixth of the movie without a dose), which together hold every frame used, and of the plain sum.
    """

    unweighted_yx: Float[Tensor, "y x"]
    weighted_yx: Float[Tensor, "y x"] | None
    even_yx: Float[Tensor, "y x"] | None
    odd_yx: Float[Tensor, "y x"] | None
    spectrum: MovieSpectrum


def partial_sums(frames: list[int], dose_per_frame_e_per_ang2: float | None) -> Iterator[tuple[int, ...]]:
    """Split frames into consecutive parts, as equal as can be, of about 8 e⁻/Å² each."""
    count = _PARTIAL_SUMS_WITHOUT_DOSE
    if dose_per_frame_e_per_ang2 is not None:
        count = round(len(frames) * dose_per_frame_e_per_ang2 / _PARTIAL_SUM_E_PER_ANG2)
    count = max(1, min(count, len(frames)))
    edges = [round(index * len(frames) / count) for index in range(count + 1)]
    for first, last in pairwise(edges):
        yield tuple(frames[first:last])
