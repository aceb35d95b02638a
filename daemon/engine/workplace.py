"""Where the stages of one visit are computed: on the daemon's own compute thread (`ThreadBench`).

`daemon.engine.isolation` has the other place: a process of its own, for movies under suspicion.
"""

import asyncio
import threading
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from daemon.engine.context import TaskContext
from daemon.engine.failures import (
    OUT_OF_DEVICE_MEMORY,
    describe_failure,
    describe_movie_failure,
    is_of_the_machine,
    is_out_of_device_memory,
)
from daemon.engine.inputs import VisitInputs
from daemon.engine.machinery import Machinery
from daemon.engine.threads import Lifeline, wait_alive
from daemon.engine.writes import discard_writes
from daemon.errors import ReadStuck, StageHung
from daemon.pipeline.context import MovieItem
from daemon.pipeline.graph import AnyStage
from daemon.pipeline.product import MOVIE, Product
from daemon.pipeline.result import OutputFile, StageResult, TaskFailed
from daemon.pipeline.stage import Resources, StageParams

if TYPE_CHECKING:
    from daemon.engine.device import TorchDevice

_READ_LIMIT_S = 300.0
_SLOWEST_READ_BYTES_PER_S = 2e6
_LIMIT_IS_FOR_BYTES = 2 * 2**30


def read_limit_s(size_bytes: int) -> float:
    """Return how long reading a file may take: longer than any mount that works."""
    return _READ_LIMIT_S + size_bytes / _SLOWEST_READ_BYTES_PER_S


def silence_limit_s(stage: AnyStage, decoded_bytes: int) -> float:
    """Return how long a stage may give no sign of life; its limit holds for movies of up to 2 GiB decoded."""
    return stage.time_limit_s * max(1.0, decoded_bytes / _LIMIT_IS_FOR_BYTES)


@dataclass(frozen=True)
class Ran:
    """A stage has run; its files are on their way to disk, or there."""

    result: StageResult
    files: tuple["Future[OutputFile]", ...]


@dataclass(frozen=True)
class Place:
    """What is computed: one image, the sizes of its movie, the session home its outputs go to, what stages run with.

    by_frame: why no more of the movie than a few frames may be in memory, None where it may be whole.
    """

    item: MovieItem
    decoded_bytes: int
    file_bytes: int
    by_frame: str | None
    home: Path
    parameters: Mapping[str, StageParams]
    needs: Mapping[str, Resources]


class _TooLittleMemory(Exception):
    """The memory of the GPU was full; carries nothing, so that no traceback keeps what lies there alive."""


class Bench(Protocol):
    """Computes the stages of one image, one after the other."""

    async def read_movie(self) -> TaskFailed | None:
        """Decode the movie into memory."""
        ...

    async def run(self, stage: AnyStage, task_id: str) -> Ran | TaskFailed:
        """Run one stage; of one that fails, nothing stays on disk.

        Raises StageHung, or another error of the machine, when the whole daemon must begin anew.
        """
        ...

    def release_all_but(self, wanted: Collection[Product]) -> None:
        """Forget what no later stage consumes."""
        ...

    async def close(self) -> None:
        """The visit is over."""
        ...


