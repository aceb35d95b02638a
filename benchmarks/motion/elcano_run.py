"""One movie through the daemon's own parts: decoding, the motion stage, the engine's atomic writes."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from benchmarks.motion.elcano_job import Job
from benchmarks.motion.gpu import measure_bandwidths
from daemon.domain.acquisition import Acquisition, EerFractions, GainReference
from daemon.engine.compute import ComputeThread
from daemon.engine.context import OutputRules, TaskContext
from daemon.engine.device import TorchDevice
from daemon.engine.inputs import CameraCache, VisitInputs
from daemon.formats.movie import read_movie_header
from daemon.messages.events import TaskRef
from daemon.numerics import motion  # noqa: F401 - the stage loads it when it runs; here that is part of the start
from daemon.pipeline.context import Array, Later, Movie, MovieItem
from daemon.pipeline.product import MOTION_STAR
from daemon.stages.motion_correction import MotionCorrection, MotionMetrics, MotionParams


def correct(job: Job) -> dict[str, Any]:
    """Correct the movie and say what it took; seconds from its file to the last file written."""
    compute = ComputeThread(job.device, job.threads)
    device = compute.load().result()
    line = _Line(job, compute, _TimedDevice(device))
    cpu_before_s, begun = time.process_time(), time.perf_counter()
    star, metrics = line.correct(["movie"])
    answer: dict[str, Any] = {
        "wall_s": time.perf_counter() - begun,
        "cpu_s": time.process_time() - cpu_before_s,
        "steps_s": dict(line.steps_s),
        "star": str(star),
        "expected_error_px": metrics.expected_error_px,
        "warning": metrics.warning,
        "device": device.name,
    }
    if job.warm_movies:
        names = [f"warm_{number}" for number in range(job.warm_movies)]
        begun = time.perf_counter()
        line.correct(names)
        answer["warm_s_per_movie"] = (time.perf_counter() - begun) / len(names)
        answer["warm_steps_s"] = dict(line.steps_s)
    if device.device.type == "cuda":
        answer |= measure_bandwidths(device.device)
    compute.close()
    return answer


class _Line:
    """A reader, the compute thread and two writers, as the engine has them."""

    def __init__(self, job: Job, compute: ComputeThread, device: "_TimedDevice") -> None:
        self._job, self._compute, self._device = job, compute, device
        self._camera = CameraCache()
        self.steps_s: dict[str, float] = {}
        """Of the last movie."""

    def correct(self, names: list[str]) -> tuple[Path, MotionMetrics]:
        """Correct the movie once for each name; each is decoded while the one before it is computed."""
        with ThreadPoolExecutor(1, "reader") as reader, ThreadPoolExecutor(2, "writer") as writers:
            ahead = reader.submit(self._read, names[0])
            contexts = []
            for following in [*names[1:], None]:
                item, inputs, read_s = ahead.result()
                if following is not None:
                    ahead = reader.submit(self._read, following)
                marks = _Marks(self._device.settle)
                self._device.begin()
                context, metrics = self._run(item, inputs, writers, marks)
                computed = time.perf_counter()
                contexts.append(context)
                del inputs
                self.steps_s = {"read": read_s, **marks.steps_s(self._device, computed)}
            for context in contexts:
                for file in context.begun():
                    file.result()
            self.steps_s["last writes"] = time.perf_counter() - computed
        return MOTION_STAR.path(Path(self._job.home), names[-1]), metrics

    def _read(self, name: str) -> tuple[MovieItem, VisitInputs, float]:
        begun = time.perf_counter()
        job = self._job
        acquisition = Acquisition(
            voltage_kv=job.voltage_kv,
            spherical_aberration_mm=job.spherical_aberration_mm,
            amplitude_contrast=job.amplitude_contrast,
            pixel_size_ang=job.pixel_size_ang,
            dose_per_frame_e_per_ang2=job.dose_per_frame_e_per_ang2,
            gain=GainReference(Path(job.gain), flip="y" if job.is_gain_flipped else "none"),
            eer=EerFractions(fractions=job.frames),
        )
        item = MovieItem("bench", name, name, read_movie_header(Path(job.movie)), acquisition)
        inputs = VisitInputs(
            item,
            Path(job.home),
            self._camera,
            decode_threads=job.threads,
            find_gpu=lambda: self._device.gpu,
        )
        inputs.read_ahead()
        return item, inputs, time.perf_counter() - begun

    def _run(
        self, item: MovieItem, inputs: VisitInputs, writers: ThreadPoolExecutor, marks: "_Marks"
    ) -> tuple[TaskContext, MotionMetrics]:
        stage = MotionCorrection()
        context = TaskContext(
            stage,
            item,
            item.image_name,
            home=Path(self._job.home),
            inputs=inputs,
            device=self._device,
            writers=writers,
            witness=marks,
            cancelled=threading.Event(),
            rules=OutputRules(),
        )
        marks.begin_computing()
        done: Future[Any] = self._compute.submit(lambda: stage.run(item, MotionParams(), context), priority=0)
        metrics = done.result().metrics
        context.check_all_written()
        inputs.release_all_but(())
        return context, metrics


class _TimedDevice:
    """The engine's device, with the time that copies take; it waits for a GPU wherever a step ends."""

    def __init__(self, device: TorchDevice) -> None:
        self._device = device
        self.gpu = device.gpu
        self.begin()

    def begin(self) -> None:
        """Start to count anew."""
        self.up_s = self.down_s = 0.0

    @property
    def threads(self) -> int:
        """Cores of the host."""
        return self._device.threads

    def settle(self) -> None:
        """Wait until the device has done what it was told."""
        if self._device.device.type == "cuda":
            torch.cuda.synchronize(self._device.device)

    def put(self, array: Array) -> torch.Tensor:
        """Copy to the device."""
        begun = time.perf_counter()
        tensor = self._device.put(array)
        self.settle()
        self.up_s += time.perf_counter() - begun
        return tensor

    def put_movie(self, movie: Movie) -> Any:
        """Copy to the device, whole where it is in memory."""
        begun = time.perf_counter()
        source = self._device.put_movie(movie)
        self.settle()
        self.up_s += time.perf_counter() - begun
        return source

    def get_behind(self, tensor: Any) -> Later:
        """Copy from the device, and wait for it: so it can be timed."""
        array = self.get(tensor)
        done: Future[Array] = Future()
        done.set_result(array)
        return done

    def get(self, tensor: Any) -> Array:
        """Copy from the device, when what was told before is done."""
        self.settle()
        begun = time.perf_counter()
        array = self._device.get(tensor)
        self.down_s += time.perf_counter() - begun
        return array


