"""Fakes of everything a stage may touch: products in memory, writes straight to disk, the CPU as device."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from daemon.domain.acquisition import Acquisition
from daemon.domain.movie import MovieFormat, MovieHeader
from daemon.engine.device import TorchDevice
from daemon.engine.movie_frames import FrameMean, WholeMovie
from daemon.errors import ProductMissing, TaskCancelled
from daemon.pipeline.context import Array, Device, Encode, Inputs, Later, Log, Movie, MovieItem
from daemon.pipeline.product import Product

ACQUISITION = Acquisition(
    voltage_kv=300.0,
    spherical_aberration_mm=2.7,
    amplitude_contrast=0.1,
    pixel_size_ang=1.0,
    dose_per_frame_e_per_ang2=1.5,
)


def make_item(
    image_name: str = "image_00001",
    acquisition: Acquisition = ACQUISITION,
    shape_tyx: tuple[int, int, int] = (1, 512, 512),
) -> MovieItem:
    """An image of a session, its movie's header included."""
    frames, height_px, width_px = shape_tyx
    header = MovieHeader(
        path=Path(f"{image_name}.mrc"),
        format=MovieFormat.MRC,
        width_px=width_px,
        height_px=height_px,
        frame_count=frames,
        dtype="uint8",
        pixel_size_ang=acquisition.pixel_size_ang,
        data_bytes=frames * height_px * width_px,
    )
    return MovieItem("session", f"id-{image_name}", image_name, header, acquisition)


def read_picture(path: Path) -> npt.NDArray[np.uint8]:
    """A written picture's pixels."""
    with Image.open(path) as picture:
        return np.asarray(picture)


@dataclass
class FakeInputs:
    """What the stage may read; a product it does not hold is missing."""

    products: Mapping[Product, Array] = field(default_factory=dict)
    frames_tyx: Array | None = None
    upsampled_tyx: Array | None = None
    gain: npt.NDArray[np.float32] | None = None
    dark: npt.NDArray[np.float32] | None = None
    defects: npt.NDArray[np.bool_] | None = None

    def movie(self) -> Movie:
        assert self.frames_tyx is not None, "this fake holds no movie"
        return WholeMovie(self.frames_tyx)

    def upsampled_movie(self) -> Movie:
        return self.movie() if self.upsampled_tyx is None else WholeMovie(self.upsampled_tyx)

    def movie_mean_yx(self) -> npt.NDArray[np.float32]:
        mean = FrameMean()
        assert self.frames_tyx is not None, "this fake holds no movie"
        for frame_yx in self.frames_tyx:
            mean.add(frame_yx)
        return mean.mean_yx()

    def gain_yx(self) -> npt.NDArray[np.float32] | None:
        return self.gain

    def dark_yx(self) -> npt.NDArray[np.float32] | None:
        return self.dark

    def defects_yx(self) -> npt.NDArray[np.bool_] | None:
        return self.defects

    def product(self, product: Product) -> Array:
        if product not in self.products:
            raise ProductMissing(product.name, product.path(Path("home"), "image"))
        return self.products[product]


@dataclass
class FakeLog:
    """Remembers what was said."""

    infos: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def info(self, message: str) -> None:
        self.infos.append(message)

    def warning(self, message: str) -> None:
        self.warnings.append(message)


@dataclass
class FakeContext:
    """A StageContext that writes at once, below `home`, and remembers what it was given."""

    home: Path
    image_name: str = "image_00001"
    inputs: FakeInputs = field(default_factory=FakeInputs)
    logged: FakeLog = field(default_factory=FakeLog)
    is_cancelled: Callable[[], bool] = lambda: False
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    device: Device = field(default_factory=lambda: TorchDevice(torch.device("cpu")))
    written: dict[Product, Path] = field(default_factory=dict)
    values: dict[Product, Any] = field(default_factory=dict)
    steps: list[tuple[int, int, str]] = field(default_factory=list)

    @property
    def read(self) -> Inputs:
        return self.inputs

    @property
    def log(self) -> Log:
        return self.logged

    def write(self, product: Product, encode: Encode, value: Array | Later | None = None) -> None:
        path = product.path(self.home, self.image_name)
        path.parent.mkdir(parents=True, exist_ok=True)
        encode(path)
        self.written[product] = path
        self.values[product] = value if value is None or isinstance(value, np.ndarray) else value.result()

    def progress(self, current: int, total: int, unit: str) -> None:
        self.steps.append((current, total, unit))

    def check_cancelled(self) -> None:
        if self.is_cancelled():
            raise TaskCancelled("cancelled by the test")
