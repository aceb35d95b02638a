"""Motion correction: one aligned micrograph from a movie's frames, with its spectrum and its trajectories."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from daemon.domain.motion import MotionField
from daemon.domain.movie import MovieFormat, MovieHeader
from daemon.errors import AcquisitionUnknown
from daemon.exchange.motioncor.command import MOTIONCOR3_TEMPLATE, MOTIONCOR_PLACEHOLDERS
from daemon.exchange.relion.motion import EerRendering, MotionStarHeader, motion_blocks
from daemon.formats.eer import fraction_bounds
from daemon.formats.motion_plot import draw_motion_plot
from daemon.formats.movie import frame_count_after
from daemon.formats.mrc_writer import write_mrc
from daemon.formats.png import write_png
from daemon.formats.star import write_star
from daemon.numerics.motion_options import TOO_SMALL, MotionOptions
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
from daemon.pipeline.stage import FILE_ONLY, MovieStage, Resources
from daemon.stages.programs.motioncor import MotionWish, correct_with_program
from daemon.stages.programs.parameters import ProgramParams

if TYPE_CHECKING:
    from daemon.numerics.motion import CorrectedMovie, MotionEstimate

_DEFAULTS = MotionOptions()
_GRID_NODES = 13
_FRAMES_AT_ONCE = 12
"""Full-size float32 planes alive at the peak of correction: a frame, its transform, sums and weights."""


class MotionParams(ProgramParams):
    """Parameters of motion_correction.

    With `backend = "program"` patch_ang, resolution_limit_ang and largest_shift_ang are the program's own affair:
    its options stand in `command`.
    """

    placeholders = MOTIONCOR_PLACEHOLDERS

    command: tuple[str, ...] = Field(
        MOTIONCOR3_TEMPLATE,
        json_schema_extra=FILE_ONLY,
        description="MotionCor2 or MotionCor3 and its arguments, one item each, never through a shell; only this file "
        "may say it. An argument in braces is filled in; where its value is unknown it is left out, option and all.",
    )
    local: bool = Field(True, description="Model how parts of the image move beside the whole frame.")
    patch_ang: float = Field(
        _DEFAULTS.patch_ang, ge=50, le=5000, description="Width of the patches that local motion is read from, Å."
    )
    resolution_limit_ang: float = Field(
        _DEFAULTS.resolution_limit_ang, ge=1, le=50, description="Finest detail that frames are compared by, Å."
    )
    largest_shift_ang: float = Field(
        _DEFAULTS.largest_shift_ang, ge=5, le=2000, description="Farthest a frame may lie from the others, Å."
    )
    dose_weighting: bool = Field(True, description="Weight frequencies by what radiation has left of them.")
    pre_exposure_e_per_ang2: float = Field(0.0, ge=0, le=1000, description="Exposure before the first frame, e⁻/Å².")
    write_unweighted: bool = Field(True, description="Also write the sum without dose weighting.")
    write_even_odd: bool = Field(False, description="Also write the sums of even and of odd frames.")


@dataclass(frozen=True)
class MotionMetrics:
    """Result columns. Motion is the length of the whole frame's path; early is its first third of the frames.

    What another program did is None where it does not tell; that program is named then.
    """

    pixel_size_ang: float
    frame_count: int
    dose_per_frame_e_per_ang2: float | None
    total_motion_ang: float
    early_motion_ang: float
    is_dose_weighted: bool
    is_spectrum_of_partial_sums: bool
    warning: str | None
    largest_local_motion_ang: float | None = None
    expected_error_px: float | None = None
    signal_sigma: float | None = None
    fixed_pattern_share: float | None = None
    unusable_frames: int | None = None
    defects: int | None = None
    program: str | None = None
    program_sha256: str | None = None


class MotionCorrection(MovieStage[MotionParams]):
    """Align the frames of a movie, as a whole and locally, weight them by dose, and sum them."""

    name = "motion_correction"
    slug = "motioncor"
    category = "motioncor"
    consumes = (MOVIE,)
    produces = (ALIGNED, ALIGNED_UNWEIGHTED, ALIGNED_EVEN, ALIGNED_ODD, SPECTRUM, MOTION_STAR, MOTION_PLOT)
    optional = (ALIGNED_UNWEIGHTED, ALIGNED_EVEN, ALIGNED_ODD)
    acquisition = (
        "pixel_size_ang",
        "voltage_kv",
        "dose_per_frame_e_per_ang2",
        "total_dose_e_per_ang2",
        "gain",
        "dark",
        "defects",
        "eer",
    )
    Params = MotionParams
    Metrics = MotionMetrics
    version = 1

    def needs(self, movie: MovieHeader, params: MotionParams) -> Resources:
        """The decoded movie, two stacks cut to the resolution limit, and the planes of one frame at full size."""
        plane_bytes = 4 * movie.width_px * movie.height_px
        pixel_ang = movie.pixel_size_ang or 1.0
        kept = min(1.0, 2 * pixel_ang / params.resolution_limit_ang) ** 2
        stacks_bytes = int(2 * plane_bytes * kept * min(movie.frame_count, _DEFAULTS.most_frames))
        work_bytes = stacks_bytes + _FRAMES_AT_ONCE * plane_bytes
        if params.backend == "program":  # which holds the movie once more, on its own
            return Resources(movie.data_bytes * 2 + _FRAMES_AT_ONCE * plane_bytes, _FRAMES_AT_ONCE * plane_bytes)
        return Resources(host_bytes=movie.data_bytes + work_bytes, device_bytes=movie.data_bytes + work_bytes)

    def run(self, item: MovieItem, params: MotionParams, context: StageContext) -> StageResult:
        """Estimate, correct, write. Raises AcquisitionUnknown without a pixel size."""
        from daemon.numerics.detector import find_defects, mean_frame
        from daemon.numerics.motion import correct_motion, estimate_motion

        pixel_ang = item.acquisition.pixel_size_ang
        if pixel_ang is None:
            raise AcquisitionUnknown("pixel_size_ang", item.image_name)
        if params.backend == "program":
            return _run_program(item, params, pixel_ang, context)
        movie = context.read.movie_tyx()
        gain = context.read.gain_yx()
        frames = movie.shape[0]
        dose = item.acquisition.dose_per_frame(frames)
        weighting, warnings = _decide_weighting(item, params, dose)
        movie_tyx = context.device.put(movie)
        gain_yx = None if gain is None else context.device.put(gain)
        dark_yx, known_yx = _put_camera(item, context, warnings)
        mean_yx = mean_frame(movie_tyx) if dark_yx is None else mean_frame(movie_tyx) - dark_yx
        defects_yx = find_defects(mean_yx, frames=frames, gain_yx=gain_yx, known_yx=known_yx)
        context.check_cancelled()
        estimate = estimate_motion(
            movie_tyx,
            pixel_size_ang=pixel_ang,
            gain_yx=gain_yx,
            defects_yx=defects_yx,
            dark_yx=dark_yx,
            dose_per_frame_e_per_ang2=dose,
            options=_options(params),
            on_progress=_teller(context, 0, frames),
        )
        corrected = correct_motion(
            movie_tyx,
            estimate,
            pixel_size_ang=pixel_ang,
            gain_yx=gain_yx,
            defects_yx=defects_yx,
            dark_yx=dark_yx,
            dose_per_frame_e_per_ang2=dose,
            dose_weighting=weighting,
            pre_exposure_e_per_ang2=params.pre_exposure_e_per_ang2,
            voltage_kv=item.acquisition.voltage_kv or 300.0,
            want_even_odd=params.write_even_odd,
            on_progress=_teller(context, frames, frames),
        )
        warnings += _doubts(estimate)
        _tell(estimate, warnings, context)
        _write_sums(corrected, params, pixel_ang, context)
        field = _field_of(estimate)
        metrics = _measure(estimate, field, corrected, dose, frames, int(defects_yx.sum()), pixel_ang, warnings)
        _write_motion(item, field, metrics, params, context)
        return StageResult(metrics, tuple(warnings))


def _teller(context: StageContext, before: int, frames: int) -> Callable[[int, int], None]:
    """Tell how far one of the two passes over the frames is, `before` of all steps having been done before it."""

    def tell(done: int, total: int) -> None:
        context.check_cancelled()
        context.progress(before + frames * done // max(total, 1), 2 * frames, "frames")

    return tell


def _run_program(item: MovieItem, params: MotionParams, pixel_ang: float, context: StageContext) -> StageResult:
    """Let the site's program align and sum; the spectrum is that of its whole sum, whose parts it keeps to itself."""
    from daemon.numerics.spectrum import tile_power_spectrum

    frames = frame_count_after(item.movie, item.acquisition.eer)
    dose = item.acquisition.dose_per_frame(frames)
    weighting, warnings = _decide_weighting(item, params, dose)
    wish = MotionWish(dose if weighting else None, params.pre_exposure_e_per_ang2, params.local, params.write_even_odd)
    done = correct_with_program(item, wish, params, context)
    warnings += done.warnings
    spectrum = tile_power_spectrum(context.device.put(done.unweighted_yx), pixel_ang)
    sums = [(ALIGNED, done.unweighted_yx if done.weighted_yx is None else done.weighted_yx)]
    if params.write_unweighted and done.weighted_yx is not None:
        sums.append((ALIGNED_UNWEIGHTED, done.unweighted_yx))
    sums += [(p, half) for p, half in ((ALIGNED_EVEN, done.even_yx), (ALIGNED_ODD, done.odd_yx)) if half is not None]
    for product, image_yx in sums:
        _write_image(product, image_yx, pixel_ang, context)
    _write_image(SPECTRUM, context.device.get(spectrum.spectrum_yx), spectrum.pixel_size_ang, context)
    for warning in warnings:
        context.log.warning(warning)
    total_ang, early_ang = _path_lengths_ang(done.field, pixel_ang)
    metrics = MotionMetrics(
        pixel_size_ang=pixel_ang,
        frame_count=frames,
        dose_per_frame_e_per_ang2=dose,
        total_motion_ang=total_ang,
        early_motion_ang=early_ang,
        largest_local_motion_ang=_largest_local_motion_ang(done.field, pixel_ang),
        is_dose_weighted=done.weighted_yx is not None,
        is_spectrum_of_partial_sums=False,
        warning="; ".join(warnings) or None,
        program=done.identity.path,
        program_sha256=done.identity.sha256,
    )
    _write_motion(item, done.field, metrics, params, context)
    return StageResult(metrics, tuple(warnings))


