"""Movie after movie through the daemon's own copies, buffers and numerics: read ‖ up ‖ compute ‖ down ‖ write."""

import argparse
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu_movies import draw_movie
from benchmarks.motion.gpu import least_seconds
from daemon.engine.cuda_calls import CudaCalls, DeviceMemory, Event, TorchCuda
from daemon.engine.gpu_room import DeviceRoom
from daemon.engine.landing import Landing
from daemon.engine.pinned import PinnedPool
from daemon.engine.transfers import Arriving, Transfers

_DIFFERENT = 2
_AHEAD = 2
"""Movies that are read while one is computed."""


class TimedCuda(TorchCuda):
    """The card, with a stopwatch on every copy."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.marks: dict[str, list[tuple[Any, Any]]] = defaultdict(list)
        self._lock = threading.Lock()

    def copy(self, target: Tensor, source: Tensor, stream: Any) -> None:
        """Submit a copy between two marks."""
        with self.timed("copy up" if target.is_cuda else "copy down", stream):
            super().copy(target, source, stream)

    @contextmanager
    def timed(self, step: str, stream: Any) -> Iterator[None]:
        """Set a mark before and behind what the block submits to a stream."""
        before, behind = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        stream.record_event(before)
        yield
        stream.record_event(behind)
        with self._lock:
            self.marks[step].append((before, behind))

    def seconds(self) -> dict[str, float]:
        """Return the time of all that was marked, once it is done, and forget it."""
        torch.cuda.synchronize(self.device)
        spent = {
            step: sum(before.elapsed_time(behind) for before, behind in marks) / 1e3
            for step, marks in self.marks.items()
        }
        self.marks.clear()
        return spent


class _Passed:
    """An event of a machine that does everything at once."""

    def query(self) -> bool:
        """It has passed."""
        return True

    def synchronize(self) -> None:
        """Nothing is waited for."""


@dataclass
class HostCalls:
    """The CPU in place of a card: for trials."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    spent_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def open_stream(self) -> Any:
        """There is one."""
        return None

    def compute_stream(self) -> Any:
        """There is one."""
        return None

    @contextmanager
    def on(self, stream: Any) -> Iterator[None]:
        """There is one."""
        del stream
        yield

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype, stream: Any) -> Tensor:
        """Allocate."""
        del stream
        return torch.empty(shape, dtype=dtype)

    def copy(self, target: Tensor, source: Tensor, stream: Any) -> None:
        """Copy at once."""
        del stream
        target.copy_(source)

    def record(self, stream: Any) -> Event:
        """All is done."""
        del stream
        return _Passed()

    def wait(self, stream: Any, event: Any) -> None:
        """All is done."""

    def keep_for(self, tensor: Tensor, stream: Any) -> None:
        """There is one stream."""

    def pin(self, address: int, size_bytes: int) -> None:
        """Nothing is pinned."""

    def unpin(self, address: int) -> None:
        """Nothing is pinned."""

    def memory(self) -> DeviceMemory:
        """As much as anyone wants."""
        return DeviceMemory(1 << 40, 1 << 40, 0, 0)

    def begin_peak(self) -> int:
        """It is not measured."""
        return 0

    def peak_bytes(self) -> int:
        """It is not measured."""
        return 0

    def release_unused(self) -> None:
        """Nothing is kept."""

    @contextmanager
    def timed(self, step: str, stream: Any) -> Iterator[None]:
        """Stop the time of a block."""
        del stream
        begun = time.perf_counter()
        yield
        self.spent_s[step] += time.perf_counter() - begun

    def seconds(self) -> dict[str, float]:
        """Return what was measured."""
        spent, self.spent_s = dict(self.spent_s), defaultdict(float)
        return spent


