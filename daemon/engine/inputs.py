"""What a visit reads: the movie once, decoded ahead; the camera's images once for a session; products."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from daemon.domain.acquisition import CameraReference, EerFractions, GainReference
from daemon.domain.movie import MovieFormat, MovieHeader
from daemon.engine.movie_frames import FiledMovie, FrameMean, WholeMovie, average_frames
from daemon.errors import (
    DarkUnsuitable,
    DefectsUnsuitable,
    FileUnanswered,
    FileUnreadable,
    FormatError,
    GainUnsuitable,
    ProductDamaged,
    ProductMissing,
    ReadStuck,
    ReferenceUnreadable,
)
from daemon.formats.dark import read_dark
from daemon.formats.defects import read_defects
from daemon.formats.detached import PatientCalls
from daemon.formats.gain import read_gain
from daemon.formats.movie import iterate_frames, movie_shape, read_movie
from daemon.formats.mrc import read_mrc
from daemon.pipeline.context import Array, Later, Movie, MovieItem
from daemon.pipeline.product import MOVIE, Product

if TYPE_CHECKING:
    from daemon.engine.gpu import Gpu
    from daemon.engine.landing import DeviceMovie, Landing

_CAMERA_LIMIT_S = 300.0
"""How long reading an image of the camera may take: longer than any mount that works."""

_Kind = Literal["gain", "dark", "defects"]
_REFUSALS = {"gain": GainUnsuitable, "dark": DarkUnsuitable, "defects": DefectsUnsuitable}


@dataclass(frozen=True)
class _ImageKey:
    kind: _Kind
    reference: CameraReference
    format: MovieFormat
    shape_yx: tuple[int, int]
    upsampling: int
    size_bytes: int
    mtime_ns: int


class CameraCache:
    """Prepared gains, darks and maps of defects of the sessions in work; a file that changes is read again.

    All come in the orientation and size of the movie's frames, not to be changed. Raises GainUnsuitable,
    DarkUnsuitable, DefectsUnsuitable, ReferenceUnreadable.
    """

    def __init__(self, capacity: int = 6, *, limit_s: float = _CAMERA_LIMIT_S) -> None:
        """`limit_s` is how long reading one file may take."""
        self.limit_s = limit_s
        self.calls = PatientCalls(limit_s)
        self._capacity = capacity
        self._lock = threading.Lock()
        self._reading: dict[Path, threading.Lock] = {}
        self._images: OrderedDict[_ImageKey, Array] = OrderedDict()

    def gain(self, reference: GainReference, movie: MovieHeader, eer: EerFractions) -> npt.NDArray[np.float32]:
        """Return the gain that multiplies."""
        return self._get("gain", reference, movie, eer, lambda: read_gain(reference, movie, eer=eer))

    def dark(self, reference: CameraReference, movie: MovieHeader) -> npt.NDArray[np.float32]:
        """Return the dark."""
        return self._get("dark", reference, movie, EerFractions(), lambda: read_dark(reference, movie))

    def defects(self, reference: CameraReference, movie: MovieHeader, eer: EerFractions) -> npt.NDArray[np.bool_]:
        """Return which pixels are defective."""
        return self._get("defects", reference, movie, eer, lambda: read_defects(reference, movie, eer=eer))

    def _get(
        self, kind: _Kind, reference: CameraReference, movie: MovieHeader, eer: EerFractions, read: Callable[[], Array]
    ) -> Array:
        try:
            status = reference.path.stat()
        except OSError as error:
            raise ReferenceUnreadable(kind, reference.path, error) from error
        upsampling = eer.upsampling if movie.format is MovieFormat.EER else 1
        place = movie.format, movie.shape_yx, upsampling
        key = _ImageKey(kind, reference, *place, status.st_size, status.st_mtime_ns)
        with self._lock:
            reading = self._reading.setdefault(reference.path, threading.Lock())
        with reading:  # the movies that wait need this very image; those of other files go on
            with self._lock:
                image = self._images.get(key)
            if image is None:
                image = _read(kind, reference, read)
            with self._lock:
                self._images[key] = image
                self._images.move_to_end(key)
                while len(self._images) > self._capacity:
                    self._images.popitem(last=False)
            return image


def _read(kind: _Kind, reference: CameraReference, read: Callable[[], Array]) -> Array:
    try:
        return _protect(read())
    except FormatError as error:
        # A broken reference is no fault of the movie, which would be set aside for it.
        what = error.message.removeprefix(f"{reference.path}: ").rstrip(".")
        raise _REFUSALS[kind](reference.path, what) from error
    except FileUnreadable as error:
        raise ReferenceUnreadable(kind, reference.path, error.os_error) from error


class VisitInputs:
    """What is at hand of one image while it is visited."""

    def __init__(
        self,
        item: MovieItem,
        home: Path,
        camera: CameraCache,
        *,
        decode_threads: int,
        by_frame: bool = False,
        find_gpu: "Callable[[], Gpu | None]" = lambda: None,
    ) -> None:
        """`by_frame`: leave the movie's frames in the file and decode each whenever it is wanted.

        `find_gpu` says what to bring the movie up to while it is read, None for nothing.
        """
        self._find_gpu = find_gpu
        self._closing = threading.Lock()
        self._is_closed = False
        self._item = item
        self._by_frame = by_frame
        self._home = home
        self._camera = camera
        self._decode_threads = decode_threads
        self._movie: WholeMovie | FiledMovie | None = None
        self._finer: FiledMovie | None = None
        self._mean = FrameMean()
        self._values: dict[Product, Array | Later] = {}
        self._camera_images: dict[str, Future[Array | None]] = {}

    async def prepare_camera(self, used: Collection[str]) -> None:
        """Read the images of the camera among the fields of the acquisition that a stage uses.

        So the compute thread never waits for a file. What reading raises, but for ReadStuck, is raised where the
        image is asked for. Raises ReadStuck when a file does not answer.
        """
        acquisition = self._item.acquisition
        for kind, reference, read in (
            ("gain", acquisition.gain, self._read_gain),
            ("dark", acquisition.dark, self._read_dark),
            ("defects", acquisition.defects, self._read_defects),
        ):
            if reference is None or kind not in used or kind in self._camera_images:
                continue
            outcome: Future[Array | None] = Future()
            try:
                outcome.set_result(await self._camera.calls.call(reference.path, read))
            except FileUnanswered:
                raise ReadStuck(reference.path, self._camera.limit_s) from None
            except Exception as error:  # noqa: BLE001 - raised again where the image is used
                outcome.set_exception(error)
            self._camera_images[kind] = outcome

    def read_ahead(self) -> None:
        """Decode the movie, on a reader's thread. Raises FormatError, FileUnreadable.

        Frames are averaged while each is at hand: all that are in memory of the host only, where they are computed on.
        EER movies are kept on the grid of the sensor: what is finer is made of one frame at a time.
        """
        movie, threads, mean = self._item.movie, self._decode_threads, FrameMean()
        eer = replace(self._item.acquisition.eer, upsampling=1)
        self._close_movie()
        gpu = self._find_gpu()
        if gpu is not None:
            gpu.pool.free_condemned()
        counted = None if gpu is None else gpu.count(movie, eer, finer=self._item.acquisition.eer.upsampling > 1)
        read: WholeMovie | FiledMovie
        if counted is not None:
            read, mean = FiledMovie(movie, eer, counted), FrameMean.of(counted.total_yx, movie_shape(movie, eer)[0])
        elif self._by_frame:
            for frame_yx in iterate_frames(movie, eer=eer, threads=threads):
                mean.add(frame_yx)
            read = FiledMovie(movie, eer)
        elif gpu is not None:
            read = self._read_onto(gpu.land(movie, eer), mean)
        else:
            read = WholeMovie(read_movie(movie, eer=eer, threads=threads))
        with self._closing:
            self._movie, self._mean = read, mean
        if self._is_closed:  # the visit did not wait for a file system that hung
            self._close_movie()

    def _read_onto(self, landing: "Landing", mean: FrameMean) -> WholeMovie:
        """Decode into memory from where frames go up as they are decoded."""

        def take(frame_yx: Array) -> None:
            landing.note_decoded(frame_yx)
            mean.add(frame_yx)

        movie, eer = self._item.movie, replace(self._item.acquisition.eer, upsampling=1)
        try:
            read_movie(movie, eer=eer, threads=self._decode_threads, out=landing.movie_tyx, on_frame=take)
        except BaseException:
            landing.close()
            raise
        return WholeMovie(landing.movie_tyx, landing)

    def close(self) -> None:
        """Let go of everything, also of what a read that hangs may still bring."""
        self._is_closed = True
        self.release_all_but(())

    @property
    def landing(self) -> "DeviceMovie | None":
        """What a GPU has, or is to have, of the movie."""
        return None if self._movie is None else self._movie.landing

    def keep(self, product: Product, value: "Array | Later") -> None:
        """Hand a product over in memory, perhaps still on its way there; it equals what its file will hold."""
        self._values[product] = _protect(value) if isinstance(value, np.ndarray) else value

    def release_all_but(self, wanted: Collection[Product]) -> None:
        """Forget the movie and every product that no later stage of this visit consumes."""
        if MOVIE not in wanted:
            self._close_movie()
        for product in self._values.keys() - set(wanted):
            del self._values[product]

    def movie(self) -> Movie:
        """Return the movie. Raises RuntimeError when it was not read ahead, or was released."""
        if self._movie is None:
            raise RuntimeError(f"the movie of {self._item.image_name} was not read, or is released")
        return self._movie

    def upsampled_movie(self) -> Movie:
        """Return the movie on the grid that its sum is to have. Raises RuntimeError as `movie`."""
        movie, eer = self.movie(), self._item.acquisition.eer
        if self._item.movie.format is not MovieFormat.EER or eer.upsampling == 1:
            return movie
        if self._finer is None:
            self._finer = FiledMovie(self._item.movie, eer, self.landing)
        return self._finer

    def mean_yx(self) -> npt.NDArray[np.float32]:
        """Return the mean of the movie's frames. Raises RuntimeError as `movie`."""
        whole_tyx = self.movie().whole_tyx
        if self._mean.is_empty and whole_tyx is not None:
            return average_frames(whole_tyx)
        return self._mean.mean_yx()

    def _close_movie(self) -> None:
        with self._closing:
            movies = self._movie, self._finer
            self._movie = self._finer = None
            self._mean = FrameMean()
        for movie in movies:
            if movie is not None:
                movie.close()

    def gain_yx(self) -> npt.NDArray[np.float32] | None:
        """Return the session's gain for this movie, or None when it has none."""
        return self._camera_image("gain", self._read_gain)

    def dark_yx(self) -> npt.NDArray[np.float32] | None:
        """Return the session's dark for this movie, or None when it has none."""
        return self._camera_image("dark", self._read_dark)

    def defects_yx(self) -> npt.NDArray[np.bool_] | None:
        """Return the known defects of this movie's camera, or None without a file of them."""
        return self._camera_image("defects", self._read_defects)

    def _camera_image(self, kind: str, read: Callable[[], Array | None]) -> Array | None:
        return self._camera_images[kind].result() if kind in self._camera_images else read()

    def _read_gain(self) -> Array | None:
        gain, eer = self._item.acquisition.gain, self._item.acquisition.eer
        return None if gain is None else self._camera.gain(gain, self._item.movie, eer)

    def _read_dark(self) -> Array | None:
        dark = self._item.acquisition.dark
        return None if dark is None else self._camera.dark(dark, self._item.movie)

    def _read_defects(self) -> Array | None:
        defects, eer = self._item.acquisition.defects, self._item.acquisition.eer
        return None if defects is None else self._camera.defects(defects, self._item.movie, eer)

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
        value = self._values[product]
        if not isinstance(value, np.ndarray):
            value = self._values[product] = _protect(value.result())
        return value


