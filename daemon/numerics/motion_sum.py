"""The sum of a movie's frames along its motion: plain, dose-weighted, in halves, and the spectrum of its partial sums.

Sums, not means: every result keeps the mean level of the plain sum of the frames used. Pixels that a frame did not see,
because the specimen had moved out of it, are filled with that frame's mirrored edge.
"""

from collections.abc import Callable

from jaxtyping import Bool, Float
from torch import Tensor

from daemon.numerics.detector import FrameCorrection
from daemon.numerics.dose import ExposureWeights, mid_frame_exposures
from daemon.numerics.motion_field import MotionEstimate
from daemon.numerics.motion_plan import CorrectedMovie, SumPlan, partial_sums
from daemon.numerics.motion_sum_local import sum_along_field
from daemon.numerics.motion_sum_whole import sum_along_path
from daemon.numerics.movie_source import MovieSource

_BINNINGS = (1, 2, 4)


def correct_motion(
    movie_tyx: MovieSource,
    estimate: MotionEstimate,
    *,
    pixel_size_ang: float,
    gain_yx: Float[Tensor, "y x"] | None = None,
    defects_yx: Bool[Tensor, "y x"] | None = None,
    dark_yx: Float[Tensor, "y x"] | None = None,
    dose_per_frame_e_per_ang2: float | None = None,
    dose_weighting: bool = True,
    pre_exposure_e_per_ang2: float = 0.0,
    voltage_kv: float = 300.0,
    want_even_odd: bool = False,
    binning: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> CorrectedMovie:
    """Sum a movie along an estimated motion.

    With dose_weighting=False the dose only limits the partial sums behind the spectrum. Frames the estimate calls
    unusable are left out, unless it calls all of them so. Whole-frame motion is applied in Fourier space, exactly; a
    local field by splines (see warp for what they keep). Where binning > 1, sums are cut in Fourier space to pixels
    larger by that factor: pixel (0, 0) stays put, the mean level is kept. Memory beside the movie: about fifteen
    float32 images; of a source that keeps no frames, the raw frames of a batch as well. Raises ValueError for shapes,
    doses, voltages or a binning that can't be.
    """
    if binning not in _BINNINGS:
        raise ValueError(f"frames are binned by one of {_BINNINGS}, got {binning}")
    shape_yx = (int(movie_tyx.shape[1]), int(movie_tyx.shape[2]))
    frames = int(movie_tyx.shape[0])
    if estimate.shape_yx != shape_yx or estimate.frame_count != frames:
        raise ValueError(
            f"the motion is of {estimate.frame_count} frames of {estimate.shape_yx}, the movie {frames} of {shape_yx}"
        )
    used = [frame for frame in range(frames) if frame not in estimate.unusable_frames] or list(range(frames))
    weights = None
    if dose_per_frame_e_per_ang2 is not None and dose_weighting:
        exposures = mid_frame_exposures(
            frames, dose_per_frame_e_per_ang2, pre_exposure_e_per_ang2=pre_exposure_e_per_ang2
        )
        weights = ExposureWeights.of([exposures[frame] for frame in used], binning * pixel_size_ang, voltage_kv)
    plan = SumPlan(
        movie_tyx,
        FrameCorrection(shape_yx, gain_yx, defects_yx, dark_yx),
        tuple(partial_sums(used, dose_per_frame_e_per_ang2)),
        weights,
        want_even_odd,
        pixel_size_ang,
        binning,
    )

    def tell(share: float) -> None:
        if on_progress is not None:
            on_progress(int(share * len(used)), len(used))

    if estimate.local is None:
        return sum_along_path(plan, estimate.global_t2, tell)
    return sum_along_field(plan, estimate.global_t2, estimate.local, tell)
