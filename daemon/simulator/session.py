"""Write a simulated session into a raw directory, as a microscope would: frames, gain, session.json, truth.json."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from daemon.errors import FileNotWritten, SimulationInvalid
from daemon.formats.atomic import write_atomically
from daemon.formats.mrc_writer import write_mrc
from daemon.numerics.simulation import SimulatedMovie, SimulatedOptics, simulate_movie
from daemon.numerics.simulation_detector import CountedMovie, Detector, build_detector, draw_gain, seed_generator
from daemon.numerics.simulation_motion import random_motion
from daemon.simulator.arrival import Arrival, Clock, Pace, SystemClock, copy_in_pieces, deliver, wait_until
from daemon.simulator.camera_files import CameraFaults, draw_faults
from daemon.simulator.plan import PlannedMovie, SessionPlan, derive_seed
from daemon.simulator.recording import Recording, record_movie
from daemon.simulator.session_json import GAIN_PATH, format_session_json
from daemon.simulator.truth import GRID_NODES, TrueMovie, TruthFile

_LOCAL_MOTION_ANG = 3.3
_FULL_MOTION_FIELD_ANG = 4000.0


@dataclass(frozen=True)
class SimulationProgress:
    """Where a simulation stands: movie `index` of `movies` (0-based), and how far its present phase is."""

    index: int
    movies: int
    name: str
    phase: Literal["making", "waiting", "writing", "written"]
    current: int
    total: int


@dataclass(frozen=True)
class SimulatedSession:
    """What was written. late_s: by how much the latest movie missed the moment its rate called for."""

    directory: Path
    movies: tuple[Path, ...]
    total_bytes: int
    late_s: float


@dataclass(frozen=True)
class MovieJob:
    """One movie to be made and written; `make` is called when its turn has come."""

    planned: PlannedMovie
    recording: Recording
    make: Callable[[], CountedMovie]
    tell_truth: Callable[[CountedMovie], TrueMovie]


def write_session(
    plan: SessionPlan,
    raw_root: Path,
    arrival: Arrival | None = None,
    *,
    clock: Clock | None = None,
    staging: Path | None = None,
    on_progress: Callable[[SimulationProgress], None] = lambda _: None,
) -> SimulatedSession:
    """Make a simulated session under `raw_root` / its name and let its movies arrive.

    staging: where movies made beforehand wait (the system's temporary folder when None). Frames are
    made and written one at a time. Raises SimulationInvalid when the place is taken, FileNotWritten.
    """
    detector = build_camera(plan)
    jobs = [_plan_job(plan, planned, detector) for planned in plan.movies]
    return write_movies(plan, detector, jobs, raw_root, arrival, clock=clock, staging=staging, on_progress=on_progress)


def write_movies(
    plan: SessionPlan,
    detector: Detector,
    jobs: Sequence[MovieJob],
    raw_root: Path,
    arrival: Arrival | None = None,
    *,
    clock: Clock | None = None,
    staging: Path | None = None,
    on_progress: Callable[[SimulationProgress], None] = lambda _: None,
) -> SimulatedSession:
    """Write a session whose movies come from `jobs`, all taken with one camera. Errors as `write_session`."""
    arrival, clock = arrival or Arrival(), clock or SystemClock()
    arrival.check()
    directory = raw_root / plan.request.name
    _claim(directory)
    _write_gain(directory / GAIN_PATH, detector, plan)
    faults = build_faults(plan)
    if faults is not None:
        faults.write(directory, plan.request.size.pixel_size_ang)
    if plan.request.manifest != "none":
        text = format_session_json(plan)
        write_atomically(directory / "session.json", lambda path: _write_text(path, text))
    truth_file = TruthFile(directory / "truth.json", _describe_session(plan, detector))
    written: list[Path] = []
    late_s = 0.0
    with ExitStack() as stack:
        sources: Iterable[_Source] = (_Source(job, None, None) for job in jobs)
        if arrival.prepared:
            folder = stack.enter_context(_staging_folder(staging))
            sources = list(_prepare(jobs, folder, on_progress))
        start_s = clock.now_s()
        for index, source in enumerate(sources):
            teller = _Teller(on_progress, index, len(jobs), source.job.planned.name)
            teller.tell("waiting", 0, 1)
            late_s = max(late_s, wait_until(clock, start_s + index * arrival.interval_s))
            target = directory / "frames" / source.job.planned.file_name
            truth_file.append(_write_movie(source, target, arrival, clock, teller))
            written.append(target)
            teller.tell("written", 1, 1)
    total_bytes = sum(path.stat().st_size for path in written)
    return SimulatedSession(directory, tuple(written), total_bytes, late_s if arrival.movies_per_hour else 0.0)


def build_camera(plan: SessionPlan) -> Detector:
    """Draw the camera that takes every movie of a session."""
    generator = seed_generator(derive_seed(plan.request.seed, plan.request.name, "camera"))
    shape_yx = plan.request.size.shape_yx
    gain_yx = draw_gain(shape_yx, generator)
    return build_detector(shape_yx, generator, gain_yx=gain_yx, hot_pixels=plan.bad_pixels, dead_pixels=plan.bad_pixels)


def build_faults(plan: SessionPlan) -> CameraFaults | None:
    """Draw the camera's dark and ruined pixels, None for a camera without."""
    if not plan.request.camera_faults:
        return None
    return draw_faults(plan.request.size.shape_yx, derive_seed(plan.request.seed, plan.request.name, "faults"))


def make_movie(plan: SessionPlan, planned: PlannedMovie, detector: Detector) -> SimulatedMovie:
    """Make one planned movie, ready to give its frames."""
    request = plan.request
    size = request.size
    generator = seed_generator(planned.seed)
    optics = SimulatedOptics(
        size.pixel_size_ang,
        planned.defocus_u_ang,
        planned.defocus_v_ang,
        planned.astigmatism_angle_deg,
        voltage_kv=request.voltage_kv,
        spherical_aberration_mm=request.spherical_aberration_mm,
        amplitude_contrast=request.amplitude_contrast,
        phase_shift_deg=request.phase_shift_deg,
    )
    field_ang = max(size.shape_yx) * size.pixel_size_ang
    local_ang = _LOCAL_MOTION_ANG * min(1.0, field_ang / _FULL_MOTION_FIELD_ANG)
    motion = random_motion(
        size.shape_yx,
        size.frames,
        size.dose_per_frame_e_per_ang2,
        generator,
        drift_px=planned.drift_ang / size.pixel_size_ang,
        local_px=local_ang / size.pixel_size_ang,
    )
    return simulate_movie(
        size.shape_yx,
        size.frames,
        optics,
        size.dose_per_frame_e_per_ang2,
        generator,
        motion=motion,
        detector=detector,
    )


def describe_recording(plan: SessionPlan, planned: PlannedMovie) -> Recording:
    """Say how a planned movie is stored."""
    size = plan.request.size
    return Recording(
        planned.format,
        planned.kind,
        size.pixel_size_ang,
        size.dose_per_frame_e_per_ang2,
        plan.hardware_frames_per_frame,
        planned.seed,
        mrc_type=plan.request.mrc_type,
        faults=build_faults(plan),
    )


@dataclass(frozen=True)
class _Source:
    """A movie about to arrive: still to be made, or waiting whole at `prepared`."""

    job: MovieJob
    prepared: Path | None
    truth: TrueMovie | None


@dataclass(frozen=True)
class _Teller:
    on_progress: Callable[[SimulationProgress], None]
    index: int
    movies: int
    name: str

    def tell(self, phase: Literal["making", "waiting", "writing", "written"], current: int, total: int) -> None:
        self.on_progress(SimulationProgress(self.index, self.movies, self.name, phase, current, total))


def _plan_job(plan: SessionPlan, planned: PlannedMovie, detector: Detector) -> MovieJob:
    recording = describe_recording(plan, planned)

    def tell_truth(movie: CountedMovie) -> TrueMovie:
        assert isinstance(movie, SimulatedMovie)
        truth = movie.truth
        return TrueMovie(
            planned.name,
            f"frames/{planned.file_name}",
            planned.format.value,
            planned.seed,
            plan.request.size.width_px,
            plan.request.size.height_px,
            recording.frame_count(movie),
            truth.dose_per_frame_e_per_ang2,
            truth.motion.on_grid(GRID_NODES, GRID_NODES).numpy(),
            truth.particles.positions_n2.numpy(),
            truth.optics.defocus_u_ang,
            truth.optics.defocus_v_ang,
            truth.optics.astigmatism_angle_deg,
            truth.optics.phase_shift_deg,
        )

    return MovieJob(planned, recording, lambda: make_movie(plan, planned, detector), tell_truth)


def _write_movie(source: _Source, target: Path, arrival: Arrival, clock: Clock, teller: _Teller) -> TrueMovie:
    """Bring one movie to its place at the arrival's pace; return its truth."""
    pace = Pace(clock, arrival.write_seconds)

    def after_step(done: int, total: int) -> None:
        teller.tell("writing", done, total)
        pace.after_step(done, total)

    if source.prepared is not None and source.truth is not None:
        prepared = source.prepared
        deliver(target, arrival, lambda path: copy_in_pieces(prepared, path, after_step))
        prepared.unlink()
        return source.truth
    movie = source.job.make()
    deliver(target, arrival, lambda path: record_movie(movie, source.job.recording, path, after_step))
    return source.job.tell_truth(movie)


def _prepare(
    jobs: Sequence[MovieJob], folder: Path, on_progress: Callable[[SimulationProgress], None]
) -> Iterator[_Source]:
    for index, job in enumerate(jobs):
        teller = _Teller(on_progress, index, len(jobs), job.planned.name)
        movie = job.make()
        path = folder / job.planned.file_name
        record_movie(movie, job.recording, path, partial(teller.tell, "making"))
        yield _Source(job, path, job.tell_truth(movie))


@contextmanager
def _staging_folder(parent: Path | None) -> Iterator[Path]:
    """Give a folder that is removed again. Raises FileNotWritten when it cannot be made."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="elcano-simulate-", dir=parent)
    except OSError as error:
        raise FileNotWritten(parent or Path(tempfile.gettempdir()), error) from error
    with folder as name:
        yield Path(name)


def _claim(directory: Path) -> None:
    """Make the session's folders; nothing that is there already is touched."""
    if directory.exists():
        raise SimulationInvalid(f"{directory} exists already.", hint="Choose another session name, or remove it first.")
    try:
        (directory / "frames").mkdir(parents=True)
        (directory / "gains").mkdir()
    except OSError as error:
        raise FileNotWritten(directory, error) from error


def _write_gain(path: Path, detector: Detector, plan: SessionPlan) -> None:
    gain_yx = detector.gain_yx.numpy()
    pixel_size_ang = plan.request.size.pixel_size_ang
    write_atomically(path, lambda temporary: write_mrc(temporary, gain_yx, pixel_size_ang=pixel_size_ang))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _describe_session(plan: SessionPlan, detector: Detector) -> dict[str, Any]:
    request = plan.request
    return {
        "session": request.name,
        "seed": request.seed,
        "pixel_size_ang": request.size.pixel_size_ang,
        "voltage_kv": request.voltage_kv,
        "spherical_aberration_mm": request.spherical_aberration_mm,
        "amplitude_contrast": request.amplitude_contrast,
        "electrons_per_px": request.size.electrons_per_px,
        "hot_pixels_yx": detector.hot_yx.nonzero().tolist(),
        "dead_pixels_yx": detector.dead_yx.nonzero().tolist(),
    }
