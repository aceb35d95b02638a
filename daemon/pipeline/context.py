"""What a running stage may touch: eight doors, no transport behind any of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from daemon.domain.acquisition import Acquisition
from daemon.domain.movie import MovieHeader
from daemon.pipeline.product import Product

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class MovieItem:
    """One image on its way: who it is, its movie's header, and its acquisition with every source merged."""

    session_name: str
    image_id: str
    image_name: str
    movie: MovieHeader
    acquisition: Acquisition


class Movie(Protocol):
    """Frames of a movie in file order and their own type, rows oriented as docs/conventions.md says; never changed."""

    @property
    def shape_tyx(self) -> tuple[int, int, int]:
        """Frames, rows, columns."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the raw values."""
        ...

    @property
    def whole_tyx(self) -> Array | None:
        """All frames, None where they are not in memory."""
        ...

    def frame_yx(self, index: int) -> Array:
        """Return one frame, decoding it where it is not in memory; many threads may ask."""
        ...


class Inputs(Protocol):
    """Read what the stage declared that it consumes; a value in memory equals the file's."""

    def movie(self) -> Movie:
        """Return the movie as it is aligned: an EER movie on the grid of its sensor."""
        ...

    def upsampled_movie(self) -> Movie:
        """Return the movie as it is summed: an EER movie on a grid finer by its up-sampling, as gain and defects are.

        Of all others it is the same movie. No frame of a finer grid is kept in memory.
        """
        ...

    def movie_mean_yx(self) -> npt.NDArray[np.float32]:
        """Return the mean of the frames of `movie`."""
        ...

    def gain_yx(self) -> npt.NDArray[np.float32] | None:
        """Return the multiplicative gain in the movie's orientation (0 = defective pixel), or None without one."""
        ...

    def dark_yx(self) -> npt.NDArray[np.float32] | None:
        """Return the dark in counts per frame, in the movie's orientation, or None without one."""
        ...

    def defects_yx(self) -> npt.NDArray[np.bool_] | None:
        """Return which pixels are known to be defective, in the movie's orientation, or None without a file of them."""
        ...

    def product(self, product: Product) -> Array:
        """Return a product's array, not to be changed, from memory or file. Raises ProductMissing, ProductDamaged."""
        ...


class Later(Protocol):
    """An array that may still be on its way from the device."""

    def result(self) -> Array:
        """Wait until it is there, and return it; from any thread."""
        ...


class Device(Protocol):
    """The one device this segment computes on. Tensors are opaque to a stage: numerics understands them."""

    @property
    def threads(self) -> int:
        """Cores of the host that a stage may keep busy, as configured; numerics is held to it already."""
        ...

    def put(self, array: Array) -> Any:
        """Bring an array to the device. On the CPU it may share the array's memory: change neither."""
        ...

    def put_movie(self, movie: Movie) -> Any:
        """Bring a movie to the device, whole where it is in memory, else each frame when numerics wants it."""
        ...

    def get(self, tensor: Any) -> Array:
        """Copy a tensor back, contiguous."""
        ...

    def get_behind(self, tensor: Any) -> Later:
        """Begin to copy a tensor back, contiguous; what is computed next need not wait for it. Do not change it."""
        ...


class Log(Protocol):
    """Live log of one task."""

    def info(self, message: str) -> None:
        """Say what happened, for people."""
        ...

    def warning(self, message: str) -> None:
        """Say what a person should look at."""
        ...


Encode = Callable[[Path], None]
"""Writes one complete file at the path it is given; the engine makes that atomic."""


class StageContext(Protocol):
    """Everything a stage may use while it runs."""

    @property
    def read(self) -> Inputs:
        """Movie, what is known of the camera, and products."""
        ...

    @property
    def device(self) -> Device:
        """Where to compute."""
        ...

    @property
    def log(self) -> Log:
        """Live log of this task."""
        ...

    @property
    def rng(self) -> np.random.Generator:
        """Random numbers seeded by image name, stage and version: the same input gives the same numbers."""
        ...

    def write(self, product: Product, encode: Encode, value: "Array | Later | None" = None) -> None:
        """Write a product behind the stage's back, atomically; `value` is kept for the stages that follow."""
        ...

    def progress(self, current: int, total: int, unit: str) -> None:
        """Tell how far the stage is; coalesced, best effort."""
        ...

    def check_cancelled(self) -> None:
        """Raise TaskCancelled when someone cancelled the task; call between chunks of work."""
        ...
