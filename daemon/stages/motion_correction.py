"""Motion correction: one aligned micrograph from a movie's frames, with its spectrum and its trajectories."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from daemon.domain.motion import NOT_RELIED_ON
from daemon.domain.movie import MovieFormat, MovieHeader
from daemon.errors import COPY_AGAIN, AcquisitionUnknown, FormatError
from daemon.exchange.motioncor.command import MOTIONCOR3_TEMPLATE, MOTIONCOR_PLACEHOLDERS
from daemon.formats.movie import frame_count_after
from daemon.numerics.motion_options import FILTERED_VOLTAGES_KV, TOO_SMALL, MotionOptions
from daemon.pipeline.context import Movie, MovieItem, StageContext
from daemon.pipeline.product import (
    ALIGNED,
    ALIGNED_EVEN,
    ALIGNED_ODD,
    ALIGNED_UNWEIGHTED,
    MOTION_PLOT,
    MOTION_STAR,
    MOVIE,
    SPECTRUM,
)
from daemon.pipeline.result import StageResult
from daemon.pipeline.stage import FILE_ONLY, MovieStage, Resources
from daemon.stages.motion_memory import memory_of_program, memory_of_run
from daemon.stages.motion_results import (
    MotionMetrics,
    field_of,
    largest_local_motion_ang,
    measure_motion,
    path_lengths_ang,
    write_image,
    write_motion,
    write_sums,
)
from daemon.stages.programs.motioncor import MotionWish, correct_with_program
from daemon.stages.programs.parameters import ProgramParams

__all__ = ["MotionCorrection", "MotionMetrics", "MotionParams"]

if TYPE_CHECKING:
    from daemon.numerics.motion import MotionEstimate

_DEFAULTS = MotionOptions()
_WHOLE_FRAME = "whole frame only: "
_HIGHEST_LEVEL = 1e12
"""Mean value of pixels beyond which spectra, which are squares, come near the end of float32."""
_SAMPLED_PX = 16
_LOOK_AT_CAMERA = "Such a movie cannot be mended: look at the camera and its software, and remove the file."
_MOST_DEFECTS_SHARE = 0.02
"""Cameras have some thousandths."""


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
        _DEFAULTS.largest_shift_ang,
        ge=5,
        le=2000,
        description="Farthest a frame is looked for from the others, Å; frames after a jump of the stage also farther.",
    )
    dose_weighting: bool = Field(True, description="Weight frequencies by what radiation has left of them.")
    pre_exposure_e_per_ang2: float = Field(0.0, ge=0, le=1000, description="Exposure before the first frame, e⁻/Å².")
    write_unweighted: bool = Field(True, description="Also write the sum without dose weighting.")
    write_even_odd: bool = Field(False, description="Also write the sums of even and of odd frames.")


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
        "motion_binning",
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
    version = 4

    def needs(self, movie: MovieHeader, params: MotionParams) -> Resources:
        """As `motion_memory` states it."""
        if params.backend == "program":
            return memory_of_program(movie, halves=params.write_even_odd)
        return memory_of_run(movie, params.resolution_limit_ang, halves=params.write_even_odd)

    def run(self, item: MovieItem, params: MotionParams, context: StageContext) -> StageResult:
        """Estimate, correct, write. Raises AcquisitionUnknown without a pixel size."""
        from daemon.numerics.motion import correct_motion, estimate_motion
        from daemon.numerics.motion_upsampling import refine_grid, repeat_pixels

        pixel_ang = item.acquisition.pixel_size_ang
        if pixel_ang is None:
            raise AcquisitionUnknown("pixel_size_ang", item.image_name)
        if params.backend == "program":
            return _run_program(item, params, pixel_ang, context)
        frames = context.read.movie().shape_tyx[0]
        dose = item.acquisition.dose_per_frame(frames)
        weighting, warnings = _decide_weighting(item, params, dose)
        finer = item.acquisition.eer.upsampling if item.movie.format is MovieFormat.EER else 1
        camera = _put_camera(item, context, warnings)
        sensor = camera.every(finer)
        defects_yx = _find_defects(sensor, frames, item.movie.path, context)
        share = float(defects_yx.float().mean())
        if share > _MOST_DEFECTS_SHARE:
            warnings.append(
                f"{share:.0%} of the pixels are defective or blind in the gain: they are filled from around"
            )
        context.check_cancelled()
        estimate = estimate_motion(
            context.device.put_movie(context.read.movie()),
            pixel_size_ang=pixel_ang * finer,
            gain_yx=sensor.gain_yx,
            defects_yx=defects_yx,
            dark_yx=sensor.dark_yx,
            dose_per_frame_e_per_ang2=dose,
            options=_options(params),
            on_progress=_teller(context, 0, frames),
        )
        estimate = refine_grid(estimate, finer)
        corrected = correct_motion(
            context.device.put_movie(context.read.upsampled_movie()),
            estimate,
            pixel_size_ang=pixel_ang,
            gain_yx=camera.gain_yx,
            defects_yx=repeat_pixels(defects_yx, finer),
            dark_yx=camera.dark_yx,
            dose_per_frame_e_per_ang2=dose,
            dose_weighting=weighting,
            pre_exposure_e_per_ang2=params.pre_exposure_e_per_ang2,
            voltage_kv=item.acquisition.voltage_kv or 300.0,
            want_even_odd=params.write_even_odd,
            binning=item.acquisition.motion_binning,
            on_progress=_teller(context, frames, frames),
        )
        warnings += _doubts(estimate)
        _tell(estimate, warnings, context)
        micrograph_ang = pixel_ang * item.acquisition.motion_binning
        field = field_of(estimate)
        write_sums(corrected, micrograph_ang, context, keep_unweighted=params.write_unweighted)
        metrics = measure_motion(estimate, field, corrected, dose, frames, int(defects_yx.sum()), pixel_ang, warnings)
        write_motion(item, field, metrics, params.pre_exposure_e_per_ang2, context)
        return StageResult(metrics, tuple(warnings))


def _teller(context: StageContext, before: int, frames: int) -> Callable[[int, int], None]:
    """Tell how far one of the two passes over the frames is, `before` of all steps having been done before it."""

    def tell(done: int, total: int) -> None:
        context.check_cancelled()
        context.progress(before + frames * done // max(total, 1), 2 * frames, "frames")

    return tell


def _run_program(item: MovieItem, params: MotionParams, pixel_ang: float, context: StageContext) -> StageResult:
    """Let the site's program align and sum; the spectrum is that of its whole sum, whose parts it keeps to itself."""
    from daemon.numerics.motion_canvas import bin_image
    from daemon.numerics.spectrum import tile_power_spectrum

    binning = item.acquisition.motion_binning
    micrograph_ang = pixel_ang * binning
    frames = frame_count_after(item.movie, item.acquisition.eer)
    dose = item.acquisition.dose_per_frame(frames)
    weighting, warnings = _decide_weighting(item, params, dose)
    wish = MotionWish(dose if weighting else None, params.pre_exposure_e_per_ang2, params.local, params.write_even_odd)
    done = correct_with_program(item, wish, params, context)
    warnings += done.warnings
    spectrum = tile_power_spectrum(context.device.put(done.unweighted_yx), pixel_ang, binning=binning)
    sums = [(ALIGNED, done.unweighted_yx if done.weighted_yx is None else done.weighted_yx)]
    if params.write_unweighted and done.weighted_yx is not None:
        sums.append((ALIGNED_UNWEIGHTED, done.unweighted_yx))
    sums += [(p, half) for p, half in ((ALIGNED_EVEN, done.even_yx), (ALIGNED_ODD, done.odd_yx)) if half is not None]
    for product, image_yx in sums:
        binned_yx = image_yx if binning == 1 else context.device.get(bin_image(context.device.put(image_yx), binning))
        write_image(product, binned_yx, micrograph_ang, context)
    write_image(SPECTRUM, context.device.get(spectrum.spectrum_yx), spectrum.pixel_size_ang, context)
    for warning in warnings:
        context.log.warning(warning)
    total_ang, early_ang = path_lengths_ang(done.field, pixel_ang)
    metrics = MotionMetrics(
        pixel_size_ang=pixel_ang,
        frame_count=frames,
        dose_per_frame_e_per_ang2=dose,
        total_motion_ang=total_ang,
        early_motion_ang=early_ang,
        largest_local_motion_ang=largest_local_motion_ang(done.field, pixel_ang),
        is_dose_weighted=done.weighted_yx is not None,
        is_spectrum_of_partial_sums=False,
        warning="; ".join(warnings) or None,
        program=done.identity.path,
        program_sha256=done.identity.sha256,
    )
    write_motion(item, done.field, metrics, params.pre_exposure_e_per_ang2, context)
    return StageResult(metrics, tuple(warnings))


