"""Motion correction: one aligned micrograph from a movie's frames, with its spectrum and its trajectories."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from daemon.domain.motion import MotionField
from daemon.domain.movie import MovieHeader
from daemon.errors import AcquisitionUnknown
from daemon.exchange.relion.motion import MotionStarHeader, motion_blocks
from daemon.formats.motion_plot import draw_motion_plot
from daemon.formats.mrc_writer import write_mrc
from daemon.formats.png import write_png
from daemon.formats.star import write_star
from daemon.numerics.detector import find_defects, mean_frame
from daemon.numerics.motion import CorrectedMovie, MotionEstimate, MotionOptions, correct_motion, estimate_motion
from daemon.pipeline.context import MovieItem, StageContext
from daemon.pipeline.product import (
    ALIGNED,
    ALIGNED_EVEN,
    ALIGNED_ODD,
    ALIGNED_UNWEIGHTED,
    MOTION_PLOT,
    MOTION_STAR,
    MOVIE,
    SPECTRUM,
    Product,
)
from daemon.pipeline.result import StageResult
from daemon.pipeline.stage import MovieStage, Resources, StageParams

_GRID_NODES = 13
_FRAMES_AT_ONCE = 12
"""Full-size float32 planes alive at the peak of correction: a frame, its transform, sums and weights."""


class MotionParams(StageParams):
    """Parameters of motion_correction."""

    local: bool = Field(True, description="Model how parts of the image move beside the whole frame.")
    patch_ang: float = Field(
        400.0, ge=50, le=5000, description="Width of the patches that local motion is read from, Å."
    )
    resolution_limit_ang: float = Field(5.0, ge=1, le=50, description="Finest detail that frames are compared by, Å.")
    largest_shift_ang: float = Field(100.0, ge=5, le=2000, description="Farthest a frame may lie from the others, Å.")
    dose_weighting: bool = Field(True, description="Weight frequencies by what radiation has left of them.")
    pre_exposure_e_per_ang2: float = Field(0.0, ge=0, le=1000, description="Exposure before the first frame, e⁻/Å².")
    write_unweighted: bool = Field(True, description="Also write the sum without dose weighting.")
    write_even_odd: bool = Field(False, description="Also write the sums of even and of odd frames.")


@dataclass(frozen=True)
class MotionMetrics:
    """Result columns. Motion is the length of the whole frame's path; early is its first third of the frames."""

    pixel_size_ang: float
    frame_count: int
    dose_per_frame_e_per_ang2: float | None
    total_motion_ang: float
    early_motion_ang: float
    largest_local_motion_ang: float | None
    expected_error_px: float | None
    signal_sigma: float
    fixed_pattern_share: float
    unusable_frames: int
    defects: int
    is_dose_weighted: bool
    warning: str | None