class _Marks:
    """Hears how far the stage is: its first half of steps is the estimate, its second the sum."""

    def __init__(self, settle: Callable[[], None]) -> None:
        self._settle = settle
        self._begun = self._estimated = self._summed = 0.0
        self._seen = 0.0

    def begin_computing(self) -> None:
        """The stage starts."""
        self._begun = time.perf_counter()

    def begin(self, ref: TaskRef) -> None:
        """Nobody tells."""

    def end(self, task_id: str) -> None:
        """Nobody tells."""

    def log_line(self, task_id: str, level: str, message: str) -> None:
        """What is said stands in the metrics as well."""

    def progress(self, task_id: str, current: int, total: int, unit: str) -> None:
        """Note when half of the steps and all of them are done."""
        del task_id, unit
        share = current / total
        if self._seen < 0.5 <= share:
            self._settle()
            self._estimated = time.perf_counter()
        if self._seen < 1 <= share:
            self._settle()
            self._summed = time.perf_counter()
        self._seen = max(self._seen, share)

    def steps_s(self, device: _TimedDevice, computed: float) -> dict[str, float]:
        """Split the stage's time; what comes after the sum is pictures, tables and copies back."""
        return {
            "copy up": device.up_s,
            "estimate": self._estimated - self._begun - device.up_s,
            "sum": self._summed - self._estimated,
            "copy down": device.down_s,
            "tell": computed - self._summed - device.down_s,
        }
