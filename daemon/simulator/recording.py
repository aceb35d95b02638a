"""Turn a simulated movie into a file, frame by frame, as each kind of camera writes it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from daemon.domain.movie import MovieFormat
from daemon.formats.eer_writer import EerWriter
from daemon.formats.mrc_writer import MrcWriter
from daemon.formats.tiff_writer import Compression, TiffMovieWriter
from daemon.numerics.simulation_detector import CountedMovie
from daemon.simulator.plan import MrcType, derive_seed


class FrameWriter(Protocol):
    """An open movie file that takes one frame after the other."""

    def append(self, frame_yx: npt.NDArray[Any], /) -> None:
        """Write one more frame."""

    def close(self) -> None:
        """Finish the file."""


@dataclass(frozen=True)
class Recording:
    """How a movie is stored. hardware_frames_per_frame and seed (places of events) concern EER only."""

    format: MovieFormat
    pixel_size_ang: float
    dose_per_frame_e_per_ang2: float
    hardware_frames_per_frame: int
    seed: int
    mrc_type: MrcType = "bytes"
    compression: Compression = "lzw"

    def frame_count(self, movie: CountedMovie) -> int:
        """Number of frames that the file will hold."""
        return len(movie) * (self.hardware_frames_per_frame if self.format is MovieFormat.EER else 1)


def record_movie(
    movie: CountedMovie, recording: Recording, path: Path, after_frame: Callable[[int, int], None] = lambda *_: None
) -> None:
    """Write `movie` to `path`; `after_frame(written, all)` is called when each frame is in the file.

    One frame is held at a time. Raises FileNotWritten; what is written by then stays.
    """
    total = recording.frame_count(movie)
    writer = _open_writer(movie, recording, path)
    try:
        for written, frame_yx in enumerate(_frames(movie, recording), start=1):
            writer.append(frame_yx)
            after_frame(written, total)
    finally:
        writer.close()


def _frames(movie: CountedMovie, recording: Recording) -> Iterator[npt.NDArray[Any]]:
    if recording.format is MovieFormat.EER:
        for frame in movie.hardware_frames(recording.hardware_frames_per_frame):
            yield frame.numpy()
    else:
        dtype = _dtype(recording)
        for frame in movie.frames():
            yield frame.numpy().astype(dtype, copy=False)


def _dtype(recording: Recording) -> str:
    if recording.format is MovieFormat.TIFF or recording.mrc_type == "bytes":
        return "uint8"
    return recording.mrc_type


def _open_writer(movie: CountedMovie, recording: Recording, path: Path) -> FrameWriter:
    shape_yx = movie.shape_yx
    pixel = recording.pixel_size_ang
    if recording.format is MovieFormat.TIFF:
        return TiffMovieWriter(path, shape_yx, "uint8", compression=recording.compression, pixel_size_ang=pixel)
    if recording.format is MovieFormat.MRC:
        return MrcWriter(
            path,
            shape_yx,
            _dtype(recording),
            pixel_size_ang=pixel,
            section_count=len(movie),
            camera_bytes=recording.mrc_type == "bytes",
        )
    return _EerFrameWriter(movie, recording, path)


class _EerFrameWriter:
    """Places each event at random inside its pixel, always the same way for one seed."""

    def __init__(self, movie: CountedMovie, recording: Recording, path: Path) -> None:
        pixel_m = recording.pixel_size_ang * 1e-10
        count = recording.frame_count(movie)
        self._rng = np.random.default_rng(derive_seed(recording.seed, "event places"))
        self._writer = EerWriter(
            path,
            movie.shape_yx,
            metadata={
                "numberOfFrames": count,
                "exposureTime": f"{count / 250:.4f}",  # 250 hardware frames per second
                "totalDose": f"{movie.electrons_per_px * len(movie):.4f}",
                "sensorPixelSize.width": f"{pixel_m:.6g}",
                "sensorPixelSize.height": f"{pixel_m:.6g}",
            },
        )

    def append(self, frame_yx: npt.NDArray[Any]) -> None:
        self._writer.append(frame_yx, self._rng)

    def close(self) -> None:
        self._writer.close()
