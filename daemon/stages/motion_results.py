"""What comes of motion correction, whoever computed it: its result columns, its images, its STAR file and its plot."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from daemon.domain.motion import NOT_RELIED_ON, MotionField
from daemon.domain.movie import MovieFormat
from daemon.exchange.relion.motion import EerRendering, MotionStarHeader, motion_blocks
from daemon.formats.eer import fraction_bounds
from daemon.formats.motion_plot import draw_motion_plot
from daemon.formats.mrc_writer import write_mrc
from daemon.formats.png import write_png
from daemon.formats.star import write_star
from daemon.numerics.motion_options import TOO_UNSURE
from daemon.pipeline.context import Later, MovieItem, StageContext
from daemon.pipeline.product import (
    ALIGNED,
    ALIGNED_EVEN,
    ALIGNED_ODD,
    ALIGNED_UNWEIGHTED,
    MOTION_PLOT,
    MOTION_STAR,
    SPECTRUM,
    Product,
)

if TYPE_CHECKING:
    from daemon.numerics.motion import CorrectedMovie, MotionEstimate

_GRID_NODES = 13


@dataclass(frozen=True)
class MotionMetrics:
    """Result columns. Motion is the length of the whole frame's path; early is its first third of the frames.

    What was not measured is None: motion and its error where nothing was aligned, signal_sigma of a single frame too.
    So is the error of a motion that is not to be relied on for another reason than its error: it would be that of a
    motion that is right.
    What another program did is None where it does not tell; that program is named then.
    """

    pixel_size_ang: float
    frame_count: int
    dose_per_frame_e_per_ang2: float | None
    total_motion_ang: float | None
    early_motion_ang: float | None
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


def measure_motion(
    estimate: "MotionEstimate",
    field: MotionField,
    corrected: "CorrectedMovie",
    dose: float | None,
    frames: int,
    defects: int,
    pixel_ang: float,
    warnings: list[str],
) -> MotionMetrics:
    """Result columns of a movie that Elcano's own numerics corrected."""
    is_aligned = frames > 1 and math.isfinite(estimate.expected_error_px)
    total_ang, early_ang = path_lengths_ang(field, pixel_ang) if is_aligned else (None, None)
    return MotionMetrics(
        pixel_size_ang=pixel_ang,
        frame_count=frames,
        dose_per_frame_e_per_ang2=dose,
        total_motion_ang=total_ang,
        early_motion_ang=early_ang,
        largest_local_motion_ang=largest_local_motion_ang(field, pixel_ang),
        expected_error_px=_error_px(estimate) if is_aligned else None,
        signal_sigma=estimate.signal_sigma if frames > 1 else None,
        fixed_pattern_share=estimate.fixed_pattern_share,
        unusable_frames=len(estimate.unusable_frames),
        defects=defects,
        is_dose_weighted=corrected.weighted_yx is not None,
        is_spectrum_of_partial_sums=True,
        warning="; ".join(warnings) or None,
    )


def _error_px(estimate: "MotionEstimate") -> float | None:
    is_known = estimate.doubt is None or estimate.doubt.startswith(TOO_UNSURE)
    return estimate.expected_error_px if is_known else None


