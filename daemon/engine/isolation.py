"""Computes a movie under suspicion in a process of its own (`CellBench`): what it does to that process is proof.

When the daemon is killed from outside, the cell goes with it and nobody is blamed. When the cell dies, or hangs,
and the daemon lives, it was the movie.

Both ends of the pipe are processes of this daemon, started by itself: what is unpickled here never comes from outside.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Collection
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import anyio.to_thread
import structlog

from daemon.engine.cell import Done, LogLine, Order, Progress, ReadMovie, Ready, Release, RunStage
from daemon.engine.inputs import VisitInputs
from daemon.engine.machinery import Machinery
from daemon.engine.threads import Lifeline
from daemon.engine.workplace import Place, Ran, read_limit_s, silence_limit_s
from daemon.errors import ComputationCrashed, FileNotWritten, ReadStuck, StageHung, TaskCancelled
from daemon.formats.atomic import remove_leftovers
from daemon.formats.pace import READ_PACE
from daemon.pipeline.graph import AnyStage
from daemon.pipeline.product import MOVIE, Product
from daemon.pipeline.result import OutputFile, TaskFailed

log = structlog.get_logger(__name__)

_START_LIMIT_S = 300.0
_LOOK_EVERY_S = 0.5
_PATIENCE_S = 10.0
_PROGRAM = "import sys; from daemon.engine.cell import main; main(int(sys.argv[1]), int(sys.argv[2]))"


class _Line:
    """The daemon's end of the pipe. What comes is received on a thread: a message may stop in its middle."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._loop = asyncio.get_running_loop()
        self._received: asyncio.Queue[object] = asyncio.Queue()
        self._thread = threading.Thread(target=self._receive, name="cell_line", daemon=True)
        self._thread.start()

    def send(self, message: object) -> None:
        """Send a message. Raises ConnectionError when nobody is there."""
        self._pipe.send(message)

    async def receive(self, limit_s: float) -> object:
        """Return the next message. Raises TimeoutError when none is there in time, EOFError when none will come."""
        message = await asyncio.wait_for(self._received.get(), limit_s)
        if isinstance(message, Exception):
            raise message
        return message

    def close(self) -> None:
        """Let go of the pipe once the cell is dead; one that no kill ends keeps its thread, and that the pipe."""
        self._thread.join(_PATIENCE_S)
        if not self._thread.is_alive():
            self._pipe.close()

    def _receive(self) -> None:
        with suppress(RuntimeError):  # raised once the event loop is closed: nobody listens any more
            while True:
                try:
                    message = self._pipe.recv()
                except Exception as error:  # noqa: BLE001 - raised where the message is waited for
                    # An OSError is an end in the middle of a message, or of a connection.
                    end = EOFError() if isinstance(error, OSError) else error
                    self._loop.call_soon_threadsafe(self._received.put_nowait, end)
                    return
                self._loop.call_soon_threadsafe(self._received.put_nowait, message)