@dataclass(frozen=True)
class _Camera:
    """What is known of the camera, on the device and the sum's grid; None where there is none or none applies."""

    gain_yx: Any
    dark_yx: Any
    defects_yx: Any

    def every(self, times: int) -> "_Camera":
        """The same on the grid of the sensor, whose pixels were repeated so many times."""
        if times == 1:
            return self
        images = (self.gain_yx, self.dark_yx, self.defects_yx)
        return _Camera(*(None if image is None else image[::times, ::times].contiguous() for image in images))


def _find_defects(camera: _Camera, frames: int, path: Path, context: StageContext) -> Any:
    """Which pixels are defective: those known to be, and those that the mean of the movie shows.

    Raises FormatError for a movie whose values no camera gives, or a camera that is stuck.
    """
    from daemon.numerics.detector import find_defects

    mean_yx = context.device.put(context.read.movie_mean_yx())
    level = float(mean_yx[::_SAMPLED_PX, ::_SAMPLED_PX].abs().nanmedian())
    if not level <= _HIGHEST_LEVEL:
        values = f"values of about {level:.0g}, which no camera gives" if level > 0 else "no number (NaN) in some frame"
        raise FormatError(path, f"most of its pixels hold {values}", hint=COPY_AGAIN)
    if stuck := _describe_stuck(mean_yx, context.read.movie()):
        raise FormatError(path, stuck, hint=_LOOK_AT_CAMERA)
    if camera.dark_yx is not None:
        mean_yx = mean_yx - camera.dark_yx
    return find_defects(mean_yx, frames=frames, gain_yx=camera.gain_yx, known_yx=camera.defects_yx)


