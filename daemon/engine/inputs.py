"""What a visit reads: the movie once, decoded ahead; the gain once for a session; products from memory or disk."""

import threading
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from daemon.domain.acquisition import EerFractions, GainReference
from daemon.domain.movie import MovieFormat, MovieHeader
from daemon.errors import FileUnreadable, FormatError, GainUnsuitable, ProductDamaged, ProductMissing
from daemon.formats.gain import read_gain
from daemon.formats.movie import movie_dtype, movie_shape, read_movie
from daemon.formats.mrc import read_mrc
from daemon.pipeline.context import Array, MovieItem
from daemon.pipeline.product import MOVIE, Product

_FRAMES_PER_THREAD = 2
"""A decoding thread holds one frame decoded and one compressed, which is no larger."""


def decoding_bytes(item: MovieItem, decode_threads: int) -> int:
    """Return the host memory that reading the movie takes beyond the decoded movie, which stages count."""
    shape_tyx = movie_shape(item.movie, item.acquisition.eer)
    frame_bytes = prod(shape_tyx[1:]) * np.dtype(movie_dtype(item.movie, item.acquisition.eer)).itemsize
    return frame_bytes * _FRAMES_PER_THREAD * decode_threads


@dataclass(frozen=True)
class _GainKey:
    reference: GainReference
    format: MovieFormat
    shape_yx: tuple[int, int]
    upsampling: int
    size_bytes: int
    mtime_ns: int


class GainCache:
    """Prepared gains of the sessions in work; a gain file that changes is read again."""

    def __init__(self, capacity: int = 2) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._gains: OrderedDict[_GainKey, npt.NDArray[np.float32]] = OrderedDict()

    def get(self, reference: GainReference, movie: MovieHeader, eer: EerFractions) -> npt.NDArray[np.float32]:
        """Return the multiplicative gain in the orientation and size of the movie's frames, not to be changed.

        Raises GainUnsuitable, FileUnreadable.
        """
        try:
            status = reference.path.stat()
        except OSError as error:
            raise FileUnreadable(reference.path, error) from error
        upsampling = eer.upsampling if movie.format is MovieFormat.EER else 1
        key = _GainKey(reference, movie.format, movie.shape_yx, upsampling, status.st_size, status.st_mtime_ns)
        with self._lock:  # held while reading: the movies that wait need this very gain
            if key not in self._gains:
                self._gains[key] = _read(reference, movie, eer)
            self._gains.move_to_end(key)
            while len(self._gains) > self._capacity:
                self._gains.popitem(last=False)
            return self._gains[key]


def _read(reference: GainReference, movie: MovieHeader, eer: EerFractions) -> npt.NDArray[np.float32]:
    try:
        gain_yx = read_gain(reference, movie, eer=eer)
    except FormatError as error:
        # A broken gain is no fault of the movie, which would be set aside for it.
        raise GainUnsuitable(reference.path, error.message.removeprefix(f"{reference.path}: ").rstrip(".")) from error
    return _protect(gain_yx)


class VisitInputs:
    """What is at hand of one image while it is visited."""

    def __init__(self, item: MovieItem, home: Path, gains: GainCache, *, decode_threads: int) -> None:
        self._item = item
        self._home = home
        self._gains = gains
        self._decode_threads = decode_threads
        self._movie: Array | None = None
        self._values: dict[Product, Array] = {}

    def read_ahead(self) -> None:
        """Decode the movie into memory, on a reader's thread. Raises FormatError, FileUnreadable."""
        self._movie = read_movie(self._item.movie, eer=self._item.acquisition.eer, threads=self._decode_threads)

    def keep(self, product: Product, value: Array) -> None:
        """Hand a product over in memory; it equals what its file will hold."""
        self._values[product] = _protect(value)

    def release_all_but(self, wanted: Collection[Product]) -> None:
        """Forget the movie and every product that no later stage of this visit consumes."""
        if MOVIE not in wanted:
            self._movie = None
        for product in self._values.keys() - set(wanted):
            del self._values[product]

    def movie_tyx(self) -> Array:
        """Return the decoded movie. Raises RuntimeError when it was not read ahead, or was released."""
        if self._movie is None:
            raise RuntimeError(f"the movie of {self._item.image_name} is not in memory")
        return self._movie

    def gain_yx(self) -> npt.NDArray[np.float32] | None:
        """Return the session's gain for this movie, or None when it has none."""
        gain, eer = self._item.acquisition.gain, self._item.acquisition.eer
        return None if gain is None else self._gains.get(gain, self._item.movie, eer)

    def product(self, product: Product) -> Array:
        """Return a product of this image. Raises ProductMissing, ProductDamaged."""
        if product not in self._values:
            path = product.path(self._home, self._item.image_name)
            if not path.is_file():
                raise ProductMissing(product.name, path)
            try:
                self._values[product] = _protect(read_mrc(path))
            except FormatError as error:
                raise ProductDamaged(product.name, error) from error
        return self._values[product]


class DeclaredInputs:
    """The pipeline's Inputs for one stage: only what it declared that it consumes."""

    def __init__(self, inputs: VisitInputs, stage_name: str, consumes: Collection[Product]) -> None:
        self._inputs = inputs
        self._stage_name = stage_name
        self._consumes = frozenset(consumes)

    def movie_tyx(self) -> Array:
        """Return the decoded movie."""
        self._check(MOVIE)
        return self._inputs.movie_tyx()

    def gain_yx(self) -> npt.NDArray[np.float32] | None:
        """Return the gain that belongs to the movie, or None."""
        self._check(MOVIE)
        return self._inputs.gain_yx()

    def product(self, product: Product) -> Array:
        """Return a product of this image."""
        self._check(product)
        return self._inputs.product(product)

    def _check(self, product: Product) -> None:
        if product not in self._consumes:
            raise RuntimeError(f"{self._stage_name} does not declare that it consumes {product.name}")


def _protect(array: Array) -> Array:
    """Return a view that cannot be written through: several readers share the array."""
    view = array.view()
    view.flags.writeable = False
    return view
