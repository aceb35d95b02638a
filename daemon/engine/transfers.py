"""Copies between host and GPU, each way on a stream of its own, beside what is computed."""

import threading
from collections import deque
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from daemon.engine.cuda_calls import CudaCalls, Event
from daemon.engine.pinned import PinnedPool


class Arriving:
    """An array that is on its way down from the device."""

    def __init__(self, array: npt.NDArray[Any], event: Event) -> None:
        self._array, self._event = array, event

    def result(self) -> npt.NDArray[Any]:
        """Wait until it is there, and return it."""
        self._event.synchronize()
        return self._array


class Transfers:
    """The two copy streams of a device; safe from any thread."""

    def __init__(self, calls: CudaCalls, pool: PinnedPool) -> None:
        self._calls, self._pool = calls, pool
        self.upward, self.downward = calls.open_stream(), calls.open_stream()
        self._lock = threading.Lock()
        self._under_way: deque[tuple[Event, npt.NDArray[Any]]] = deque()
        """Host memory that the device still reads or writes must not go back to the pool, whoever else lets it go."""

    def bring_up(self, target: Tensor, source: npt.NDArray[Any]) -> Event:
        """Submit a copy to the device; the event is behind it."""
        self._calls.copy(target, torch.from_numpy(source), self.upward)
        return self._note(self.upward, source)

    def bring_down(self, tensor: Tensor) -> Arriving:
        """Submit a copy to pinned memory, behind what the calling thread has submitted to the compute stream."""
        compute = self._calls.compute_stream()
        source = tensor.detach().contiguous()
        self._calls.wait(self.downward, self._calls.record(compute))
        self._calls.keep_for(source, self.downward)
        target = self._pool.array(tuple(source.shape), torch.empty(0, dtype=source.dtype).numpy().dtype)
        self._calls.copy(torch.from_numpy(target), source, self.downward)
        return Arriving(target, self._note(self.downward, target))

    @property
    def under_way(self) -> int:
        """How many copies are not known to be done."""
        with self._lock:
            self._forget_done()
            return len(self._under_way)

    def _note(self, stream: object, array: npt.NDArray[Any]) -> Event:
        event = self._calls.record(stream)
        with self._lock:
            self._forget_done()
            self._under_way.append((event, array))
        return event

    def _forget_done(self) -> None:
        remaining = [(event, array) for event, array in self._under_way if not event.query()]
        self._under_way = deque(remaining)
