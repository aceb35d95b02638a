"""A movie on its way to the GPU: chunks of it go up while later frames are still decoded, or others are computed.

What is computed waits, on the device, for the chunk that holds the frame it wants, never for the whole movie.
"""

import threading
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from daemon.engine.cuda_calls import CudaCalls, Event
from daemon.engine.gpu_room import DeviceRoom
from daemon.engine.transfers import Transfers
from daemon.numerics.movie_source import MovieSource

CHUNK_BYTES = 64 << 20
"""Frames are brought up in chunks of at least this: few calls, and early enough for the rest to overlap."""


class DeviceMovie(Protocol):
    """What the device has, or will have, of a movie."""

    data_bytes: int
    """Its frames alone, as stages count them in."""

    @property
    def is_there(self) -> bool:
        """Whether it takes memory of the device now."""
        ...

    def source(self, shape_yx: tuple[int, int]) -> MovieSource | None:
        """Return its frames of that size on the device; None where they have to be brought one by one."""
        ...

    def stay_away(self) -> None:
        """Take no memory of the device from now on."""
        ...

    def close(self) -> None:
        """It is not wanted any more."""
        ...


class UploadedMovie:
    """Frames on the device, some of which may still be on their way: the source that numerics reads."""

    def __init__(self, movie_tyx: Tensor, calls: CudaCalls) -> None:
        self.movie_tyx = movie_tyx
        self.shape: tuple[int, ...] = tuple(movie_tyx.shape)
        self.dtype = movie_tyx.dtype
        self.device = movie_tyx.device
        self._calls = calls
        self._arrivals: list[tuple[int, Event]] = []
        self._seen: dict[Any, int] = {}
        """Up to which frame a stream has waited already."""

    def note_arrival(self, end_frame: int, event: Event) -> None:
        """All frames before `end_frame` are there once `event` has passed."""
        self._arrivals.append((end_frame, event))

    def __getitem__(self, frame: int, /) -> Tensor:
        """Return one raw frame (y, x), to be read on the stream that the calling thread computes on."""
        stream = self._calls.compute_stream()
        if frame >= self._seen.get(stream, 0):
            arrival = next((each for each in self._arrivals if each[0] > frame), None)
            if arrival is None:
                raise IndexError(f"frame {frame} of a movie was read before its way to the device was announced")
            end_frame, event = arrival
            self._calls.wait(stream, event)
            self._seen[stream] = end_frame
        return self.movie_tyx[frame]


class Landing:
    """A movie decoded into host memory, and brought up as far as there is room."""

    def __init__(self, calls: CudaCalls, transfers: Transfers, room: DeviceRoom, movie_tyx: npt.NDArray[Any]) -> None:
        """Frames are announced by `note_decoded`, in order."""
        self._calls, self._transfers, self._room = calls, transfers, room
        self.movie_tyx = movie_tyx
        self.data_bytes = int(movie_tyx.nbytes)
        frame_bytes = max(1, self.data_bytes // max(1, len(movie_tyx)))
        self._frames_each = max(1, -(-CHUNK_BYTES // frame_bytes))
        self._lock = threading.Lock()
        self._there: UploadedMovie | None = None
        self._sent = self._decoded = 0
        self._stays_away = False
        self._begin()

    @property
    def is_there(self) -> bool:
        """Whether it takes memory of the device."""
        with self._lock:
            return self._there is not None

    def note_decoded(self, frame_yx: npt.NDArray[Any]) -> None:
        """One more frame is decoded."""
        del frame_yx
        with self._lock:
            self._decoded += 1
            if self._decoded - self._sent >= self._frames_each or self._decoded == len(self.movie_tyx):
                self._send()

    def source(self, shape_yx: tuple[int, int]) -> MovieSource | None:
        """Return the movie on the device, bringing it up now where there was no room before."""
        if shape_yx != self.movie_tyx.shape[1:]:
            return None
        if not self.is_there and not self._stays_away:
            self._begin()
            with self._lock:
                self._send()
        with self._lock:
            if self._there is not None:
                self._calls.keep_for(self._there.movie_tyx, self._calls.compute_stream())
            return self._there

    def give_way(self) -> None:
        """Take no memory of the device for now: others need it."""
        with self._lock:
            self._there = None

    def stay_away(self) -> None:
        """Take no memory of the device from now on: frames are brought one by one."""
        self._stays_away = True
        self.close()

    def close(self) -> None:
        """The movie is not wanted any more."""
        self._room.release(self)
        self.give_way()

    def _begin(self) -> None:
        if not self._room.admit(self, self.data_bytes, self.give_way):
            return
        try:
            dtype = torch.from_numpy(np.empty(0, self.movie_tyx.dtype)).dtype
            there = self._calls.empty(self.movie_tyx.shape, dtype, self._transfers.upward)
        except torch.OutOfMemoryError:  # the room is an estimate: it waits for its turn like one that was refused
            self._room.release(self)
            return
        with self._lock:
            self._there, self._sent = UploadedMovie(there, self._calls), 0
        if not self._room.holds(self):
            self.give_way()

    def _send(self) -> None:
        if self._there is None:
            return
        while self._sent < self._decoded:
            end = min(self._decoded, self._sent + self._frames_each)
            frames = slice(self._sent, end)
            event = self._transfers.bring_up(self._there.movie_tyx[frames], self.movie_tyx[frames])
            self._there.note_arrival(end, event)
            self._sent = end