class DeclaredInputs:
    """The pipeline's Inputs for one stage: only what it declared that it consumes."""

    def __init__(self, inputs: VisitInputs, stage_name: str, consumes: Collection[Product]) -> None:
        self._inputs = inputs
        self._stage_name = stage_name
        self._consumes = frozenset(consumes)

    def movie(self) -> Movie:
        """Return the movie's frames."""
        self._check(MOVIE)
        return self._inputs.movie()

    def upsampled_movie(self) -> Movie:
        """Return the movie's frames on the grid that its sum is to have."""
        self._check(MOVIE)
        return self._inputs.upsampled_movie()

    def movie_mean_yx(self) -> npt.NDArray[np.float32]:
        """Return the mean of the movie's frames."""
        self._check(MOVIE)
        return self._inputs.mean_yx()

    def gain_yx(self) -> npt.NDArray[np.float32] | None:
        """Return the gain that belongs to the movie, or None."""
        self._check(MOVIE)
        return self._inputs.gain_yx()

    def dark_yx(self) -> npt.NDArray[np.float32] | None:
        """Return the dark that belongs to the movie, or None."""
        self._check(MOVIE)
        return self._inputs.dark_yx()

    def defects_yx(self) -> npt.NDArray[np.bool_] | None:
        """Return the known defects of the movie's camera, or None."""
        self._check(MOVIE)
        return self._inputs.defects_yx()

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
