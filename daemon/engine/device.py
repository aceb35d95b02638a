"""One compute thread for each device: it alone submits work there, in the order movies were started."""

import heapq
import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch

from daemon.pipeline.context import Array

R = TypeVar("R")


def choose_device(wanted: str) -> torch.device:
    """Turn `auto`, `cpu` or `cuda[:n]` into a device. Raises ValueError when a wanted GPU is not there."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(wanted)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"[compute] device = {wanted!r}: no usable CUDA device is visible to this process")
    return device


def is_out_of_memory(error: Exception) -> bool:
    """Whether host or device ran out of memory."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError)


class TorchDevice:
    """The pipeline's Device on torch."""

    def __init__(self, device: torch.device, threads: int = 1) -> None:
        self.device = device
        self.threads = threads
        is_gpu = device.type == "cuda"
        self.total_bytes = torch.cuda.get_device_properties(device).total_memory if is_gpu else None
        """Its memory; None where it is the host's own, which the byte budget counts."""

    def put(self, array: Array) -> torch.Tensor:
        """Bring an array to the device; on the CPU a writable one, such as a movie of gigabytes, is shared."""
        contiguous = np.ascontiguousarray(array)
        if not contiguous.flags.writeable:  # what others read too: torch could not keep anyone from writing to it
            contiguous = contiguous.copy()
        return torch.from_numpy(contiguous).to(self.device)

    def get(self, tensor: Any) -> Array:
        """Copy a tensor back, contiguous."""
        return np.ascontiguousarray(tensor.detach().cpu().numpy())


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

    def __init__(self, device: torch.device, threads: int) -> None:
        self.device = TorchDevice(device, threads)
        self._threads = threads
        self._inbox: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._order = itertools.count()
        self._thread = threading.Thread(target=self._serve, name=f"compute-{device}", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], R], *, priority: int) -> "Future[R]":
        """Queue `work`; the future carries its value or exception."""
        future: Future[R] = Future()
        self._inbox.put(_Job(priority, next(self._order), work, future))
        return future

    @property
    def is_alive(self) -> bool:
        """Whether the thread still serves; it ends with `close` only."""
        return self._thread.is_alive()

    def close(self, patience_s: float = 5.0) -> None:
        """Finish what is queued and end the thread; one that still computes after `patience_s` is left behind."""
        self._inbox.put(None)
        self._thread.join(patience_s)

    def _serve(self) -> None:
        torch.set_num_threads(self._threads)
        torch.set_deterministic_debug_mode("warn")  # use_deterministic_algorithms would import torch's compiler as well
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
                job = self._inbox.get(block=block)
            except queue.Empty:
                return False
            if job is None:
                return True
            heapq.heappush(waiting, job)
            block = False

    @staticmethod
    def _run(job: _Job) -> None:
        if not job.future.set_running_or_notify_cancel():
            return
        try:
            job.future.set_result(job.work())
        except BaseException as error:  # noqa: BLE001 - the waiting side raises it again
            job.future.set_exception(error)
            # The error's traceback holds this frame, and the job holds the error: without this, a failed stage's
            # arrays would live on until the garbage collector comes by.
            del job
