"""Slow writers of every format, step by step in simulated time: none is started early, none is kept waiting.

A writer is a generator that does one piece of its work and yields how long it then pauses. What it leaves between
two pieces is what a camera or a copy really leaves: a valid but short TIFF, an MRC without its end, reserved space.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import numpy as np
import pytest

from daemon.formats.eer_writer import EerWriter
from daemon.formats.mrc_writer import MrcWriter
from daemon.formats.tiff_writer import TiffMovieWriter
from daemon.watchers.directory import DirectoryPoller
from daemon.watchers.discovery import Discoverer
from tests.watchers.stand_ins import RecordingSink, StepClock, run_looks

pytestmark = pytest.mark.anyio

FRAMES, EDGE_PX = 12, 64
LIMIT_S = 10.0
"""From the last write to the verdict, with the default rule and a poll every 1.5 s."""

Writer = Callable[[Path, np.random.Generator], Iterator[float]]


def frames(generator: np.random.Generator) -> Iterator[np.ndarray[tuple[int, int], np.dtype[np.int8]]]:
    for _ in range(FRAMES):
        yield generator.integers(0, 2, (EDGE_PX, EDGE_PX)).astype(np.int8)


def pause_s(generator: np.random.Generator) -> float:
    """Mostly quick, now and then a stall of up to 40 s, as on a busy link."""
    return float(generator.uniform(5.0, 40.0) if generator.random() < 0.2 else generator.uniform(0.0, 1.0))


def write_mrc_with_final_header(path: Path, generator: np.random.Generator) -> Iterator[float]:
    writer = MrcWriter(path, (EDGE_PX, EDGE_PX), "int8", pixel_size_ang=1.0, section_count=FRAMES)
    for index, frame_yx in enumerate(frames(generator)):
        if index:
            yield pause_s(generator)
        writer.append(frame_yx + np.int8(1))
    writer.close()


def write_mrc_with_growing_header(path: Path, generator: np.random.Generator) -> Iterator[float]:
    writer = MrcWriter(path, (EDGE_PX, EDGE_PX), "int8", pixel_size_ang=1.0)
    for index, frame_yx in enumerate(frames(generator)):
        if index:
            yield pause_s(generator)
        writer.append(frame_yx + np.int8(1))
    writer.close()


def write_tiff_in_place(path: Path, generator: np.random.Generator) -> Iterator[float]:
    writer = TiffMovieWriter(path, (EDGE_PX, EDGE_PX), "int8", compression="lzw")
    for index, frame_yx in enumerate(frames(generator)):
        if index:
            yield pause_s(generator)
        writer.append(frame_yx)
    writer.close()


def write_plain_tiff_in_place(path: Path, generator: np.random.Generator) -> Iterator[float]:
    writer = TiffMovieWriter(path, (EDGE_PX, EDGE_PX), "int8", compression="none")
    for index, frame_yx in enumerate(frames(generator)):
        if index:
            yield pause_s(generator)
        writer.append(frame_yx + np.int8(1))
    writer.close()


def write_eer_in_place(path: Path, generator: np.random.Generator) -> Iterator[float]:
    writer = EerWriter(path, (EDGE_PX, EDGE_PX), metadata={})
    for index, frame_yx in enumerate(frames(generator)):
        if index:
            yield pause_s(generator)
        writer.append(frame_yx.astype(np.uint8))
    writer.close()


def finished(write: Writer, path: Path, generator: np.random.Generator) -> bytes:
    """Return the bytes of a movie written elsewhere at once."""
    path.parent.mkdir(exist_ok=True)
    for _ in write(path, generator):
        pass
    return path.read_bytes()


def copied(write: Writer) -> Writer:
    """A copy from the front to the end under the final name (cp, scp)."""

    def copy(path: Path, generator: np.random.Generator) -> Iterator[float]:
        content = finished(write, path.parents[2] / "camera" / path.name, generator)
        cuts = np.sort(generator.integers(0, len(content), 8))
        with path.open("wb", buffering=0) as file:
            for index, piece in enumerate(np.split(np.frombuffer(content, np.uint8), cuts)):
                if index:
                    yield pause_s(generator)
                file.write(piece.tobytes())

    return copy


def copied_into_reserved_space(write: Writer) -> Writer:
    """A copy that takes the full size first and keeps size and time as they are (SMB, robocopy, lazy servers)."""

    def copy(path: Path, generator: np.random.Generator) -> Iterator[float]:
        content = finished(write, path.parents[2] / "camera" / path.name, generator)
        path.write_bytes(bytes(len(content)))
        times_ns = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
        with path.open("r+b", buffering=0) as file:
            for piece in np.array_split(np.frombuffer(content, np.uint8), 8):
                yield pause_s(generator)
                file.write(piece.tobytes())
                os.utime(path, ns=times_ns)

    return copy


def renamed_when_done(write: Writer) -> Writer:
    """A copy under a temporary name (rsync)."""

    def copy(path: Path, generator: np.random.Generator) -> Iterator[float]:
        temporary = path.with_name(f".{path.name}.Xy12Zq")
        yield from write(temporary, generator)
        temporary.rename(path)

    return copy


WRITERS: dict[str, tuple[str, Writer]] = {
    "MRC, final header": (".mrc", write_mrc_with_final_header),
    "MRC, growing header": (".mrcs", write_mrc_with_growing_header),
    "MRC, copied": (".mrc", copied(write_mrc_with_final_header)),
    "MRC, reserved": (".mrc", copied_into_reserved_space(write_mrc_with_final_header)),
    "MRC, renamed": (".mrc", renamed_when_done(write_mrc_with_final_header)),
    "TIFF, in place": (".tif", write_tiff_in_place),
    "TIFF, plain, in place": (".tif", write_plain_tiff_in_place),
    "TIFF, copied": (".tif", copied(write_tiff_in_place)),
    "TIFF, reserved": (".tiff", copied_into_reserved_space(write_tiff_in_place)),
    "TIFF, renamed": (".tif", renamed_when_done(write_tiff_in_place)),
    "EER, in place": (".eer", write_eer_in_place),
    "EER, copied": (".eer", copied(write_eer_in_place)),
    "EER, reserved": (".eer", copied_into_reserved_space(write_eer_in_place)),
    "EER, renamed": (".eer", renamed_when_done(write_eer_in_place)),
}


class Acquisition:
    """Drives many writers in simulated time and remembers when each wrote last."""

    def __init__(self, clock: StepClock, root: Path, name: str, movies: int, seed: int) -> None:
        suffix, write = WRITERS[name]
        self._clock = clock
        self._due_s: dict[Path, float] = {}
        self._writers: dict[Path, Iterator[float]] = {}
        self.last_write_s: dict[Path, float] = {}
        for index in range(movies):
            path = root / "frames" / f"movie_{index:03d}{suffix}"
            self._writers[path] = write(path, np.random.default_rng([seed, index]))
            self._due_s[path] = clock.now_s + 7.0 * index

    @property
    def is_over(self) -> bool:
        return not self._writers

    def step(self) -> None:
        for path, writer in list(self._writers.items()):
            while path in self._writers and self._due_s[path] <= self._clock.now_s:
                rest_s = next(writer, None)
                self.last_write_s[path] = self._clock.now_s
                if rest_s is None:
                    del self._writers[path]
                else:
                    self._due_s[path] += rest_s


@pytest.mark.parametrize("name", WRITERS)
async def test_no_movie_is_started_early_or_kept_waiting(tmp_path: Path, name: str) -> None:
    clock = StepClock()
    sink = RecordingSink(clock)
    (tmp_path / "raw" / "frames").mkdir(parents=True)
    movies = 6
    acquisition = Acquisition(clock, tmp_path / "raw", name, movies, seed=20)
    discoverer = Discoverer(DirectoryPoller(tmp_path / "raw"), sink, expected_frames=lambda _: FRAMES, clock=clock)
    next_poll_s = over_since_s = clock.now_s
    while clock.now_s - over_since_s < LIMIT_S + 2.0:
        acquisition.step()
        if not acquisition.is_over:
            over_since_s = clock.now_s
        if clock.now_s >= next_poll_s:
            await discoverer.scan()
            next_poll_s += 1.5
        await run_looks(discoverer)
        clock.now_s += 0.25
    assert len(sink.paths("complete")) == movies
    for path, last_write_s in acquisition.last_write_s.items():
        delay_s = sink.completed_at_s[path] - last_write_s
        assert 0.0 <= delay_s <= LIMIT_S, f"{path.name} judged {delay_s} s after its last write"
        assert sink.movies[path].structure.frame_count == FRAMES
    assert not sink.paths("rewritten")
    assert not sink.paths("quarantined")


@pytest.mark.parametrize(
    "name", ["MRC, copied", "MRC, reserved", "TIFF, copied", "TIFF, reserved", "EER, copied", "EER, reserved"]
)
async def test_a_copy_that_stops_is_never_started_and_ends_in_quarantine(tmp_path: Path, name: str) -> None:
    """The writer dies after each of its pieces in turn, the session's frame count unknown: the hardest case."""
    clock = StepClock()
    sink = RecordingSink(clock)
    (tmp_path / "raw" / "frames").mkdir(parents=True)
    suffix, write = WRITERS[name]
    stopped = []
    for pieces in range(1, 8):
        path = tmp_path / "raw" / "frames" / f"stopped_{pieces}{suffix}"
        writer = write(path, np.random.default_rng(pieces))
        for _ in range(pieces):
            next(writer)
        stopped.append(path)
    discoverer = Discoverer(DirectoryPoller(tmp_path / "raw"), sink, expected_frames=lambda _: None, clock=clock)
    while clock.now_s < 1000.0 + 1900.0:
        await discoverer.scan()
        await run_looks(discoverer)
        clock.now_s += 10.0
    assert sorted(sink.paths("quarantined")) == sorted(stopped)
    assert not sink.paths("complete")


