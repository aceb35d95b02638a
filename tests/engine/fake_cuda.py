"""A card that does nothing before it must: copies wait in their stream until an event is waited for.

So whoever reads a frame or a result without waiting for it finds what was there before.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from daemon.engine.cuda_calls import DeviceMemory

UNSET = 0xEE
"""What memory holds that nobody has written."""


class FakeEvent:
    """A point in a lazy stream."""

    def __init__(self, stream: "FakeStream") -> None:
        self.stream = stream
        self.has_passed = False

    def query(self) -> bool:
        return self.has_passed

    def synchronize(self) -> None:
        self.stream.run_until(self)


class FakeStream:
    """Work in order, done when someone waits for it; the compute stream does it at once."""

    turn = threading.RLock()
    """Several threads may wait at once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiting: deque[Callable[[], None]] = deque()

    def submit(self, work: Callable[[], None]) -> None:
        self.waiting.append(work)

    def run_until(self, event: FakeEvent) -> None:
        with self.turn:
            while not event.has_passed:
                self.waiting.popleft()()

    def run_all(self) -> None:
        with self.turn:
            while self.waiting:
                self.waiting.popleft()()


@dataclass
class FakeCuda:
    """CudaCalls on the host. `pins` is how often pinning succeeds; memory is what `free_bytes` says, less `taken`."""

    total_bytes: int = 1 << 30
    others_bytes: int = 0
    pins: int = 1_000
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    streams: list[FakeStream] = field(default_factory=list)
    pinned: dict[int, int] = field(default_factory=dict)
    copies: list[tuple[str, int]] = field(default_factory=list)
    """Streams that copies went to, and their bytes."""
    kept: list[tuple[int, Any]] = field(default_factory=list)
    used_bytes: int = 0
    peak: int = 0
    released: int = 0
    refuses: bool = False
    """Whether allocations fail although the books say that there is room."""

    def __post_init__(self) -> None:
        self.compute = FakeStream("compute")

    def open_stream(self) -> FakeStream:
        self.streams.append(FakeStream(f"copy {len(self.streams)}"))
        return self.streams[-1]

    def compute_stream(self) -> FakeStream:
        return self.compute

    @contextmanager
    def on(self, stream: FakeStream) -> Iterator[None]:
        stream.run_all()
        yield

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype, stream: Any) -> Tensor:
        del stream
        if self.refuses:
            raise torch.OutOfMemoryError("CUDA out of memory")
        memory = torch.empty(shape, dtype=dtype)
        memory.view(torch.uint8).fill_(UNSET)
        return memory

    def copy(self, target: Tensor, source: Tensor, stream: FakeStream) -> None:
        self.copies.append((stream.name, target.nbytes))

        def work() -> None:
            target.copy_(source)

        stream.submit(work)

    def record(self, stream: FakeStream) -> FakeEvent:
        event = FakeEvent(stream)

        def work() -> None:
            event.has_passed = True

        if stream is self.compute:
            work()
        else:
            stream.submit(work)
        return event

    def wait(self, stream: FakeStream, event: FakeEvent) -> None:
        if stream is self.compute:
            event.synchronize()
        else:
            stream.submit(event.synchronize)

    def keep_for(self, tensor: Tensor, stream: Any) -> None:
        self.kept.append((tensor.data_ptr(), stream))

    def pin(self, address: int, size_bytes: int) -> None:
        if self.pins <= 0:
            raise RuntimeError("CUDA does not pin host memory (error 2)")
        self.pins -= 1
        assert address not in self.pinned
        self.pinned[address] = size_bytes

    def unpin(self, address: int) -> None:
        del self.pinned[address]

    def memory(self) -> DeviceMemory:
        return DeviceMemory(self.total_bytes, self.total_bytes - self.others_bytes, 0, self.used_bytes)

    def begin_peak(self) -> int:
        self.peak = self.used_bytes
        return self.used_bytes

    def peak_bytes(self) -> int:
        return self.peak

    def release_unused(self) -> None:
        self.released += 1
