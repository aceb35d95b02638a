"""Motion correction by a MotionCor2 or MotionCor3 that the site has installed: its sums and its motion."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from daemon.domain.motion import MotionField
from daemon.domain.movie import MovieFormat, MovieHeader
from daemon.errors import ProgramFailed
from daemon.exchange.command_template import fill_template
from daemon.exchange.motioncor.command import (
    MotionCorFiles,
    fraction_file_text,
    half_sum_paths,
    motioncor_values,
    patch_log_names,
    shift_log_names,
    weighted_sum_path,
)
from daemon.exchange.motioncor.shifts import read_patch_shifts, read_shifts
from daemon.exchange.scratch import open_scratch
from daemon.formats.eer import fraction_bounds
from daemon.formats.movie import check_read_elsewhere, decoded_header
from daemon.formats.mrc_writer import write_mrc
from daemon.pipeline.context import MovieItem, StageContext
from daemon.stages.programs.parameters import ProgramParams
from daemon.stages.programs.run import ProgramIdentity, read_result_image, run_step_program

Image = npt.NDArray[np.float32]

_SCRATCH_IMAGES = 8
"""Float32 images that may lie in the scratch folder at once: five sums, gain, dark, and one to spare."""


@dataclass(frozen=True)
class MotionWish:
    """What is asked of the program; the dose is that of one aligned frame, None when nothing is to be weighted."""

    dose_per_frame_e_per_ang2: float | None
    pre_exposure_e_per_ang2: float
    local: bool
    even_odd: bool


@dataclass(frozen=True)
class ProgramMotion:
    """Sums in the orientation of Elcano's own, and the motion; what is None was not asked for."""

    unweighted_yx: Image
    weighted_yx: Image | None
    even_yx: Image | None
    odd_yx: Image | None
    field: MotionField
    identity: ProgramIdentity
    warnings: tuple[str, ...]


def correct_with_program(
    item: MovieItem, wish: MotionWish, params: ProgramParams, context: StageContext
) -> ProgramMotion:
    """Let the program read the movie in place and work in a scratch folder; take over what it leaves there.

    Raises ProgramFailed also for a result that is missing, damaged or of another size than the movie.
    """
    program = params.command[0]
    movie = decoded_header(item.movie, item.acquisition.eer)
    image_bytes = 4 * movie.width_px * movie.height_px
    with open_scratch(params.scratch_folder, _SCRATCH_IMAGES * image_bytes, program) as folder:
        files = _lay_out(item, wish, folder, context)
        values = motioncor_values(
            files,
            item.movie.format,
            item.acquisition,
            _stored_frame_dose(item, wish),
            wish.pre_exposure_e_per_ang2,
            local=wish.local,
            split_sum=wish.even_odd,
        )
        ran = run_step_program(fill_template(params.command, values), folder, params, context)
        check_read_elsewhere(item.movie)
        field = _read_motion(files, ran.lines, movie, program)
        warnings: tuple[str, ...] = ()
        if wish.local:
            field, warnings = _add_local_motion(field, files, context)
        shape_yx = movie.shape_yx
        even_path, odd_path = half_sum_paths(files.sum)
        is_weighted = values["dose_per_frame_e_per_ang2"] is not None
        return ProgramMotion(
            read_result_image(files.sum, program, shape_yx),
            read_result_image(weighted_sum_path(files.sum), program, shape_yx) if is_weighted else None,
            read_result_image(even_path, program, shape_yx) if wish.even_odd else None,
            read_result_image(odd_path, program, shape_yx) if wish.even_odd else None,
            field,
            ran.identity,
            warnings,
        )


def _grouping(item: MovieItem) -> int:
    """How many stored frames make one aligned frame."""
    if item.movie.format is not MovieFormat.EER:
        return 1
    first, end = fraction_bounds(item.movie.frame_count, item.acquisition.eer)[0]
    return end - first


def _stored_frame_dose(item: MovieItem, wish: MotionWish) -> float | None:
    dose = wish.dose_per_frame_e_per_ang2
    return None if dose is None else dose / _grouping(item)


def _lay_out(item: MovieItem, wish: MotionWish, folder: Path, context: StageContext) -> MotionCorFiles:
    """Write what the program reads beside the movie: what is known of the camera, and how EER frames are summed."""
    fraction_file = folder / "fractions.txt"
    if item.movie.format is MovieFormat.EER:
        text = fraction_file_text(item.movie.frame_count, _grouping(item), _stored_frame_dose(item, wish))
        fraction_file.write_text(text, encoding="ascii")
    gain_yx, defects_yx = context.read.gain_yx(), context.read.defects_yx()
    # Of an EER movie events are counted: there is nothing to subtract.
    dark_yx = None if item.movie.format is MovieFormat.EER else context.read.dark_yx()
    if dark_yx is not None and gain_yx is None:
        gain_yx = np.ones_like(dark_yx)  # the program drops a dark that comes without a gain
    return MotionCorFiles(
        movie=item.movie.path.absolute(),
        sum=folder / "sum.mrc",
        log_folder=folder,
        fraction_file=fraction_file,
        gain=_write(folder / "gain.mrc", gain_yx),
        dark=_write(folder / "dark.mrc", dark_yx),
        defect_map=_write(folder / "defects.mrc", None if defects_yx is None else defects_yx.astype(np.int8)),
    )


def _write(path: Path, image_yx: Image | npt.NDArray[np.int8] | None) -> Path | None:
    if image_yx is None:
        return None
    write_mrc(path, image_yx, pixel_size_ang=0.0)
    return path


def _read_motion(files: MotionCorFiles, lines: list[str], movie: MovieHeader, program: str) -> MotionField:
    """From the log where there is one, else from what was printed."""
    logs = [files.log_folder / name for name in shift_log_names(files.movie)]
    found = next((path for path in logs if path.is_file()), None)
    text = "\n".join(lines) if found is None else found.read_text(encoding="utf-8", errors="replace")
    try:
        return read_shifts(text, width_px=movie.width_px, height_px=movie.height_px, frame_count=movie.frame_count)
    except ValueError as error:
        where = "in what it printed" if found is None else f"in {found.name}"
        raise ProgramFailed(program, f"does not tell the motion {where}: {error}") from error


def _add_local_motion(
    field: MotionField, files: MotionCorFiles, context: StageContext
) -> tuple[MotionField, tuple[str, ...]]:
    """Take over the motion of the patches; the sum is good without it: where it is not told, a warning says so."""
    logs = [files.log_folder / name for name in patch_log_names(files.movie)]
    found = next((path for path in logs if path.is_file()), None)
    if found is None:
        return field, (f"whole frame only: the program left no {logs[0].name}, so that its local motion is not known",)
    try:
        local, rms_px = read_patch_shifts(found.read_text(encoding="utf-8", errors="replace"), field)
    except ValueError as error:
        return field, (f"whole frame only: {found.name} does not tell the local motion: {error}",)
    told = f"RELION's model of local motion follows the program's patches to {rms_px:.2f} px rms"
    context.log.info(told)
    return local, ()
