"""A process of its own for one movie under suspicion: if it dies or hangs there, the daemon lives, and knows why.

The parent (`daemon.engine.isolation`) starts it with one end of a pipe, sends an Order and then requests, and
gets one answer to each; progress and log lines come in between. Same code, threads and device: same bytes.
"""

import ctypes
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from daemon.engine.compute import ComputeThread
from daemon.engine.context import OutputRules, TaskContext
from daemon.engine.failures import describe_failure, describe_movie_failure, is_of_the_machine
from daemon.engine.inputs import CameraCache, VisitInputs
from daemon.formats.pace import READ_PACE
from daemon.messages.events import TaskRef
from daemon.pipeline.context import MovieItem
from daemon.pipeline.graph import AnyStage
from daemon.pipeline.product import Product
from daemon.pipeline.result import OutputFile, StageResult, TaskFailed
from daemon.pipeline.stage import StageParams

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Order:
    """What the cell works on, and how."""

    item: MovieItem
    home: Path
    rules: OutputRules
    device: str
    threads: int
    decode_threads: int
    by_frame: bool
    pace_descriptor: int
    """Inherited: reading raw data, it and the daemon keep to one limit together."""


@dataclass(frozen=True)
class ReadMovie:
    """Decode the movie. Answered with Done, or with the failure."""


@dataclass(frozen=True)
class RunStage:
    """Run a stage and write its files. Answered with Done, or with the failure."""

    stage: AnyStage
    parameters: StageParams
    task_id: str


@dataclass(frozen=True)
class Release:
    """Keep only these products in memory. Not answered."""

    wanted: tuple[Product, ...]


@dataclass(frozen=True)
class Ready:
    """The cell has begun to listen."""


@dataclass(frozen=True)
class Done:
    """What was asked for is done."""

    result: StageResult | None = None
    outputs: tuple[OutputFile, ...] = ()


@dataclass(frozen=True)
class Progress:
    """The stage that runs is this far."""

    current: int
    total: int
    unit: str


@dataclass(frozen=True)
class LogLine:
    """The stage that runs says something."""

    level: str
    message: str


class _Voice:
    """The witness in the cell: passes everything on to the parent."""

    def __init__(self, pipe: "Connection") -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def begin(self, ref: TaskRef) -> None:
        """The parent knows."""

    def end(self, task_id: str) -> None:
        """The parent knows."""

    def progress(self, task_id: str, current: int, total: int, unit: str) -> None:
        """A task got this far."""
        del task_id  # there is one at a time, and the parent knows which
        self.say(Progress(current, total, unit))

    def log_line(self, task_id: str, level: str, message: str) -> None:
        """A task said something."""
        del task_id
        self.say(LogLine(level, message))

    def say(self, message: object) -> None:
        """Send one message."""
        with self._lock:
            self._pipe.send(message)


class _Cell:
    def __init__(self, order: Order, voice: _Voice) -> None:
        self._order = order
        self._voice = voice
        READ_PACE.join(order.pace_descriptor)
        self._compute = ComputeThread(order.device, order.threads)
        self._loading = self._compute.load()
        self._inputs = VisitInputs(
            order.item, order.home, CameraCache(), decode_threads=order.decode_threads, by_frame=order.by_frame
        )
        self._writers = ThreadPoolExecutor(2, "writer")

    def answer(self, request: ReadMovie | RunStage) -> Done | TaskFailed:
        """Do what is asked. An error of the machine is raised: this process is of no use any more."""
        try:
            if isinstance(request, ReadMovie):
                self._inputs.read_ahead()
                return Done()
            return self._run(request)
        except Exception as error:
            if is_of_the_machine(error):
                raise
            if isinstance(request, ReadMovie):
                return describe_movie_failure(self._order.item.image_name, error)
            return describe_failure(request.stage.name, error)

    def release(self, wanted: tuple[Product, ...]) -> None:
        """Forget what no later stage consumes."""
        self._inputs.release_all_but(wanted)

    def _run(self, request: RunStage) -> Done:
        context = TaskContext(
            request.stage,
            self._order.item,
            request.task_id,
            home=self._order.home,
            inputs=self._inputs,
            device=self._loading.result(),
            writers=self._writers,
            witness=self._voice,
            cancelled=threading.Event(),
            rules=self._order.rules,
        )
        try:
            computed = self._compute.submit(
                lambda: request.stage.run(self._order.item, request.parameters, context), priority=0
            )
            result = computed.result()
            context.check_all_written()
            return Done(result, tuple(file.result() for file in context.begun()))
        finally:
            wait(context.begun())  # none goes on when the parent removes what a failure left


def main(descriptor: int, parent_pid: int) -> None:
    """Serve until the parent closes the pipe or dies."""
    # The kernel ends this process with the daemon's event loop, which started it: no orphan writes into the home.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit(1)
    pipe = Connection(descriptor)
    voice = _Voice(pipe)
    cell = _Cell(pipe.recv(), voice)
    voice.say(Ready())
    while True:
        try:
            request = pipe.recv()
        except EOFError:
            return
        if isinstance(request, Release):
            cell.release(request.wanted)
        else:
            voice.say(cell.answer(request))
