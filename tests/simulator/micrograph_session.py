"""Sessions whose movies are real micrographs, moved and counted again with a known drift."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.errors import SimulationInvalid
from daemon.numerics.simulation_detector import CountedMovie, Detector, seed_generator
from daemon.numerics.simulation_micrograph import MicrographMovie, relative_intensity
from daemon.numerics.simulation_motion import random_motion
from daemon.simulator.arrival import Arrival, Clock
from daemon.simulator.plan import (
    FormatChoice,
    MovieSize,
    PlannedMovie,
    SessionPlan,
    SessionRequest,
    derive_seed,
    plan_session,
)
from daemon.simulator.session import MovieJob, SimulatedSession, build_camera, describe_recording, write_movies
from daemon.simulator.truth import GRID_NODES, TrueMovie

_MARGIN_PX = 20


def session_from_micrograph(
    raw_root: Path,
    name: str,
    micrographs_yx: Sequence[npt.NDArray[Any]],
    *,
    pixel_size_ang: float,
    frames: int = 20,
    electrons_per_px: float = 1.5,
    drift_px: float = 8.0,
    local_px: float = 0.0,
    contrast: float | None = None,
    movie_format: FormatChoice = "tiff",
    seed: int = 1,
    voltage_kv: float = 300.0,
    spherical_aberration_mm: float = 2.7,
    amplitude_contrast: float = 0.1,
    arrival: Arrival | None = None,
    clock: Clock | None = None,
) -> SimulatedSession:
    """Write one movie for each micrograph (y, x), all of one size, with a known drift and Poisson counts.

    Frames are smaller than the micrographs by the margin that the motion needs. The micrograph's own
    noise becomes specimen. contrast: standard deviation of the relative intensity, for images whose
    values are not counts. Raises SimulationInvalid for micrographs that cannot be used, and as
    `write_session` does.
    """
    size = _frame_size(micrographs_yx, drift_px + local_px, frames, pixel_size_ang, electrons_per_px)
    request = SessionRequest(
        name,
        len(micrographs_yx),
        size,
        movie_format,
        seed,
        voltage_kv,
        spherical_aberration_mm,
        amplitude_contrast,
    )
    plan = plan_session(request)
    # The defocus is the micrograph's own and unknown here: nothing may claim otherwise.
    plan = replace(plan, movies=tuple(replace(movie, defocus_u_ang=0.0, defocus_v_ang=0.0) for movie in plan.movies))
    detector = build_camera(plan)
    jobs = [
        _plan_job(plan, planned, image_yx, detector, (drift_px, local_px), contrast)
        for planned, image_yx in zip(plan.movies, micrographs_yx, strict=True)
    ]
    return write_movies(plan, detector, jobs, raw_root, arrival, clock=clock)


def _frame_size(
    micrographs_yx: Sequence[npt.NDArray[Any]], motion_px: float, frames: int, pixel_size_ang: float, electrons: float
) -> MovieSize:
    shapes = {image.shape for image in micrographs_yx}
    if len(shapes) != 1:
        raise SimulationInvalid(
            f"Micrographs of {len(shapes)} different shapes cannot make one session.",
            hint="Give one or more of one shape.",
        )
    shape_yx = shapes.pop()
    # A path may wander a third beyond its ends.
    margin = 2 * (_MARGIN_PX + math.ceil(1.34 * motion_px))
    if len(shape_yx) != 2 or min(shape_yx) - margin < 64:
        raise SimulationInvalid(
            f"A micrograph of shape {shape_yx} is too small for {motion_px:g} px of motion.", hint="Use a larger one."
        )
    height, width = ((length - margin) // 2 * 2 for length in shape_yx)
    return MovieSize(width, height, frames, pixel_size_ang, electrons)


def _plan_job(
    plan: SessionPlan,
    planned: PlannedMovie,
    micrograph_yx: npt.NDArray[Any],
    detector: Detector,
    drift_and_local_px: tuple[float, float],
    contrast: float | None,
) -> MovieJob:
    size = plan.request.size
    recording = describe_recording(plan, planned)
    drift_px, local_px = drift_and_local_px
    motion = random_motion(
        size.shape_yx,
        size.frames,
        size.dose_per_frame_e_per_ang2,
        seed_generator(planned.seed),
        drift_px=drift_px,
        local_px=local_px,
    )

    def make() -> CountedMovie:
        try:
            intensity_yx = relative_intensity(micrograph_yx, contrast)
        except ValueError as error:
            raise SimulationInvalid(f"The micrograph for {planned.name} cannot be used: {error}.") from error
        count_seed = derive_seed(planned.seed, "counts")
        return MicrographMovie(intensity_yx, motion, detector, size.electrons_per_px, count_seed)

    def tell_truth(movie: CountedMovie) -> TrueMovie:
        return TrueMovie(
            planned.name,
            f"frames/{planned.file_name}",
            planned.format.value,
            planned.seed,
            size.width_px,
            size.height_px,
            recording.frame_count(movie),
            size.dose_per_frame_e_per_ang2,
            motion.on_grid(GRID_NODES, GRID_NODES).numpy(),
            np.empty((0, 2)),
        )

    return MovieJob(planned, recording, make, tell_truth)