class Line:
    """Reader, copies, computing and writers as the daemon has them."""

    def __init__(self, calls: TimedCuda | HostCalls, readers: int, home: Path) -> None:
        shared: CudaCalls = calls
        self.calls, self._home = calls, home
        self.pool, self.room = PinnedPool(shared), DeviceRoom(shared)
        self._shared, self._transfers = shared, Transfers(shared, self.pool)
        self._decoders = ThreadPoolExecutor(readers, "decode")
        self._ahead = ThreadPoolExecutor(_AHEAD, "reader")
        self._writers = ThreadPoolExecutor(2, "writer")
        self.read_s = self.written_s = 0.0

    def run(
        self, movies: Sequence[Sequence[bytes] | np.ndarray[Any, Any]], shape_tyx: tuple[int, int, int], count: int
    ) -> float:
        """Take `count` movies through; return the seconds that took."""
        from daemon.numerics.motion import correct_motion, estimate_motion  # scipy may be missing

        begun = time.perf_counter()
        waiting = [
            self._ahead.submit(self._read, movies[n % len(movies)], shape_tyx) for n in range(min(count, _AHEAD))
        ]
        written: list[Future[None]] = []
        for number in range(count):
            landing = waiting.pop(0).result()
            following = number + _AHEAD
            if following < count:
                waiting.append(self._ahead.submit(self._read, movies[following % len(movies)], shape_tyx))
            source = landing.source(shape_tyx[1:])
            assert source is not None, "a movie found no room on the device"
            stream = self._shared.compute_stream()
            with self.calls.timed("estimate", stream):
                estimate = estimate_motion(source, pixel_size_ang=0.83, dose_per_frame_e_per_ang2=1.45)
            with self.calls.timed("sum", stream):
                corrected = correct_motion(source, estimate, pixel_size_ang=0.83, dose_per_frame_e_per_ang2=1.45)
            images = [corrected.unweighted_yx, corrected.weighted_yx, corrected.spectrum.spectrum_yx]
            later = [self._transfers.bring_down(image) for image in images if image is not None]
            del source, corrected, images
            landing.close()
            written += [self._writers.submit(self._write, f"{number}_{n}.npy", image) for n, image in enumerate(later)]
        for future in written:
            future.result()
        return time.perf_counter() - begun

    def close(self) -> None:
        """End the threads."""
        for pool in (self._decoders, self._ahead, self._writers):
            pool.shutdown()

    def _read(self, movie: Sequence[bytes] | np.ndarray[Any, Any], shape_tyx: tuple[int, int, int]) -> Landing:
        begun = time.perf_counter()
        landing = Landing(self._shared, self._transfers, self.room, self.pool.array(shape_tyx, np.uint8))

        def decode(frame: int) -> None:
            data = movie[frame]
            flat = np.frombuffer(zlib.decompress(data), np.uint8) if isinstance(data, bytes) else data.reshape(-1)
            landing.movie_tyx[frame].reshape(-1)[:] = flat

        for frame, done in enumerate([self._decoders.submit(decode, frame) for frame in range(shape_tyx[0])]):
            done.result()
            landing.note_decoded(landing.movie_tyx[frame])
        self.read_s += time.perf_counter() - begun
        return landing

    def _write(self, name: str, image: Arriving) -> None:
        array = image.result()
        begun = time.perf_counter()
        np.save(self._home / name, array)
        (self._home / name).unlink()
        self.written_s += time.perf_counter() - begun


def measure_line(
    device: torch.device,
    wish: argparse.Namespace,
    home: Path,
    bandwidths: dict[str, float],
    tell: Callable[[str], None],
) -> None:
    """Measure both ways of having a movie's bytes: decoded from deflate on the host's threads, and copied."""
    try:
        import scipy  # noqa: F401 - numerics need it
    except ImportError as missing:
        tell(f"movies/h: unproven, {missing}")
        return
    shape_tyx = (wish.frames, *wish.size)
    drawn = [draw_movie(tuple(wish.size), wish.frames, device, seed=seed)[0].numpy() for seed in range(_DIFFERENT)]
    for way in ("memory", "deflate"):
        movies: Sequence[Sequence[bytes] | np.ndarray[Any, Any]] = drawn
        if way == "deflate":
            movies = [[zlib.compress(frame, 1) for frame in movie] for movie in drawn]
        calls = TimedCuda(device) if device.type == "cuda" else HostCalls()
        line = Line(calls, wish.readers, home)
        line.run(movies, shape_tyx, 2)  # plans, buffers, kernels
        calls.seconds()
        line.read_s = line.written_s = 0.0
        wall_s = line.run(movies, shape_tyx, wish.movies)
        _tell_line(line, way, wall_s, wish, bandwidths, tell)
        line.close()


def _tell_line(
    line: Line,
    way: str,
    wall_s: float,
    wish: argparse.Namespace,
    bandwidths: dict[str, float],
    tell: Callable[[str], None],
) -> None:
    spent = line.calls.seconds()
    count, decoded_bytes = wish.movies, wish.frames * wish.size[0] * wish.size[1]
    rate = f", {3600 * count / wall_s:.0f} movies/h (goal 7,200)" if bandwidths else ""
    tell(
        f"{count} movies of {wish.frames} × {wish.size[0]} × {wish.size[1]} from {way}, {wish.readers} threads decode: "
        f"{wall_s / count:.3f} s a movie{rate}"
    )
    least = least_seconds(decoded_bytes, **bandwidths) if bandwidths else {}
    for step, seconds in spent.items():
        bound = f", {seconds / count / least[step]:.1f} × bytes ÷ bandwidth" if step in least else ""
        tell(f"  {step:9s} {seconds / count:.4f} s a movie, busy {100 * seconds / wall_s:.0f} %{bound}")
    tell(f"  reading   {line.read_s / count:.4f} s a movie; writing {line.written_s / count:.4f} s")
    pinned = line.pool.statistics()
    tell(f"  buffers   {pinned.made} made, {pinned.reused} used again, not pinned: {dict(pinned.pageable) or 'none'}")
