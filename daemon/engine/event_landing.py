"""An EER movie on the GPU: its events go up as they stand in the file, and are counted there.

What stays on the device are the fractions on the grid of the sensor, which are aligned, and, where the sum's grid is
finer, the events: each fraction of the finer grid is counted when it is wanted.
"""

import threading
from collections import deque
from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from daemon.engine.cuda_calls import CudaCalls, Event
from daemon.engine.gpu_room import DeviceRoom
from daemon.engine.landing import CHUNK_BYTES, UploadedMovie
from daemon.engine.pinned import PinnedPool
from daemon.engine.transfers import Transfers
from daemon.formats.eer import EerFrames
from daemon.numerics.kernels.eer_events import (
    EventLayout,
    EventList,
    EventStreams,
    add_events,
    decode_events,
    place_streams,
)
from daemon.numerics.movie_source import MovieSource

_CODE_BYTES, _TOTAL_BYTES = 4, 4
_CHUNKS_AT_ONCE = 2
"""One is read while the one before it goes up."""


def can_count_events(device: torch.device) -> bool:
    """Whether events are counted on a device: on a GPU that takes cupy."""
    return device.type != "cuda" or find_spec("cupy") is not None


class CountedFractions:
    """Fractions of a finer grid, each counted when it is wanted and kept by nobody: a source for numerics."""

    def __init__(
        self, events: EventList, bounds: list[tuple[int, int]], shape_yx: tuple[int, int], stack_tyx: Tensor
    ) -> None:
        """`stack_tyx` are the fractions on the grid of the sensor; shape_yx is that of the finer grid."""
        self.shape: tuple[int, ...] = (len(bounds), *shape_yx)
        self.dtype, self.device = stack_tyx.dtype, stack_tyx.device
        self._events, self._bounds = events, bounds
        self._upsampling = shape_yx[0] // stack_tyx.shape[1]
        self._width_px = stack_tyx.shape[2]

    def __getitem__(self, frame: int, /) -> Tensor:
        """Count one fraction."""
        out_yx = torch.zeros(self.shape[1:], dtype=self.dtype, device=self.device)
        add_events(self._events, *self._bounds[frame], self._width_px, self._upsampling, out_yx)
        return out_yx