def _describe_stuck(mean_yx: Any, movie: Movie) -> str:
    """Say how a movie shows that its camera was stuck; empty where it was not.

    The mean of frames that are all the same is each of them. Few pixels tell nearly always that they are not.
    """
    frames = movie.shape_tyx[0]
    sampled_yx = mean_yx[::_SAMPLED_PX, ::_SAMPLED_PX]
    if bool((sampled_yx == sampled_yx[0, 0]).all()) and bool((mean_yx == mean_yx[0, 0]).all()):
        return (
            f"every pixel of its {frames} frame(s) holds the same value ({float(mean_yx[0, 0]):g}): there is no image"
        )
    is_whole = movie.dtype.kind == "f" or bool((sampled_yx == sampled_yx.round()).all())
    if frames < 2 or not is_whole:
        return ""
    mean = mean_yx.cpu().numpy()
    if all((mean == movie.frame_yx(frame)).all() for frame in (0, frames - 1)):
        return f"its {frames} frames are the same, pixel by pixel: the camera gave one frame again and again"
    return ""


def _put_camera(item: MovieItem, context: StageContext, warnings: list[str]) -> _Camera:
    """Bring gain, dark and known defects to the device; that a dark does not apply is said."""
    dark = None
    if item.movie.format is not MovieFormat.EER:
        dark = context.read.dark_yx()
    elif item.acquisition.dark is not None:
        warnings.append("the dark is not subtracted: an EER movie holds events that the camera has counted")
    images = (context.read.gain_yx(), dark, context.read.defects_yx())
    return _Camera(*(None if image is None else context.device.put(image) for image in images))


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
    voltage_kv = item.acquisition.voltage_kv
    if voltage_kv is None:
        return False, ["the voltage is not known: the sum is not dose-weighted"]
    lowest_kv, highest_kv = FILTERED_VOLTAGES_KV
    if not lowest_kv <= voltage_kv <= highest_kv:
        known = f"the exposure filter is known from {lowest_kv:g} to {highest_kv:g} kV only"
        return False, [f"{known}: at {voltage_kv:g} kV the sum is not dose-weighted"]
    return True, []


def _is_too_small(estimate: "MotionEstimate") -> bool:
    """Whether the whole frame is all that can be aligned in an image of this size: nothing to doubt."""
    return estimate.fallback_reason is not None and estimate.fallback_reason.startswith(TOO_SMALL)


def _tell(estimate: "MotionEstimate", warnings: list[str], context: StageContext) -> None:
    """Log what is worth a look; that thin ice or a small image shows no local motion is what is to be expected."""
    for warning in warnings:
        if not warning.startswith(_WHOLE_FRAME):
            context.log.warning(warning)
    if estimate.fallback_reason is not None:
        note = f"{_WHOLE_FRAME}{estimate.fallback_reason}"
        context.log.info(note)


def _doubts(estimate: "MotionEstimate") -> list[str]:
    doubts = []
    if estimate.doubt is not None:
        doubts.append(f"{NOT_RELIED_ON}: {estimate.doubt}")
    if estimate.fallback_reason is not None and not _is_too_small(estimate):
        doubts.append(f"{_WHOLE_FRAME}{estimate.fallback_reason}")
    odd = [frame for frame in estimate.unusable_frames if frame not in estimate.faults.repeated]
    if odd:
        listed = ", ".join(str(frame + 1) for frame in odd[:10])
        doubts.append(f"{len(odd)} frame(s) could not be used for alignment: {listed}")
    if estimate.faults.repeated:
        listed = ", ".join(str(frame + 1) for frame in estimate.faults.repeated[:10])
        doubts.append(
            f"{len(estimate.faults.repeated)} frame(s) hold the frame before them once more, and are left out: "
            f"{listed}; look at the camera"
        )
    torn = {frame: share for frame, share in estimate.faults.lost_rows.items() if frame not in estimate.unusable_frames}
    if torn:
        listed = ", ".join(f"{frame + 1} ({share:.0%})" for frame, share in list(torn.items())[:10])
        doubts.append(
            f"{len(torn)} frame(s) lack rows that other frames have, which hold zeros there: {listed}; "
            f"compare the file with the camera's own"
        )
    return doubts