def _put_camera(item: MovieItem, context: StageContext, warnings: list[str]) -> tuple[Any, Any]:
    """Bring dark and known defects to the device, None where there are none or none applies, which is said."""
    dark = None
    if item.movie.format is not MovieFormat.EER:
        dark = context.read.dark_yx()
    elif item.acquisition.dark is not None:
        warnings.append("the dark is not subtracted: an EER movie holds events that the camera has counted")
    defects = context.read.defects_yx()
    put = context.device.put
    return None if dark is None else put(dark), None if defects is None else put(defects)


def _options(params: MotionParams) -> MotionOptions:
    return MotionOptions(
        local=params.local,
        patch_ang=params.patch_ang,
        resolution_limit_ang=params.resolution_limit_ang,
        largest_shift_ang=params.largest_shift_ang,
    )


def _decide_weighting(item: MovieItem, params: MotionParams, dose: float | None) -> tuple[bool, list[str]]:
    """Whether to weight by dose; where dose or voltage is missing, it can't be done, and that is said."""
    if not params.dose_weighting:
        return False, []
    if dose is None:
        return False, ["the dose is not known: the sum is not dose-weighted"]
    if item.acquisition.voltage_kv is None:
        return False, ["the voltage is not known: the sum is not dose-weighted"]
    return True, []