class EventLanding:
    """What the device has of an EER movie."""

    def __init__(self, calls: CudaCalls, transfers: Transfers, room: DeviceRoom, frames: EerFrames) -> None:
        """`frames` is open, on the grid of the sensor; it is read by `load` only."""
        self._calls, self._transfers, self._room = calls, transfers, room
        self._bounds, self._sensor_yx = frames.bounds, frames.sensor_shape_yx
        scheme = frames.scheme
        self._layout = EventLayout(scheme.run_bits, scheme.x_bits, scheme.y_bits, scheme.skip_bits)
        self._pixels = frames.sensor_shape_yx[0] * frames.sensor_shape_yx[1]
        self._dtype = torch.from_numpy(np.empty(0, frames.dtype)).dtype
        self._lock = threading.Lock()
        self._stack: UploadedMovie | None = None
        self._events: EventList | None = None
        self.total_yx = np.zeros(frames.sensor_shape_yx, np.int32)
        """The sum of all fractions, once they are counted."""
        self._first_byte_f, self._stream_bytes = place_streams(frames.event_bytes)
        self._code_bytes = _CODE_BYTES * sum(self._layout.most_events(size) for size in frames.event_bytes)
        self.data_bytes = len(self._bounds) * self._pixels * self._dtype.itemsize
        """Its fractions alone."""

    @property
    def is_there(self) -> bool:
        """Whether it takes memory of the device."""
        with self._lock:
            return self._stack is not None

    def load(self, frames: EerFrames, pool: PinnedPool, *, finer: bool) -> str | None:
        """Read, bring up and count; on a reader's thread. Return None, or why the movie has to be decoded elsewhere.

        `finer`: keep the events for a finer grid. Raises what reading the file raises.
        """
        most_bytes = self._stream_bytes + self._code_bytes + self.data_bytes + _TOTAL_BYTES * self._pixels
        if not self._room.admit(self, most_bytes, self.give_way):
            return "the GPU has no room for its events"
        try:
            self._bring_up_and_count(frames, pool, keep_events=finer)
        except ValueError as error:  # the reader says what is wrong with such a file
            self.close()
            return str(error)
        except torch.OutOfMemoryError:
            self.close()
            return "the GPU's memory is full"
        except BaseException:
            self.close()
            raise
        return None

    def source(self, shape_yx: tuple[int, int]) -> MovieSource | None:
        """Return the fractions of that size; None where they are not there."""
        with self._lock:
            if self._stack is None:
                return None
            compute = self._calls.compute_stream()
            if shape_yx == self._sensor_yx:
                self._calls.keep_for(self._stack.movie_tyx, compute)
                return self._stack
            if self._events is None:
                return None
            for tensor in (self._events.code_e, self._events.first_f, self._events.count_f):
                self._calls.keep_for(tensor, compute)
            return CountedFractions(self._events, self._bounds, shape_yx, self._stack.movie_tyx)

    def give_way(self) -> None:
        """Take no memory of the device any more; frames are decoded from the file one by one."""
        with self._lock:
            self._stack = self._events = None

    def stay_away(self) -> None:
        """Take no memory of the device any more."""
        self.close()

    def close(self) -> None:
        """The movie is not wanted any more."""
        self._room.release(self)
        self.give_way()

    def _bring_up_and_count(self, frames: EerFrames, pool: PinnedPool, *, keep_events: bool) -> None:
        upward = self._transfers.upward
        stream_b = self._calls.empty((self._stream_bytes,), torch.uint8, upward)
        events_up: deque[Event] = deque()
        for start, chunk_b in _read_chunks(frames, self._first_byte_f, self._stream_bytes, pool):
            events_up.append(self._transfers.bring_up(stream_b[start : start + len(chunk_b)], chunk_b))
            if len(events_up) >= _CHUNKS_AT_ONCE:
                events_up.popleft().synchronize()
        shape_tyx = (len(self._bounds), *self._sensor_yx)
        stack_tyx = self._calls.empty(shape_tyx, self._dtype, upward)
        with self._calls.on(upward):
            streams = EventStreams(stream_b, self._first_byte_f, frames.event_bytes)
            events = decode_events(streams, self._layout, self._pixels)
            stack_tyx.zero_()
            total_yx = torch.zeros(self._sensor_yx, dtype=torch.int32, device=stack_tyx.device)
            for frame_yx, (start, end) in zip(stack_tyx, self._bounds, strict=True):
                add_events(events, start, end, self._sensor_yx[1], 1, frame_yx)
                total_yx += frame_yx.to(torch.int32)
            self.total_yx = total_yx.cpu().numpy()
        stack = UploadedMovie(stack_tyx, self._calls)
        stack.note_arrival(len(self._bounds), self._calls.record(upward))
        with self._lock:
            self._stack, self._events = stack, events if keep_events else None
        if not self._room.holds(self):
            self.give_way()
        self._room.resize(self, self.data_bytes + (self._code_bytes if keep_events else 0))


def _read_chunks(
    frames: EerFrames, first_byte_f: tuple[int, ...], end_byte: int, pool: PinnedPool
) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """Yield where bytes of the joined streams belong, and the bytes, in arrays of the pool that go back to it."""
    number, count = 0, len(first_byte_f)
    while number < count:
        start = first_byte_f[number]
        last = number + 1
        while last < count and first_byte_f[last] - start < CHUNK_BYTES:
            last += 1
        end = first_byte_f[last] if last < count else end_byte
        chunk_b = pool.array((end - start,), np.uint8)
        chunk_b.fill(0)
        for frame in range(number, last):
            events = frames.read_events(frame)
            at = first_byte_f[frame] - start
            chunk_b[at : at + len(events)] = np.frombuffer(events, np.uint8)
        yield start, chunk_b
        number = last