async def test_a_sparse_movie_with_a_zero_end_is_completed(tmp_path: Path) -> None:
    """Rows masked by the camera, and a shutter that closed before the last frame: real movies, not stopped copies."""
    clock = StepClock()
    sink = RecordingSink(clock)
    generator = np.random.default_rng(3)
    for name, blank in (("masked", np.s_[-1, -3:]), ("shutter", np.s_[-2:])):
        movie_tyx = generator.poisson(0.05, (FRAMES, 512, 512)).astype(np.int8)
        movie_tyx[blank] = 0
        writer = MrcWriter(tmp_path / f"{name}.mrc", (512, 512), "int8", pixel_size_ang=1.0, section_count=FRAMES)
        for frame_yx in movie_tyx:
            writer.append(frame_yx)
        writer.close()
    discoverer = Discoverer(DirectoryPoller(tmp_path), sink, expected_frames=lambda _: FRAMES, clock=clock)
    with anyio.fail_after(60):
        while not discoverer.is_settled:
            await discoverer.scan()
            await run_looks(discoverer)
            clock.now_s += 1.0
    assert set(sink.movies) == {tmp_path / "masked.mrc", tmp_path / "shutter.mrc"}
    assert sink.completed_at_s[tmp_path / "masked.mrc"] <= 1000.0 + 25.0
    assert "the last 2 of 12 frames are blank" in sink.movies[tmp_path / "shutter.mrc"].reason
