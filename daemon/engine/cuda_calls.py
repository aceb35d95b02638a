"""The few calls of CUDA that the GPU path is built of; a fake of them stands in for the card in tests.

Streams other than the compute stream do not wait for it by themselves, nor it for them: only events order them.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

_PORTABLE = 1
"""The registered memory is pinned for every context of the process."""


@dataclass(frozen=True)
class DeviceMemory:
    """What the device has, and what of it this process holds: `held` by its allocator, `used` by living tensors."""

    total_bytes: int
    free_bytes: int
    held_bytes: int
    used_bytes: int

    @property
    def capacity_bytes(self) -> int:
        """What this process could have in all: what others hold is not its own."""
        return self.free_bytes + self.held_bytes


class Event(Protocol):
    """A point in a stream."""

    def query(self) -> bool:
        """Whether everything before it is done."""
        ...

    def synchronize(self) -> None:
        """Let the calling thread wait for it."""
        ...


class CudaCalls(Protocol):
    """What is asked of one device; safe from any thread. Streams are opaque."""

    @property
    def device(self) -> torch.device:
        """The device."""
        ...

    def open_stream(self) -> Any:
        """Return a stream that runs beside the compute stream."""
        ...

    def compute_stream(self) -> Any:
        """Return the stream on which the calling thread computes."""
        ...

    def on(self, stream: Any) -> AbstractContextManager[None]:
        """Let what the calling thread submits within the block go to a stream."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype, stream: Any) -> Tensor:
        """Return memory of the device that is free as soon as a stream comes to use it."""
        ...

    def copy(self, target: Tensor, source: Tensor, stream: Any) -> None:
        """Submit a copy between host and device; neither may be changed or freed before it is done."""
        ...

    def record(self, stream: Any) -> Event:
        """Return an event behind all that was submitted to a stream."""
        ...

    def wait(self, stream: Any, event: Any) -> None:
        """Let what is submitted to a stream from now on wait for an event."""
        ...

    def keep_for(self, tensor: Tensor, stream: Any) -> None:
        """See to it that a freed tensor's memory is used again only when a second stream is done with it."""
        ...

    def pin(self, address: int, size_bytes: int) -> None:
        """Pin pages of the host. Raises RuntimeError where the system does not give that."""
        ...

    def unpin(self, address: int) -> None:
        """Let go of pinned pages."""
        ...

    def memory(self) -> DeviceMemory:
        """Return what is taken and free now."""
        ...

    def begin_peak(self) -> int:
        """Measure the peak of living tensors from now on; return what they take now."""
        ...

    def peak_bytes(self) -> int:
        """Return the most that living tensors have taken since."""
        ...

    def release_unused(self) -> None:
        """Give what the allocator and the plan cache keep for later back to the device."""
        ...


class TorchCuda:
    """CUDA through torch."""

    def __init__(self, device: torch.device) -> None:
        # A device without a number is another one wherever the current one is.
        self.device = torch.device("cuda", torch.cuda.current_device()) if str(device) == "cuda" else device

    def open_stream(self) -> Any:
        """Return a stream of torch's pool, which never waits for the default stream by itself."""
        return torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]

    def compute_stream(self) -> Any:
        """Return torch's current stream."""
        return torch.cuda.current_stream(self.device)

    @contextmanager
    def on(self, stream: Any) -> Iterator[None]:
        """Make a stream the current one."""
        with torch.cuda.stream(stream):
            yield

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype, stream: Any) -> Tensor:
        """Allocate from what the stream has freed, or anew."""
        with torch.cuda.stream(stream):
            return torch.empty(shape, dtype=dtype, device=self.device)

    def copy(self, target: Tensor, source: Tensor, stream: Any) -> None:
        """Submit a copy; of host memory that is not pinned CUDA takes a copy of its own first."""
        with torch.cuda.stream(stream):
            target.copy_(source, non_blocking=True)

    def record(self, stream: Any) -> Event:
        """Record an event that is waited for without burning a core."""
        event: Event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        stream.record_event(event)
        return event

    def wait(self, stream: Any, event: Any) -> None:
        """Submit the waiting."""
        stream.wait_event(event)

    def keep_for(self, tensor: Tensor, stream: Any) -> None:
        """Tell torch's allocator of the second stream."""
        tensor.record_stream(stream)

    def pin(self, address: int, size_bytes: int) -> None:
        """Register host memory. Raises RuntimeError."""
        with torch.cuda.device(self.device):
            error = int(self._runtime().cudaHostRegister(address, size_bytes, _PORTABLE))
            if error == 0:
                return
            try:
                # A refused call stays the thread's last error, which torch's next launch would take for its own.
                torch.zeros(1, device=self.device)
            except RuntimeError as left_over:
                raise RuntimeError(f"CUDA does not pin host memory (error {error})") from left_over
        raise RuntimeError(f"CUDA does not pin host memory (error {error})")

    def unpin(self, address: int) -> None:
        """Unregister host memory."""
        with torch.cuda.device(self.device):
            self._runtime().cudaHostUnregister(address)

    @staticmethod
    def _runtime() -> Any:
        return torch.cuda.cudart()  # type: ignore[no-untyped-call]

    def memory(self) -> DeviceMemory:
        """Ask the driver and torch's allocator."""
        free_bytes, total_bytes = torch.cuda.mem_get_info(self.device)
        held_bytes = torch.cuda.memory_reserved(self.device)
        return DeviceMemory(total_bytes, free_bytes, held_bytes, torch.cuda.memory_allocated(self.device))

    def begin_peak(self) -> int:
        """Reset torch's peak."""
        torch.cuda.reset_peak_memory_stats(self.device)
        return int(torch.cuda.memory_allocated(self.device))

    def peak_bytes(self) -> int:
        """Return torch's peak."""
        return int(torch.cuda.max_memory_allocated(self.device))

    def release_unused(self) -> None:
        """Empty torch's caches."""
        torch.backends.cuda.cufft_plan_cache[self.device].clear()
        torch.cuda.empty_cache()