class MotionCorrection(MovieStage[MotionParams]):
    """Align the frames of a movie, as a whole and locally, weight them by dose, and sum them."""

    name = "motion_correction"
    slug = "motioncor"
    category = "motioncor"
    consumes = (MOVIE,)
    produces = (ALIGNED, ALIGNED_UNWEIGHTED, ALIGNED_EVEN, ALIGNED_ODD, SPECTRUM, MOTION_STAR, MOTION_PLOT)
    optional = (ALIGNED_UNWEIGHTED, ALIGNED_EVEN, ALIGNED_ODD)
    Params = MotionParams
    Metrics = MotionMetrics
    version = 1

    def needs(self, movie: MovieHeader, params: MotionParams) -> Resources:
        """The decoded movie, two stacks cut to the resolution limit, and the planes of one frame at full size."""
        plane_bytes = 4 * movie.width_px * movie.height_px
        pixel_ang = movie.pixel_size_ang or 1.0
        kept = min(1.0, 2 * pixel_ang / params.resolution_limit_ang) ** 2
        stacks_bytes = int(2 * plane_bytes * kept * min(movie.frame_count, MotionOptions().most_frames))
        work_bytes = stacks_bytes + _FRAMES_AT_ONCE * plane_bytes
        return Resources(host_bytes=movie.data_bytes + work_bytes, device_bytes=movie.data_bytes + work_bytes)

    def run(self, item: MovieItem, params: MotionParams, context: StageContext) -> StageResult:
        """Estimate, correct, write. Raises AcquisitionUnknown without a pixel size."""
        pixel_ang = item.acquisition.pixel_size_ang
        if pixel_ang is None:
            raise AcquisitionUnknown("pixel_size_ang", item.image_name)
        movie = context.read.movie_tyx()
        gain = context.read.gain_yx()
        frames = movie.shape[0]
        dose, warnings = _find_dose(item, params, frames)
        movie_tyx = context.device.put(movie)
        gain_yx = None if gain is None else context.device.put(gain)
        defects_yx = find_defects(mean_frame(movie_tyx), frames=frames, gain_yx=gain_yx)
        context.check_cancelled()
        steps = 2 * frames

        def tell_estimation(done: int, total: int) -> None:
            context.check_cancelled()
            context.progress(frames * done // max(total, 1), steps, "frames")

        def tell_correction(done: int, total: int) -> None:
            context.check_cancelled()
            context.progress(frames + frames * done // max(total, 1), steps, "frames")

        estimate = estimate_motion(
            movie_tyx,
            pixel_size_ang=pixel_ang,
            gain_yx=gain_yx,
            defects_yx=defects_yx,
            dose_per_frame_e_per_ang2=dose,
            options=_options(params),
            on_progress=tell_estimation,
        )
        corrected = correct_motion(
            movie_tyx,
            estimate,
            pixel_size_ang=pixel_ang,
            gain_yx=gain_yx,
            defects_yx=defects_yx,
            dose_per_frame_e_per_ang2=dose if params.dose_weighting else None,
            pre_exposure_e_per_ang2=params.pre_exposure_e_per_ang2,
            voltage_kv=item.acquisition.voltage_kv or 300.0,
            want_even_odd=params.write_even_odd,
            on_progress=tell_correction,
        )
        warnings += _doubts(estimate)
        for warning in warnings:
            context.log.warning(warning)
        _write_sums(corrected, params, pixel_ang, context)
        field = _field_of(estimate)
        metrics = _measure(estimate, field, corrected, dose, frames, int(defects_yx.sum()), pixel_ang, warnings)
        _write_motion(item, field, metrics, params, context)
        return StageResult(metrics, tuple(warnings))


def _options(params: MotionParams) -> MotionOptions:
    return MotionOptions(
        local=params.local,
        patch_ang=params.patch_ang,
        resolution_limit_ang=params.resolution_limit_ang,
        largest_shift_ang=params.largest_shift_ang,
    )


def _find_dose(item: MovieItem, params: MotionParams, frames: int) -> tuple[float | None, list[str]]:
    """Dose of a frame; without it, or without the voltage, nothing is weighted, and that is said."""
    dose = item.acquisition.dose_per_frame(frames)
    if not params.dose_weighting:
        return dose, []
    if dose is None:
        return None, ["the dose is not known: the sum is not dose-weighted"]
    if item.acquisition.voltage_kv is None:
        return None, ["the voltage is not known: the sum is not dose-weighted"]
    return dose, []


def _doubts(estimate: MotionEstimate) -> list[str]:
    doubts = [] if estimate.fallback_reason is None else [f"whole frame only: {estimate.fallback_reason}"]
    if estimate.unusable_frames:
        listed = ", ".join(str(frame + 1) for frame in estimate.unusable_frames[:10])
        doubts.append(f"{len(estimate.unusable_frames)} frame(s) could not be used for alignment: {listed}")
    return doubts


def _write_sums(corrected: CorrectedMovie, params: MotionParams, pixel_ang: float, context: StageContext) -> None:
    best = corrected.unweighted_yx if corrected.weighted_yx is None else corrected.weighted_yx
    sums: list[tuple[Product, Any, float]] = [(ALIGNED, best, pixel_ang)]
    if params.write_unweighted and corrected.weighted_yx is not None:
        sums.append((ALIGNED_UNWEIGHTED, corrected.unweighted_yx, pixel_ang))
    if corrected.even_yx is not None:
        sums.append((ALIGNED_EVEN, corrected.even_yx, pixel_ang))
    if corrected.odd_yx is not None:
        sums.append((ALIGNED_ODD, corrected.odd_yx, pixel_ang))
    sums.append((SPECTRUM, corrected.spectrum.spectrum_yx, corrected.spectrum.pixel_size_ang))
    for product, tensor, size_ang in sums:
        _write_image(product, context.device.get(tensor).astype(np.float32, copy=False), size_ang, context)


def _write_image(product: Product, image_yx: Any, pixel_ang: float, context: StageContext) -> None:
    context.write(product, lambda path: write_mrc(path, image_yx, pixel_size_ang=pixel_ang), image_yx)


def _field_of(estimate: MotionEstimate) -> MotionField:
    height, width = estimate.shape_yx
    local = None if estimate.local is None else estimate.local.on_grid(_GRID_NODES, _GRID_NODES).numpy()
    return MotionField(width, height, estimate.global_t2.numpy(), local)


def _measure(
    estimate: MotionEstimate,
    field: MotionField,
    corrected: CorrectedMovie,
    dose: float | None,
    frames: int,
    defects: int,
    pixel_ang: float,
    warnings: list[str],
) -> MotionMetrics:
    steps_ang = np.linalg.norm(np.diff(field.global_t2, axis=0), axis=1) * pixel_ang
    local = field.local_tyx2
    error = estimate.expected_error_px
    return MotionMetrics(
        pixel_size_ang=pixel_ang,
        frame_count=frames,
        dose_per_frame_e_per_ang2=dose,
        total_motion_ang=float(steps_ang.sum()),
        early_motion_ang=float(steps_ang[: max(frames // 3, 1)].sum()),
        largest_local_motion_ang=None if local is None else float(np.linalg.norm(local, axis=-1).max() * pixel_ang),
        expected_error_px=error if math.isfinite(error) else None,
        signal_sigma=estimate.signal_sigma,
        fixed_pattern_share=estimate.fixed_pattern_share,
        unusable_frames=len(estimate.unusable_frames),
        defects=defects,
        is_dose_weighted=corrected.weighted_yx is not None,
        warning="; ".join(warnings) or None,
    )


def _write_motion(
    item: MovieItem, field: MotionField, metrics: MotionMetrics, params: MotionParams, context: StageContext
) -> None:
    gain = item.acquisition.gain
    header = MotionStarHeader(
        movie_name=str(item.movie.path),
        frame_count=metrics.frame_count,
        pixel_size_ang=metrics.pixel_size_ang,
        voltage_kv=item.acquisition.voltage_kv,
        dose_per_frame_e_per_ang2=metrics.dose_per_frame_e_per_ang2,
        gain_name=None if gain is None else str(gain.path),
        pre_exposure_e_per_ang2=params.pre_exposure_e_per_ang2,
    )
    blocks = motion_blocks(field, header)
    context.write(MOTION_STAR, lambda path: write_star(path, blocks))
    error = "unknown" if metrics.expected_error_px is None else f"{metrics.expected_error_px:.2f} px"
    words = (
        f"The whole frame moved {metrics.total_motion_ang:.1f} Å, {metrics.early_motion_ang:.1f} Å of it in the first "
        f"third; expected error {error}"
    )
    plot = draw_motion_plot(item.image_name, field, metrics.pixel_size_ang, words, metrics.warning or "")
    context.write(MOTION_PLOT, lambda path: write_png(path, plot))
