"""Motion of a movie: how the specimen moved, and the sum of its frames as if it had not.

`estimate_motion` finds a smooth whole-frame path and, where the data support one, a smooth local field;
`correct_motion` (daemon.numerics.motion_sum) applies them. Shifts d follow docs/conventions.md: a specimen point at p
in the reference frame, the first one, is seen at p + d(p, t) in frame t; unbinned px, columns (x, y).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.interpolate import CubicSpline
from torch import Tensor

from daemon.numerics.detector import FrameCorrection
from daemon.numerics.frame_faults import FrameFaults
from daemon.numerics.motion_coarse import CoarseMovie, CorrelationBand
from daemon.numerics.motion_correlation import Correlation, correlate_frames
from daemon.numerics.motion_field import LocalField, MotionEstimate, grid_axis
from daemon.numerics.motion_jumps import doubt_strangers
from daemon.numerics.motion_local import LocalFit, fit_local_field
from daemon.numerics.motion_options import TOO_SMALL, TOO_UNSURE, MotionOptions
from daemon.numerics.motion_patches import Fading, FrameGroups, cut_patches, group_by_exposure
from daemon.numerics.motion_plan import CorrectedMovie
from daemon.numerics.motion_reduction import ReducedMovie, group_frames, reduce_movie
from daemon.numerics.motion_sum import correct_motion
from daemon.numerics.motion_whole import WholeMotion, fit_whole_frame
from daemon.numerics.movie_source import MovieSource
from daemon.numerics.parallel import only_side_by_side
from daemon.numerics.sentences import say_below

__all__ = ["CorrectedMovie", "LocalField", "MotionEstimate", "MotionOptions", "correct_motion", "estimate_motion"]

_COARSEST_ANG = 100.0
_COARSE_RESOLUTION_ANG = 12.0
_TYPICAL_EXPOSURE_E_PER_ANG2 = 40.0
_GRID_NODES = 13
_SMALLEST_PATCH = 24
_MOST_PATCHES = 14
_LARGEST_JUMP_ANG = 20.0
_SIGNAL_SIGMA = 5.0
# With less, now and then a path is found that agrees by chance; and an error of a pixel blurs what is sought.
_SURE_SIGMA = 8.0
_TOLERABLE_ERROR_PX = 1.0
# The likelihood takes the specimen for one and the same in all frames. Proteins fade and ice is renewed, which leaves
# slow errors, and this many times the variance: the median of simulated movies of many kinds.
_CHANGING_SPECIMEN = 1.8


@only_side_by_side()
def estimate_motion(
    movie_tyx: MovieSource,
    *,
    pixel_size_ang: float,
    gain_yx: Float[Tensor, "y x"] | None = None,
    defects_yx: Bool[Tensor, "y x"] | None = None,
    dark_yx: Float[Tensor, "y x"] | None = None,
    dose_per_frame_e_per_ang2: float | None = None,
    options: MotionOptions | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> MotionEstimate:
    """Estimate whole-frame and local motion of a movie of any integer or float type.

    The dose only sets the clock by which motion slows down and specimens fade; 40 e⁻/Å² in all are assumed without it.
    Memory beside the movie: two stacks cut to the resolution limit, 4 bytes per coefficient, and a dozen float32 planes
    cut like them for each thread. Raises ValueError for shapes that don't fit, a pixel size that isn't positive and,
    where no defects are given, movies with non-finite values.
    """
    _check(movie_tyx, pixel_size_ang, defects_are_known=defects_yx is not None)
    options = options or MotionOptions()
    frames = int(movie_tyx.shape[0])
    shape_yx = (int(movie_tyx.shape[1]), int(movie_tyx.shape[2]))
    correction = FrameCorrection(shape_yx, gain_yx, defects_yx, dark_yx)
    if frames == 1:
        return _motionless(shape_yx, frames, "a movie of one frame shows no motion", 0.0, (), FrameFaults())
    progress = _Progress(frames + 3, on_progress)
    band = _Band.of(pixel_size_ang, options)
    groups = group_frames(frames, options.most_frames)
    reduced = reduce_movie(
        movie_tyx, correction, highest_frequency_per_px=band.highest, groups=groups, on_group=progress.advance
    )
    exposure_t = (reduced.centre_t + 0.5) * (dose_per_frame_e_per_ang2 or _TYPICAL_EXPOSURE_E_PER_ANG2 / frames)
    if len(reduced.usable) < 2:
        nothing = "fewer than two frames show an image"
        return _motionless(shape_yx, frames, nothing, 0.0, reduced.unusable(groups), reduced.faults)
    start = correlate_frames(reduced, band.coarse, exposure_t)
    reduced = reduced.without(start.strangers)
    unusable = reduced.unusable(groups)
    if start.signal_sigma < _SIGNAL_SIGMA:
        signal = f"{say_below(start.signal_sigma)} σ of coherent signal"
        nothing = f"nothing to align was found ({signal}, {_SIGNAL_SIGMA:g} needed)"
        return _motionless(shape_yx, frames, nothing, start.signal_sigma, unusable, reduced.faults)
    whole = _fit_whole(reduced, start, band, exposure_t, options)
    progress.advance(1)
    counts_yx, reason = _patch_counts(shape_yx, reduced, pixel_size_ang, options)
    local: _LocalMotion | None = None
    unseen_px2 = 0.0
    if counts_yx is not None:
        local, reason, unseen_px2 = _fit_local(reduced, whole, band, exposure_t, counts_yx, shape_yx, options)
    progress.advance(2)
    error_px = _expected_error_px(whole, local, unseen_px2)
    found = _assemble(shape_yx, frames, reduced, whole, local, reason)
    return replace(
        found,
        expected_error_px=error_px,
        doubt=_doubt(start.signal_sigma, error_px, whole, CoarseMovie(reduced, band.coarse), reduced.usable),
        signal_sigma=start.signal_sigma,
        unusable_frames=unusable,
        faults=reduced.faults,
    )


def _check(movie_tyx: MovieSource, pixel_size_ang: float, *, defects_are_known: bool) -> None:
    if len(movie_tyx.shape) != 3 or movie_tyx.shape[0] < 1 or min(movie_tyx.shape[1:]) < 64:
        raise ValueError(f"a movie needs frames of at least 64×64 px, got shape {tuple(movie_tyx.shape)}")
    if not (math.isfinite(pixel_size_ang) and pixel_size_ang > 0):
        raise ValueError(f"pixel_size_ang must be positive, got {pixel_size_ang}")
    # Whoever looked for defects found those pixels (find_defects), and they are repaired.
    if (
        movie_tyx.dtype.is_floating_point
        and not defects_are_known
        and not all(bool(torch.isfinite(movie_tyx[frame]).all()) for frame in range(movie_tyx.shape[0]))
    ):
        raise ValueError("the movie holds values that are not finite")


class _Progress:
    """Counts steps towards a total and tells whoever listens."""

    def __init__(self, total: int, listener: Callable[[int, int], None] | None) -> None:
        self._done, self._total, self._listener = 0, total, listener

    def advance(self, steps: int) -> None:
        self._done += steps
        if self._listener is not None:
            self._listener(self._done, self._total)


@dataclass(frozen=True)
class _Band:
    """Frequencies in cycles per pixel that motion is read from, at first and in the end."""

    coarse: CorrelationBand
    lowest: float
    highest: float
    pixel_size_ang: float

    @staticmethod
    def of(pixel_size_ang: float, options: MotionOptions) -> "_Band":
        highest = min(pixel_size_ang / options.resolution_limit_ang, 0.48)
        lowest = min(pixel_size_ang / _COARSEST_ANG, highest / 8)
        coarse = CorrelationBand(
            lowest,
            min(pixel_size_ang / _COARSE_RESOLUTION_ANG, highest),
            options.b_factor_ang2 / pixel_size_ang**2,
            options.largest_shift_ang / pixel_size_ang,
            _LARGEST_JUMP_ANG / pixel_size_ang,
        )
        return _Band(coarse, lowest, highest, pixel_size_ang)


@dataclass(frozen=True)
class _LocalMotion:
    """Local fit, and the groups of frames that it knows."""

    fit: LocalFit
    groups: FrameGroups


def _fit_whole(
    reduced: ReducedMovie, start: Correlation, band: _Band, exposure_t: Tensor, options: MotionOptions
) -> WholeMotion:
    return fit_whole_frame(
        reduced,
        start.shift_t2,
        exposure_t,
        start.jumps,
        coarse=band.coarse,
        lowest=band.lowest,
        highest=band.highest,
        iterations=options.iterations,
    )


def _patch_counts(
    shape_yx: tuple[int, int], reduced: ReducedMovie, pixel_size_ang: float, options: MotionOptions
) -> tuple[tuple[int, int] | None, str | None]:
    """Rows and columns of patches, or why there are none."""
    if not options.local:
        return None, None
    if len(reduced.usable) < 3:
        return None, "local motion needs at least three usable frames"
    if options.patches_yx is not None:
        counts = options.patches_yx
    else:
        rows, columns = (min(_MOST_PATCHES, round(size * pixel_size_ang / options.patch_ang)) for size in shape_yx)
        counts = (rows, columns)
    if min(counts) < 2 or min(reduced.shape_yx[axis] // counts[axis] for axis in (0, 1)) < _SMALLEST_PATCH:
        return None, f"{TOO_SMALL} ({shape_yx[1]} × {shape_yx[0]} px)"
    return counts, None


def _fit_local(
    reduced: ReducedMovie,
    whole: WholeMotion,
    band: _Band,
    exposure_t: Tensor,
    counts_yx: tuple[int, int],
    shape_yx: tuple[int, int],
    options: MotionOptions,
) -> tuple[_LocalMotion | None, str | None, float]:
    """Fit the local field; it is dropped, with the reason, unless held-out patches and evidence both favour it.

    Last what local motion, as far as the data allow any, adds to the error without a field: px² an axis.
    """
    # A pattern that stands still while the specimen moves is told from it frame by frame.
    groups = group_by_exposure(exposure_t, alone=whole.pattern is not None)
    start_t2 = whole.fit.shift_t2
    fading = None if whole.pattern is not None else Fading(groups.exposure_g, band.pixel_size_ang)
    patches = cut_patches(
        reduced, start_t2, groups, counts_yx, lowest=band.lowest, image_shape_yx=shape_yx, fading=fading
    )
    longest = max(shape_yx)
    x, y = grid_axis(shape_yx[1], _GRID_NODES) / longest, grid_axis(shape_yx[0], _GRID_NODES) / longest
    targets = torch.stack([x.repeat(_GRID_NODES), y.repeat_interleave(_GRID_NODES)], dim=1)
    fit = fit_local_field(
        patches,
        groups.mean(start_t2),
        whole.fit.information,
        groups.exposure_g,
        targets,
        lowest=band.lowest,
        highest_levels=(band.coarse.highest, band.highest),
        iterations=options.iterations,
        jumps=None if whole.jumps is None else whole.jumps.averaged(groups.mean),
        pattern=None if whole.pattern is None else whole.pattern.power,
    )
    if fit.held_out_gain > 0 and fit.log_evidence > 1:
        return _LocalMotion(fit, groups), None, 0.0
    reason = "motion of single parts of the image is too weak to be measured: all of it was moved as one"
    return None, reason, fit.unevenness_px2


def _expected_error_px(whole: WholeMotion, local: _LocalMotion | None, unseen_px2: float) -> float:
    """2-D RMS over frames and field; a fixed pattern takes along a part of what frames have in common."""
    variance = float(whole.fit.variance_t.mean())
    if local is not None:
        fit, groups = local.fit, local.groups
        if fit.path_variance_t is not None:
            variance = float(groups.spread(fit.path_variance_t).mean())
        variance += float(groups.spread(fit.field_variance_mt.mean(dim=0)).mean())
    share = 0.0 if whole.pattern is None else whole.pattern.share
    return math.sqrt(2 * (_CHANGING_SPECIMEN * variance * (1 + share / (1 + share)) + unseen_px2))


def _doubt(
    signal_sigma: float, error_px: float, whole: WholeMotion, coarse: CoarseMovie, usable: list[int]
) -> str | None:
    """Why the motion found should not be believed, None where it may be."""
    if signal_sigma < _SURE_SIGMA:
        return (
            f"frames have little in common ({say_below(signal_sigma)} σ of coherent signal, {_SURE_SIGMA:g} to be sure)"
        )
    if error_px > _TOLERABLE_ERROR_PX:
        return f"{TOO_UNSURE} {error_px:.1f} px is to be expected"
    return doubt_strangers(coarse, whole.fit.shift_t2, usable) or whole.doubt


def _motionless(
    shape_yx: tuple[int, int],
    frames: int,
    reason: str,
    signal_sigma: float,
    unusable: tuple[int, ...],
    faults: FrameFaults,
) -> MotionEstimate:
    """No motion, and why; the error to be expected is unknown."""
    still_t2 = torch.zeros(frames, 2, dtype=torch.float64)
    error = 0.0 if frames == 1 else math.inf
    residual_t = torch.zeros(frames, dtype=torch.float64)
    return MotionEstimate(
        shape_yx, still_t2, None, reason, error, residual_t, signal_sigma, 0.0, unusable, faults=faults
    )


def _assemble(
    shape_yx: tuple[int, int],
    frames: int,
    reduced: ReducedMovie,
    whole: WholeMotion,
    local: _LocalMotion | None,
    reason: str | None,
) -> MotionEstimate:
    """Bring path and field to single frames and to a reference that is the first frame; what they are worth aside."""
    frame_t = torch.arange(frames, dtype=torch.float64)
    path_t2 = whole.fit.shift_t2
    field = None
    if local is not None:
        fit, groups = local.fit, local.groups
        centre_g = groups.mean(reduced.centre_t)
        change_t2 = _at_times(fit.path_t2 - groups.mean(path_t2), centre_g, reduced.centre_t)
        path_t2 = path_t2 + change_t2
        grid_tyx2 = fit.field_mt2.permute(1, 0, 2).reshape(-1, _GRID_NODES, _GRID_NODES, 2)
        grid_tyx2 = _at_times(grid_tyx2, centre_g, frame_t)
        grid_tyx2 = grid_tyx2 - grid_tyx2[:1]
        # The mean over the field belongs to the whole frame.
        mean_t2 = grid_tyx2.mean(dim=(1, 2))
        field = LocalField(grid_tyx2 - mean_t2[:, None, None], shape_yx)
    offset_t2, frame_offset_t2 = torch.zeros_like(path_t2), torch.zeros(frames, 2, dtype=torch.float64)
    if whole.jumps is not None:
        offset_t2, frame_offset_t2 = whole.jumps.offset_t2, whole.jumps.at_times(reduced.centre_t, frame_t)
    global_t2 = _at_times(path_t2 - offset_t2, reduced.centre_t, frame_t) + frame_offset_t2
    if field is not None:
        global_t2 = global_t2 + mean_t2
    deviation_t = (whole.fit.raw_shift_t2 - whole.fit.shift_t2).norm(dim=1) * (reduced.amplitude_t > 0)
    residual_t = _at_times(deviation_t, reduced.centre_t, frame_t).clamp_min(0)
    return MotionEstimate(
        shape_yx,
        global_t2 - global_t2[:1],
        field,
        reason,
        math.inf,
        residual_t,
        0.0,
        0.0 if whole.pattern is None else whole.pattern.share,
    )


def _at_times(values_g: Tensor, centre_g: Tensor, time_t: Tensor) -> Tensor:
    """Natural cubic spline through the groups' centres, read at other times; unchanged where they are the same."""
    if torch.equal(centre_g, time_t):
        return values_g
    spline = CubicSpline(centre_g.numpy(), values_g.numpy(), axis=0, bc_type="natural")
    return torch.from_numpy(np.asarray(spline(time_t.numpy()), dtype=np.float64))
