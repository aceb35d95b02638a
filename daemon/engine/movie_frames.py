"""A movie's frames on the way to the stages: all in memory, or each from its file whenever it is asked for.

Both give the same frames. Where they do not stay in memory, or leave for a GPU, their mean is taken while they are
decoded for the first time.
"""

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from daemon.domain.acquisition import EerFractions
from daemon.domain.movie import MovieHeader
from daemon.errors import FileUnreadable, MovieUnreadable, ReadStuck
from daemon.formats.movie import Frames, movie_dtype, movie_shape, open_frames
from daemon.pipeline.context import Array

if TYPE_CHECKING:
    from daemon.engine.landing import DeviceMovie

_FRAME_LIMIT_S = 300.0
"""How long reading one frame may take: longer than any mount that works."""


class FrameMean:
    """The mean of frames of one movie, exact for integers, summed as they come."""

    def __init__(self) -> None:
        self._total_yx: Array | None = None
        self._count = 0

    @classmethod
    def of(cls, total_yx: npt.NDArray[np.int32], count: int) -> "FrameMean":
        """Take the sum of all frames from elsewhere."""
        mean = cls()
        mean._total_yx, mean._count = total_yx, count
        return mean

    @property
    def is_empty(self) -> bool:
        """Whether there was no frame yet."""
        return self._count == 0

    def add(self, frame_yx: Array) -> None:
        """Take one more frame in."""
        if self._total_yx is None:
            exact = np.float64 if np.issubdtype(frame_yx.dtype, np.floating) else np.int32
            self._total_yx = np.zeros(frame_yx.shape, exact)
        self._total_yx += frame_yx
        self._count += 1

    def mean_yx(self) -> npt.NDArray[np.float32]:
        """Return the mean, float32. Raises RuntimeError before there is a frame."""
        if self._total_yx is None:
            raise RuntimeError("there is no mean of no frames")
        mean_yx = np.empty(self._total_yx.shape, np.float32)
        return np.divide(self._total_yx, self._count, out=mean_yx, casting="unsafe")


def average_frames(movie_tyx: Array) -> npt.NDArray[np.float32]:
    """Return the mean of frames that are in memory, the same as FrameMean's, on all threads that compute here."""
    import torch  # noqa: PLC0415 - is loaded by whoever computes

    from daemon.numerics.detector import mean_frame  # noqa: PLC0415

    mean_yx: npt.NDArray[np.float32] = mean_frame(torch.from_numpy(movie_tyx)).numpy()
    return mean_yx


class WholeMovie:
    """All frames in memory."""

    def __init__(self, movie_tyx: Array, landing: "DeviceMovie | None" = None) -> None:
        """`landing` is what a GPU has, or is to have, of it."""
        self.movie_tyx = movie_tyx
        self.landing = landing

    @property
    def shape_tyx(self) -> tuple[int, int, int]:
        """Frames, rows, columns."""
        frames, height, width = self.movie_tyx.shape
        return frames, height, width

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the raw values."""
        return self.movie_tyx.dtype

    @property
    def whole_tyx(self) -> Array | None:
        """All frames."""
        return self.movie_tyx

    def frame_yx(self, index: int) -> Array:
        """Return one of them."""
        frame_yx: Array = self.movie_tyx[index]
        return frame_yx

    def close(self) -> None:
        """Let go of what a GPU has of it."""
        if self.landing is not None:
            self.landing.close()


class FiledMovie:
    """Frames that stay in the file: each is decoded whenever it is asked for, and kept by nobody.

    The file is opened when the first frame is wanted. Asking raises FormatError, MovieUnreadable, MovieIncomplete,
    MovieChanged, and ReadStuck when the file does not answer.
    """

    def __init__(
        self,
        header: MovieHeader,
        eer: EerFractions,
        landing: "DeviceMovie | None" = None,
        *,
        limit_s: float = _FRAME_LIMIT_S,
    ) -> None:
        """`landing` is what a GPU has of it, `limit_s` how long reading one frame may take."""
        self.landing = landing
        self._header, self._eer, self._limit_s = header, eer, limit_s
        self._lock = threading.Lock()
        self._frames: Frames | None = None
        self._is_stuck = False

    @property
    def shape_tyx(self) -> tuple[int, int, int]:
        """Frames, rows, columns."""
        return movie_shape(self._header, self._eer)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the raw values."""
        return np.dtype(movie_dtype(self._header, self._eer))

    @property
    def whole_tyx(self) -> Array | None:
        """Nothing: they are not in memory."""
        return None

    def frame_yx(self, index: int) -> Array:
        """Decode one frame."""
        read: Future[Array] = Future()

        def work() -> None:
            try:
                read.set_result(self._read(index))
            except BaseException as error:  # noqa: BLE001 - raised where the frame is wanted
                read.set_exception(error)

        # A read that hangs cannot be ended, only left behind.
        threading.Thread(target=work, name="frame", daemon=True).start()
        try:
            return read.result(self._limit_s)
        except TimeoutError:
            self._is_stuck = True
            raise ReadStuck(self._header.path, self._limit_s) from None

    def close(self) -> None:
        """Close the file, unless a read is left behind in it."""
        if self.landing is not None:
            self.landing.close()
        with self._lock:
            frames, self._frames = self._frames, None
        if frames is not None and not self._is_stuck:
            frames.close()

    def _read(self, index: int) -> Array:
        try:
            with self._lock:
                if self._frames is None:
                    self._frames = open_frames(self._header, self._eer)
                frames = self._frames
            frame_yx = np.empty(frames.shape_yx, frames.dtype)
            frames.read_frame(index, frame_yx)
            frames.source.check_unchanged()
        except FileUnreadable as error:
            if isinstance(error.__cause__, OSError):
                raise MovieUnreadable(error.path, error.__cause__) from error
            raise
        return frame_yx