def _is_too_small(estimate: "MotionEstimate") -> bool:
    """Whether the whole frame is all that can be aligned in an image of this size: nothing to doubt."""
    return estimate.fallback_reason is not None and estimate.fallback_reason.startswith(TOO_SMALL)


def _tell(estimate: "MotionEstimate", warnings: list[str], context: StageContext) -> None:
    for warning in warnings:
        context.log.warning(warning)
    if _is_too_small(estimate):
        note = f"whole frame only: {estimate.fallback_reason}"
        context.log.info(note)


def _doubts(estimate: "MotionEstimate") -> list[str]:
    doubts = []
    if estimate.fallback_reason is not None and not _is_too_small(estimate):
        doubts.append(f"whole frame only: {estimate.fallback_reason}")
    if estimate.unusable_frames:
        listed = ", ".join(str(frame + 1) for frame in estimate.unusable_frames[:10])
        doubts.append(f"{len(estimate.unusable_frames)} frame(s) could not be used for alignment: {listed}")
    return doubts


def _write_sums(corrected: "CorrectedMovie", params: MotionParams, pixel_ang: float, context: StageContext) -> None:
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


def _field_of(estimate: "MotionEstimate") -> MotionField:
    height, width = estimate.shape_yx
    local = None if estimate.local is None else estimate.local.on_grid(_GRID_NODES, _GRID_NODES).numpy()
    return MotionField(width, height, estimate.global_t2.numpy(), local)