def path_lengths_ang(field: MotionField, pixel_ang: float) -> tuple[float, float] | tuple[None, None]:
    """Length of the whole frame's path, and of what it goes in the first third of the frames; None of one frame."""
    if len(field.global_t2) < 2:
        return None, None
    steps_ang = np.linalg.norm(np.diff(field.global_t2, axis=0), axis=1) * pixel_ang
    first_third = max(len(field.global_t2) // 3, 1)
    return float(steps_ang.sum()), float(steps_ang[:first_third].sum())


def largest_local_motion_ang(field: MotionField, pixel_ang: float) -> float | None:
    """Farthest that any part of the image moved beside the whole frame, None where that is not known."""
    local = field.local_tyx2
    return None if local is None else float(np.linalg.norm(local, axis=-1).max() * pixel_ang)


def field_of(estimate: "MotionEstimate") -> MotionField:
    """Motion as it is kept in files."""
    height, width = estimate.shape_yx
    local = None if estimate.local is None else estimate.local.on_grid(_GRID_NODES, _GRID_NODES).numpy()
    return MotionField(width, height, estimate.global_t2.numpy(), local)


def write_sums(corrected: "CorrectedMovie", pixel_ang: float, context: StageContext, *, keep_unweighted: bool) -> None:
    """Write all images, `pixel_ang` being that of the micrographs."""
    best = corrected.unweighted_yx if corrected.weighted_yx is None else corrected.weighted_yx
    sums: list[tuple[Product, Any, float]] = [(ALIGNED, best, pixel_ang)]
    if keep_unweighted and corrected.weighted_yx is not None:
        sums.append((ALIGNED_UNWEIGHTED, corrected.unweighted_yx, pixel_ang))
    if corrected.even_yx is not None:
        sums.append((ALIGNED_EVEN, corrected.even_yx, pixel_ang))
    if corrected.odd_yx is not None:
        sums.append((ALIGNED_ODD, corrected.odd_yx, pixel_ang))
    sums.append((SPECTRUM, corrected.spectrum.stack(), corrected.spectrum.pixel_size_ang))
    for product, tensor, size_ang in sums:
        _write_behind(product, context.device.get_behind(tensor.float()), size_ang, context)


def write_image(product: Product, image_yx: Any, pixel_ang: float, context: StageContext) -> None:
    """Write one image, and keep it for the stages that follow."""
    context.write(product, lambda path: write_mrc(path, image_yx, pixel_size_ang=pixel_ang), image_yx)


def _write_behind(product: Product, image: Later, pixel_ang: float, context: StageContext) -> None:
    """Write one image once it has come from the device: neither stage nor device waits for it."""
    context.write(product, lambda path: write_mrc(path, image.result(), pixel_size_ang=pixel_ang), image)


def write_motion(
    item: MovieItem, field: MotionField, metrics: MotionMetrics, pre_exposure_e_per_ang2: float, context: StageContext
) -> None:
    """Write the motion's STAR file and its plot."""
    gain = item.acquisition.gain
    header = MotionStarHeader(
        movie_name=str(item.movie.path),
        frame_count=metrics.frame_count,
        pixel_size_ang=metrics.pixel_size_ang,
        voltage_kv=item.acquisition.voltage_kv,
        dose_per_frame_e_per_ang2=metrics.dose_per_frame_e_per_ang2,
        gain_name=None if gain is None else str(gain.path),
        pre_exposure_e_per_ang2=pre_exposure_e_per_ang2,
        eer=_eer_rendering(item),
        binning=item.acquisition.motion_binning,
    )
    blocks = motion_blocks(field, header)
    context.write(MOTION_STAR, lambda path: write_star(path, blocks))
    plot = draw_motion_plot(
        item.image_name, field, metrics.pixel_size_ang, _describe_path(metrics), metrics.warning or ""
    )
    context.write(MOTION_PLOT, lambda path: write_png(path, plot))


def _describe_path(metrics: MotionMetrics) -> str:
    if metrics.total_motion_ang is None:
        return "How the specimen moved is not known: nothing was aligned"
    moved = (
        f"The whole frame moved {metrics.total_motion_ang:.1f} Å, {metrics.early_motion_ang:.1f} Å of it in the first "
        "third"
    )
    if metrics.warning is not None and NOT_RELIED_ON in metrics.warning and metrics.expected_error_px is None:
        return moved  # why stands below
    error = "unknown" if metrics.expected_error_px is None else f"{metrics.expected_error_px:.2f} px"
    return f"{moved}; expected error {error}"


def _eer_rendering(item: MovieItem) -> EerRendering | None:
    """How the hardware frames of an EER movie became the frames that were aligned."""
    if item.movie.format is not MovieFormat.EER:
        return None
    eer = item.acquisition.eer
    first, end = fraction_bounds(item.movie.frame_count, eer)[0]
    return EerRendering(end - first, eer.upsampling)