class CellBench:
    """Computes in a process of its own, which lives as long as the visit."""

    def __init__(self, shared: Machinery, place: Place, *, cancelled: threading.Event) -> None:
        self._shared = shared
        self._place = place
        self._cancelled = cancelled
        self._process: subprocess.Popen[bytes] | None = None
        self._line: _Line | None = None
        self._has_movie = False

    async def read_movie(self) -> TaskFailed | None:
        """Decode the movie in the cell."""
        limit_s = read_limit_s(self._place.file_bytes)
        answer = await self._ask(ReadMovie(), "Reading the movie", "", limit_s)
        if isinstance(answer, StageHung):
            return TaskFailed.from_error(ReadStuck(self._place.item.movie.path, limit_s))
        self._has_movie = isinstance(answer, Done)
        return _failure(answer)

    async def run(self, stage: AnyStage, task_id: str) -> Ran | TaskFailed:
        """Run one stage in the cell; one that follows a crash gets a new cell."""
        if MOVIE in stage.consumes and not self._has_movie and (failure := await self.read_movie()) is not None:
            return failure
        place = self._place
        inputs = VisitInputs(place.item, place.home, self._shared.camera, decode_threads=self._shared.decode_threads)
        try:
            # The cell reads them again, on its own: a file that does not answer is no fault of the movie.
            await inputs.prepare_camera(stage.acquisition)
        except ReadStuck as error:
            return TaskFailed.from_error(error)
        parameters = self._place.parameters[stage.name]
        limit_s = silence_limit_s(stage, self._place.decoded_bytes)
        if place.by_frame is not None and MOVIE in stage.consumes:
            self._shared.witness.log_line(task_id, "info", place.by_frame)
        answer = await self._ask(RunStage(stage, parameters, task_id), stage.name, task_id, limit_s)
        if isinstance(answer, Done) and answer.result is not None:
            return Ran(answer.result, tuple(_finished(output) for output in answer.outputs))
        await anyio.to_thread.run_sync(_clear, stage, self._place)
        failure = _failure(answer)
        assert failure is not None, "a stage that ran answers with its result"
        return failure

    def release_all_but(self, wanted: Collection[Product]) -> None:
        """Forget what no later stage consumes."""
        if self._line is not None:
            with suppress(ConnectionError):  # it died after its answer: whoever asks next is told, and counts it
                self._line.send(Release(tuple(wanted)))

    async def close(self) -> None:
        """End the cell."""
        self._has_movie = False
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            await anyio.to_thread.run_sync(_await_end, process)
        if self._line is not None:
            line, self._line = self._line, None
            await anyio.to_thread.run_sync(line.close)

    async def _ask(
        self, request: ReadMovie | RunStage, what: str, task_id: str, limit_s: float
    ) -> Done | TaskFailed | StageHung | ComputationCrashed | TaskCancelled:
        lifeline = Lifeline(limit_s if self._line is not None else _START_LIMIT_S)
        lifeline.touch()
        name = self._place.item.image_name
        try:
            line = self._line or self._start()
            line.send(request)
            while True:
                if self._cancelled.is_set():
                    await self.close()
                    return TaskCancelled(f"{what} of {name} was cancelled.")
                try:
                    message = await line.receive(_LOOK_EVERY_S)
                except TimeoutError:
                    if lifeline.left_s() <= 0:
                        await self.close()
                        return StageHung(what, name, limit_s)
                    continue
                lifeline.touch()
                match message:
                    case Ready():
                        lifeline.limit_s = limit_s
                    case Progress(current, total, unit):
                        self._shared.witness.progress(task_id, current, total, unit)
                    case LogLine(level, message):
                        self._shared.witness.log_line(task_id, level, message)
                    case Done() | TaskFailed() as answer:
                        return answer
        except (EOFError, ConnectionError):
            return ComputationCrashed(what, name, await self._describe_death())

    def _start(self) -> _Line:
        shared, place = self._shared, self._place
        ours, theirs = Pipe()
        search = os.pathsep.join(path for path in sys.path if path)
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own program
            [sys.executable, "-P", "-X", "faulthandler", "-c", _PROGRAM, str(theirs.fileno()), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=2,  # its log belongs where the daemon's is
            pass_fds=[theirs.fileno(), READ_PACE.descriptor],
            env=os.environ | {"PYTHONPATH": search},
        )
        theirs.close()
        line = self._line = _Line(ours)
        log.warning(
            "computed by itself, in a process apart: elcano has ended before while this movie was computed",
            image=place.item.image_name,
            pid=self._process.pid,
        )
        line.send(
            Order(
                place.item,
                place.home,
                shared.rules,
                shared.compute.wanted,
                shared.threads,
                shared.decode_threads,
                place.by_frame is not None,
                READ_PACE.descriptor,
            )
        )
        return line

    async def _describe_death(self) -> str:
        process = self._process
        assert process is not None, "only a cell that was started can die"
        code = await anyio.to_thread.run_sync(_await_end, process)
        await self.close()
        if code is None:
            return "it let go of its pipe and does not end"
        if code >= 0:
            return f"it ended with exit code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"killed by {name}" + (", often for want of memory" if -code == signal.SIGKILL else "")


def _await_end(process: "subprocess.Popen[bytes]") -> int | None:
    """Return the exit code; None when not even a kill ends it, as in a file system that hangs."""
    try:
        return process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        log.warning(
            "a process that computed a movie apart does not end, not even when killed: check the mounts",
            pid=process.pid,
        )
        return None


def _failure(answer: object) -> TaskFailed | None:
    if isinstance(answer, StageHung | ComputationCrashed | TaskCancelled):
        return TaskFailed.from_error(answer)
    return answer if isinstance(answer, TaskFailed) else None


def _finished(output: OutputFile) -> "Future[OutputFile]":
    future: Future[OutputFile] = Future()
    future.set_result(output)
    return future


def _clear(stage: AnyStage, place: Place) -> None:
    """Remove what a stage that did not succeed has written, whole files and torn ones."""
    paths: list[Path] = [product.path(place.home, place.item.image_name) for product in stage.produces]
    try:
        for path in paths:
            path.unlink(missing_ok=True)
        for folder in {path.parent for path in paths if path.parent.is_dir()}:
            remove_leftovers(folder)
    except (OSError, FileNotWritten) as error:
        # The next attempt writes over it; until then the audit names it.
        log.warning("output of a failed attempt not removed", image=place.item.image_name, reason=str(error))