def _measure(
    estimate: "MotionEstimate",
    field: MotionField,
    corrected: "CorrectedMovie",
    dose: float | None,
    frames: int,
    defects: int,
    pixel_ang: float,
    warnings: list[str],
) -> MotionMetrics:
    total_ang, early_ang = _path_lengths_ang(field, pixel_ang)
    error = estimate.expected_error_px
    return MotionMetrics(
        pixel_size_ang=pixel_ang,
        frame_count=frames,
        dose_per_frame_e_per_ang2=dose,
        total_motion_ang=total_ang,
        early_motion_ang=early_ang,
        largest_local_motion_ang=_largest_local_motion_ang(field, pixel_ang),
        expected_error_px=error if math.isfinite(error) else None,
        signal_sigma=estimate.signal_sigma,
        fixed_pattern_share=estimate.fixed_pattern_share,
        unusable_frames=len(estimate.unusable_frames),
        defects=defects,
        is_dose_weighted=corrected.weighted_yx is not None,
        is_spectrum_of_partial_sums=True,
        warning="; ".join(warnings) or None,
    )


def _path_lengths_ang(field: MotionField, pixel_ang: float) -> tuple[float, float]:
    """Length of the whole frame's path, and of what it goes in the first third of the frames."""
    steps_ang = np.linalg.norm(np.diff(field.global_t2, axis=0), axis=1) * pixel_ang
    first_third = max(len(field.global_t2) // 3, 1)
    return float(steps_ang.sum()), float(steps_ang[:first_third].sum())


def _largest_local_motion_ang(field: MotionField, pixel_ang: float) -> float | None:
    local = field.local_tyx2
    return None if local is None else float(np.linalg.norm(local, axis=-1).max() * pixel_ang)


def _eer_rendering(item: MovieItem) -> EerRendering | None:
    """How the hardware frames of an EER movie became the frames that were aligned."""
    if item.movie.format is not MovieFormat.EER:
        return None
    eer = item.acquisition.eer
    first, end = fraction_bounds(item.movie.frame_count, eer)[0]
    return EerRendering(end - first, eer.upsampling)


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
        eer=_eer_rendering(item),
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
