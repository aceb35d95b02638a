"""Movies of every format behind one door: header, all frames, or frame by frame.

Frames come in file order and their own integer type, rows oriented as RELION has them: TIFF flipped,
MRC and EER as stored. Every failure is a FileUnreadable, MovieIncomplete, FormatError or
FormatUnsupported; no error of a library gets through.
"""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from daemon.domain.acquisition import EerFractions
from daemon.domain.movie import MOVIE_SUFFIXES, FileIdentity, MovieFormat, MovieHeader
from daemon.errors import FormatUnsupported, MovieIncomplete
from daemon.formats.allocation import allocate
from daemon.formats.byte_source import ByteSource, check_same_file
from daemon.formats.eer import EerFrames, fraction_bounds, fraction_dtype
from daemon.formats.eer_metadata import find_pixel_size, find_total_dose, read_metadata
from daemon.formats.mrc import MrcFrames
from daemon.formats.tiff import TiffFrames


class Frames(Protocol):
    """An open movie: what its frames are, and one at a time. Many threads may call `read_frame`."""

    shape_yx: tuple[int, int]
    dtype: str
    frame_count: int
    source: ByteSource
    """The open file."""

    def read_frame(self, index: int, out_yx: npt.NDArray[Any]) -> None:
        """Decode one frame into a C-contiguous array of `shape_yx` and `dtype`."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def read_movie_header(path: Path) -> MovieHeader:
    """Read what the file itself says, no pixels (but see `daemon.formats.mrc` on mode 0).

    The suffix decides the format. Raises FileUnreadable, MovieIncomplete, FormatError, FormatUnsupported.
    """
    movie_format = MOVIE_SUFFIXES.get(path.suffix.lower())
    if movie_format is None:
        known = " ".join(MOVIE_SUFFIXES)
        raise FormatUnsupported(path, f"{path.suffix or 'a name without suffix'} is no movie format ({known})")
    if movie_format is MovieFormat.EER:
        return _read_eer_header(path)
    with closing(MrcFrames(path) if movie_format is MovieFormat.MRC else TiffFrames(path)) as frames:
        height_px, width_px = frames.shape_yx
        return MovieHeader(
            path=path,
            format=movie_format,
            width_px=width_px,
            height_px=height_px,
            frame_count=frames.frame_count,
            dtype=frames.dtype,
            pixel_size_ang=frames.pixel_size_ang,
            data_bytes=frames.frame_count * height_px * width_px * np.dtype(frames.dtype).itemsize,
            voltage_kv=frames.voltage_kv,
            file=frames.source.file,
        )


def read_proven_header(proven: FileIdentity) -> MovieHeader:
    """Read the header of the very file that was proven whole. Raises MovieChanged, and as `read_movie_header`."""
    header = read_movie_header(proven.path)
    assert header.file is not None, "who reads a header has opened the file"
    check_same_file(proven, header.file)
    return header


def frame_count_after(header: MovieHeader, eer: EerFractions) -> int:
    """Return how many frames `read_movie` gives: those of the file, or the fractions of an EER movie."""
    if header.format is not MovieFormat.EER:
        return header.frame_count
    return len(fraction_bounds(header.frame_count, eer))


def movie_shape(header: MovieHeader, eer: EerFractions) -> tuple[int, int, int]:
    """Return the shape (t, y, x) of the array that `read_movie` gives."""
    factor = eer.upsampling if header.format is MovieFormat.EER else 1
    return frame_count_after(header, eer), header.height_px * factor, header.width_px * factor


def movie_dtype(header: MovieHeader, eer: EerFractions) -> str:
    """Return the type of the array that `read_movie` gives."""
    if header.format is not MovieFormat.EER:
        return header.dtype
    return fraction_dtype(fraction_bounds(header.frame_count, eer))


def decoded_header(header: MovieHeader, eer: EerFractions) -> MovieHeader:
    """Return the header of the movie as it is summed: frames, size and type as `read_movie` gives them.

    `data_bytes` is what is kept in memory of it: all frames, those of an EER movie on the grid of its sensor.
    """
    frames, height_px, width_px = movie_shape(header, eer)
    dtype = movie_dtype(header, eer)
    data_bytes = frames * header.height_px * header.width_px * np.dtype(dtype).itemsize
    return replace(
        header, frame_count=frames, height_px=height_px, width_px=width_px, dtype=dtype, data_bytes=data_bytes
    )


def read_movie(
    header: MovieHeader,
    *,
    eer: EerFractions,
    threads: int = 1,
    out: npt.NDArray[Any] | None = None,
    on_frame: Callable[[npt.NDArray[Any]], None] | None = None,
) -> npt.NDArray[Any]:
    """Read all frames to (t, y, x), decoding on `threads` threads; `eer` matters to EER movies only.

    `out` is filled and returned where it is given; it must have `movie_shape` and `movie_dtype` and be C-contiguous,
    else ValueError. `on_frame` is told each frame, in order, while later ones are decoded. Besides the result, each
    thread takes up to one decoded and one compressed frame. Raises MovieChanged when the file is no longer the one
    whose header was read, or is written while it is read, and MovieIncomplete when it is not what `header` says.
    """
    shape, dtype = movie_shape(header, eer), np.dtype(movie_dtype(header, eer))
    movie_tyx = allocate(shape, dtype) if out is None else out
    if movie_tyx.shape != shape or movie_tyx.dtype != dtype or not movie_tyx.flags.c_contiguous:
        raise ValueError(f"out must be C-contiguous {dtype} {shape}, got {movie_tyx.dtype} {movie_tyx.shape}")
    with closing(open_frames(header, eer)) as frames:
        if threads <= 1:
            for index, frame_yx in enumerate(movie_tyx):
                frames.read_frame(index, frame_yx)
                if on_frame is not None:
                    on_frame(frame_yx)
        else:
            _read_in_parallel(frames, movie_tyx, threads, on_frame)
        frames.source.check_unchanged()
    return movie_tyx


def iterate_frames(header: MovieHeader, *, eer: EerFractions, threads: int = 1) -> Generator[npt.NDArray[Any]]:
    """Yield the frames that `read_movie` returns, each a new array (y, x) that the caller may keep.

    At most `threads` frames are decoded ahead of the one that is yielded. Raises as `read_movie`.
    """
    with closing(open_frames(header, eer)) as frames:

        def read(index: int) -> npt.NDArray[Any]:
            frame_yx = np.empty(frames.shape_yx, frames.dtype)
            frames.read_frame(index, frame_yx)
            return frame_yx

        if threads <= 1:
            yield from map(read, range(frames.frame_count))
            frames.source.check_unchanged()
            return
        with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
            ahead: deque[Future[npt.NDArray[Any]]] = deque()
            for index in range(frames.frame_count):
                ahead.append(pool.submit(read, index))
                if len(ahead) > threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        frames.source.check_unchanged()


def _read_in_parallel(
    frames: Frames, movie_tyx: npt.NDArray[Any], threads: int, on_frame: Callable[[npt.NDArray[Any]], None] | None
) -> None:
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        reads = [pool.submit(frames.read_frame, index, frame_yx) for index, frame_yx in enumerate(movie_tyx)]
        try:
            for read, frame_yx in zip(reads, movie_tyx, strict=True):
                read.result()
                if on_frame is not None:
                    on_frame(frame_yx)
        except BaseException:
            pool.shutdown(cancel_futures=True)  # one damaged frame spoils the movie: leave the rest unread
            raise


def open_frames(header: MovieHeader, eer: EerFractions) -> Frames:
    """Open a movie to read frames when they are wanted; whoever opens it closes it. Raises as `read_movie`."""
    frames: Frames
    if header.format is MovieFormat.EER:
        frames = EerFrames(header.path, eer)
    elif header.format is MovieFormat.TIFF:
        frames = TiffFrames(header.path)
    else:
        frames = MrcFrames(header.path)
    try:
        _check_announced(header, eer, frames)
    except BaseException:
        frames.close()
        raise
    return frames


def _check_announced(header: MovieHeader, eer: EerFractions, frames: Frames) -> None:
    check_opened(header, frames.source)
    found = (frames.frame_count, *frames.shape_yx), frames.dtype
    announced = movie_shape(header, eer), movie_dtype(header, eer)
    if found != announced:
        raise MovieIncomplete(
            header.path, f"it holds {found[1]} {found[0]} (t, y, x) now, and held {announced[1]} {announced[0]} before"
        )


def check_opened(header: MovieHeader, source: ByteSource) -> None:
    """Raise MovieChanged where a file that was opened is not the one whose header was read."""
    if header.file is not None:
        check_same_file(header.file, source.file)


def check_read_elsewhere(header: MovieHeader) -> None:
    """Raise MovieChanged where another program, which has just read a movie by its name, may have read another file.

    Raises FileUnreadable.
    """
    if header.file is not None:
        with closing(ByteSource(header.path)) as source:
            check_opened(header, source)


def _read_eer_header(path: Path) -> MovieHeader:
    with closing(EerFrames(path, EerFractions())) as frames:
        height_px, width_px = frames.sensor_shape_yx
        metadata = read_metadata(frames.metadata_xml, path)
        return MovieHeader(
            path=path,
            format=MovieFormat.EER,
            width_px=width_px,
            height_px=height_px,
            frame_count=len(frames.pages),
            dtype="uint8",
            pixel_size_ang=find_pixel_size(metadata),
            data_bytes=height_px * width_px,
            total_dose_e_per_px=find_total_dose(metadata),
            file=frames.source.file,
        )