class ThreadBench:
    """Computes on the daemon's compute thread, movies of several visits taking turns."""

    def __init__(self, shared: Machinery, place: Place, *, priority: int, cancelled: threading.Event) -> None:
        self._shared = shared
        self._place = place
        self._priority = priority
        self._cancelled = cancelled
        self._inputs = VisitInputs(
            place.item,
            place.home,
            shared.camera,
            decode_threads=shared.decode_threads,
            by_frame=place.by_frame is not None,
            find_gpu=lambda: None if shared.compute.loaded is None else shared.compute.loaded.gpu,
        )

    async def read_movie(self) -> TaskFailed | None:
        """Decode the movie on a reader's thread."""
        item, limit_s = self._place.item, read_limit_s(self._place.file_bytes)
        self._shared.compute.load()  # while the movie is read
        device = self._shared.compute.loaded
        if device is not None and device.gpu is not None:
            self._shared.budget.share_with(device.gpu.pool)
        try:
            await self._shared.readers.run_alive(str(item.movie.path), self._inputs.read_ahead, limit_s)
        except TimeoutError:
            return TaskFailed.from_error(ReadStuck(item.movie.path, limit_s))
        except Exception as error:
            # Whatever else a reader raises costs this movie, not the daemon.
            if is_of_the_machine(error):
                raise
            return describe_movie_failure(item.image_name, error)
        return None

    async def run(self, stage: AnyStage, task_id: str) -> Ran | TaskFailed:
        """Run one stage on the compute thread, where no file is waited for."""
        try:
            await self._inputs.prepare_camera(stage.acquisition)
        except ReadStuck as error:
            return TaskFailed.from_error(error)
        device = await self._shared.compute.device()
        try:
            return await self._attempt(stage, task_id, device, is_last=device.gpu is None)
        except _TooLittleMemory:
            await self._make_all_room(device)
            return await self._attempt(stage, task_id, device, is_last=True)

    async def _attempt(
        self, stage: AnyStage, task_id: str, device: "TorchDevice", *, is_last: bool
    ) -> Ran | TaskFailed:
        """Run it once. Raises _TooLittleMemory where a GPU's was full and, unless `is_last`, it may be tried alone."""
        limit_s = silence_limit_s(stage, self._place.decoded_bytes)
        lifeline = Lifeline(limit_s)
        context = self._make_context(stage, task_id, lifeline, device)
        parameters = self._place.parameters[stage.name]
        if self._place.by_frame is not None and MOVIE in stage.consumes:
            context.log.info(self._place.by_frame)

        def work() -> StageResult:
            lifeline.touch()
            context.check_cancelled()
            with self._shared.pace.working(stage.name), self._watch_memory(stage, device, context):
                result = stage.run(self._place.item, parameters, context)
            context.check_all_written()
            return result

        try:
            result = await wait_alive(self._shared.compute.submit(work, priority=self._priority), lifeline)
        except TimeoutError:
            raise StageHung(stage.name, self._place.item.image_name, limit_s) from None
        except Exception as error:
            # Whatever a stage raises costs this task, not the daemon, unless the machine itself is broken.
            if is_of_the_machine(error):
                raise
            what, shared = f"{stage.name} files of {self._place.item.image_name}", self._shared
            await discard_writes(context.begun(), self._place.home, what, shared.writers, shared.troubles)
            if is_out_of_device_memory(error) and not is_last:
                told = f"{OUT_OF_DEVICE_MEMORY}: {stage.name} is tried once more, alone and frame by frame"
                context.log.warning(told)
                raise _TooLittleMemory from None
            return describe_failure(stage.name, error)
        return Ran(result, context.begun())

    def release_all_but(self, wanted: Collection[Product]) -> None:
        """Forget what no later stage consumes."""
        self._inputs.release_all_but(wanted)

    async def close(self) -> None:
        """Let go of everything."""
        self._inputs.close()

    def _watch_memory(
        self, stage: AnyStage, device: "TorchDevice", context: TaskContext
    ) -> AbstractContextManager[None]:
        if device.gpu is None:
            return nullcontext()
        needs = self._place.needs[stage.name]
        if self._place.by_frame is not None:
            needs = needs.by_frame or needs
        movie = self._inputs.landing if MOVIE in stage.consumes else None
        return device.gpu.computing(stage.name, needs, movie, context.log)

    async def _make_all_room(self, device: "TorchDevice") -> None:
        gpu = device.gpu
        assert gpu is not None, "a device of the host's memory cannot run out of its own"
        landing = self._inputs.landing
        made = self._shared.compute.submit(lambda: gpu.make_all_room(landing), priority=self._priority)
        await asyncio.wrap_future(made)

    def _make_context(self, stage: AnyStage, task_id: str, lifeline: Lifeline, device: "TorchDevice") -> TaskContext:
        return TaskContext(
            stage,
            self._place.item,
            task_id,
            home=self._place.home,
            inputs=self._inputs,
            device=device,
            writers=self._shared.writers,
            witness=self._shared.witness,
            cancelled=self._cancelled,
            rules=self._shared.rules,
            on_life=lifeline.touch,
        )
