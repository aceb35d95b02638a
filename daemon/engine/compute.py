"""One compute thread for each device: it alone submits work there, in the order movies were started.

What computes takes seconds to load and more memory than all the rest of a daemon: the thread loads it when the
first movie is taken up, and a daemon that has nothing to do stays small. `daemon.engine.compute_check` proves
at the start that it can be loaded.
"""

import asyncio
import heapq
import itertools
import queue
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from daemon.engine.host_memory import give_back_freed_memory, share_one_heap
from daemon.errors import ComputeUnavailable, ConfigurationInvalid, Problem

if TYPE_CHECKING:
    from daemon.engine.device import TorchDevice

R = TypeVar("R")

KERNELS_FAIL = "its kernels do not run"
_FIRST = -1
_GIVEN_BACK_AFTER_S = (10.0, 120.0)
"""How long nothing is computed before memory that is free goes back to the system, and before it does so again."""
_GPU_NODES = ("nvidia[0-9]*", "nvidiactl", "kfd", "dxg")


@dataclass(frozen=True)
class DeviceFacts:
    """What is computed on, as far as it is known; `memory_bytes` is None where it is the host's own."""

    device: str
    name: str
    memory_bytes: int | None = None


def may_have_gpu(nodes: Path = Path("/dev")) -> bool:
    """Whether the kernel shows anything that could be a GPU to compute on."""
    return any(next(nodes.glob(pattern), None) is not None for pattern in _GPU_NODES)


def is_out_of_memory(error: Exception) -> bool:
    """Whether host or device ran out of memory."""
    torch = sys.modules.get("torch")  # what is not loaded has raised nothing
    return isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError))


def load_device(wanted: str, threads: int) -> "TorchDevice":
    """Load what computes, for the calling thread. Raises ComputeUnavailable, ConfigurationInvalid: no such device."""
    try:
        from daemon.engine.device import TorchDevice, choose_device  # noqa: PLC0415 - torch is loaded when wanted
        from daemon.numerics.kernels.proof import prove_kernels  # noqa: PLC0415 - likewise
    except Exception as error:
        raise ComputeUnavailable(f"{type(error).__name__}: {error}") from error
    try:
        device = TorchDevice(choose_device(wanted), threads)
    except ValueError as error:
        raise ConfigurationInvalid("configuration", [Problem("compute.device", str(error))]) from error
    device.settle_thread()
    try:
        prove_kernels(device.device)
    except Exception as error:
        raise ComputeUnavailable(f"{KERNELS_FAIL}: {type(error).__name__}: {error}") from error
    return device


@dataclass(order=True)
class _Job:
    priority: int
    order: int
    work: Callable[[], object] = field(compare=False)
    future: "Future[Any]" = field(compare=False)


class ComputeThread:
    """Runs callables one at a time on its own thread, the lowest priority number first.

    Same bytes on the CPU need one submitting thread and a fixed number of intra-op threads; both
    are settled here, once.
    """

    def __init__(self, wanted: str, threads: int) -> None:
        """`wanted` is auto, cpu or cuda[:n]; nothing is loaded yet."""
        self.wanted = "cpu" if wanted == "auto" and not may_have_gpu() else wanted
        self._threads = threads
        self._inbox: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._order = itertools.count()
        self._lock = threading.Lock()
        self._loading: Future[TorchDevice] | None = None
        self._found: DeviceFacts | None = DeviceFacts("cpu", "cpu") if self.wanted == "cpu" else None
        self._has_computed = False
        share_one_heap()
        self._thread = threading.Thread(target=self._serve, name=f"compute-{self.wanted}", daemon=True)
        self._thread.start()

    def load(self) -> "Future[TorchDevice]":
        """Begin to load what computes, before anything else that waits; once is enough."""
        with self._lock:
            if self._loading is None:
                self._loading = self._queue(lambda: load_device(self.wanted, self._threads), _FIRST)
            return self._loading

    async def device(self) -> "TorchDevice":
        """Return the device, loaded. Raises ComputeUnavailable, ConfigurationInvalid."""
        return await asyncio.shield(asyncio.wrap_future(self.load()))

    @property
    def loaded(self) -> "TorchDevice | None":
        """The device; None as long as nothing had to be computed."""
        loading = self._loading
        is_there = loading is not None and loading.done() and loading.exception() is None
        return loading.result() if loading is not None and is_there else None

    @property
    def facts(self) -> DeviceFacts:
        """What is computed on, as far as it is known now."""
        if (device := self.loaded) is not None:
            return DeviceFacts(str(device.device), device.name, device.total_bytes)
        return self._found or DeviceFacts(self.wanted, self.wanted)

    def note_found(self, facts: DeviceFacts) -> None:
        """Take what was found out about the device without loading it."""
        self._found = facts

    async def memory_bytes(self) -> int | None:
        """Return the device's memory, None where it is the host's own; loads it only where nobody knows.

        Raises ComputeUnavailable, ConfigurationInvalid.
        """
        if self._found is None:
            await self.device()
        return self.facts.memory_bytes

    def submit(self, work: Callable[[], R], *, priority: int) -> "Future[R]":
        """Queue `work`; the future carries its value or exception, or why what computes cannot be loaded."""
        loading = self.load()

        def run() -> R:
            loading.result()
            return work()

        return self._queue(run, priority)

    @property
    def is_alive(self) -> bool:
        """Whether the thread still serves; it ends with `close` only."""
        return self._thread.is_alive()

    def close(self, patience_s: float = 5.0) -> None:
        """Finish what is queued and end the thread; one that still computes after `patience_s` is left behind."""
        self._inbox.put(None)
        self._thread.join(patience_s)

    def _queue(self, work: Callable[[], R], priority: int) -> "Future[R]":
        future: Future[R] = Future()
        self._inbox.put(_Job(priority, next(self._order), work, future))
        return future

    def _serve(self) -> None:
        waiting: list[_Job] = []
        closing = False
        while not closing or waiting:
            closing = self._collect(waiting, block=not waiting and not closing) or closing
            if waiting:
                self._run(heapq.heappop(waiting))

    def _collect(self, waiting: list[_Job], *, block: bool) -> bool:
        """Move newcomers to the heap; True when the thread was asked to end."""
        while True:
            try:
                job = self._wait() if block else self._inbox.get_nowait()
            except queue.Empty:
                return False
            if job is None:
                return True
            heapq.heappush(waiting, job)
            block = False

    def _wait(self) -> _Job | None:
        """Next newcomer; memory that earlier ones have left goes back to the system where none comes for a while.

        Once more later: files may still have been written, or movies read, the first time.
        """
        for patience_s in _GIVEN_BACK_AFTER_S if self._has_computed else ():
            with suppress(queue.Empty):
                return self._inbox.get(timeout=patience_s)
            give_back_freed_memory()
        self._has_computed = False
        return self._inbox.get()

    def _run(self, job: _Job) -> None:
        if not job.future.set_running_or_notify_cancel():
            return
        self._has_computed = True
        try:
            job.future.set_result(job.work())
        except BaseException as error:  # noqa: BLE001 - the waiting side raises it again
            job.future.set_exception(error)
            # The error's traceback holds this frame, and the job holds the error: without this, a failed stage's
            # arrays would live on until the garbage collector comes by.
            del job
