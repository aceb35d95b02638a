"""Turn a simulated movie into a file, frame by frame, as each kind of camera writes it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from daemon.domain.movie import MovieFormat
from daemon.formats.eer_scheme import EER_65000, EER_65001, EerScheme, variable_scheme
from daemon.formats.eer_writer import EerWriter
from daemon.formats.mrc_writer import MrcWriter
from daemon.formats.tiff_writer import Compression, TiffMovieWriter
from daemon.numerics.simulation_detector import CountedMovie
from daemon.simulator.camera_files import CameraFaults
from daemon.simulator.plan import MovieKind, MrcType, derive_seed

_LARGEST_NIBBLE, _LARGEST_BYTE = 15, 255
_TILE_SHAPE_YX = (256, 256)
_SCHEMES: Mapping[MovieKind, EerScheme] = {
    "eer": EER_65001,
    "eer65000": EER_65000,
    "eer65002": variable_scheme(9, 2, 2),
}


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
    kind: MovieKind
    pixel_size_ang: float
    dose_per_frame_e_per_ang2: float
    hardware_frames_per_frame: int
    seed: int
    mrc_type: MrcType = "bytes"
    compression: Compression = "lzw"
    faults: CameraFaults | None = None

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
    faults = recording.faults
    if recording.format is MovieFormat.EER:
        for frame in movie.hardware_frames(recording.hardware_frames_per_frame):
            events_yx = frame.numpy()
            if faults is not None:
                faults.ruin(events_yx, 0)
            yield events_yx
        return
    dtype, largest = _dtype(recording), _LARGEST_NIBBLE if recording.kind == "mrc4" else _LARGEST_BYTE
    for frame in movie.frames():
        counts_yx = np.minimum(frame.numpy(), largest)
        if faults is not None:
            counts_yx = faults.add_dark(counts_yx, largest)
            faults.ruin(counts_yx, largest)
        yield counts_yx.astype(dtype, copy=False)


def _dtype(recording: Recording) -> str:
    if recording.kind != "mrc" or recording.mrc_type == "bytes":
        return "uint8"
    return recording.mrc_type


def _open_writer(movie: CountedMovie, recording: Recording, path: Path) -> FrameWriter:
    shape_yx = movie.shape_yx
    pixel = recording.pixel_size_ang
    if recording.format is MovieFormat.TIFF:
        tiles = _TILE_SHAPE_YX if recording.kind == "tiff-tiled" else None
        compression = recording.compression
        return TiffMovieWriter(
            path, shape_yx, "uint8", compression=compression, tile_shape_yx=tiles, pixel_size_ang=pixel
        )
    if recording.format is MovieFormat.MRC:
        return MrcWriter(
            path,
            shape_yx,
            _dtype(recording),
            pixel_size_ang=pixel,
            section_count=len(movie),
            camera_bytes=recording.kind == "mrc" and recording.mrc_type == "bytes",
            camera_nibbles=recording.kind == "mrc4",
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
            scheme=_SCHEMES[recording.kind],
        )

    def append(self, frame_yx: npt.NDArray[Any]) -> None:
        self._writer.append(frame_yx, self._rng)

    def close(self) -> None:
        self._writer.close()
