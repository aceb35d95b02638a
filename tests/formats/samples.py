"""Small movies for the tests of this folder."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.domain.acquisition import EerFractions
from daemon.formats.eer_scheme import EER_65000, EER_65001, EerScheme, variable_scheme
from daemon.formats.eer_writer import EerWriter
from daemon.formats.mrc import MrcFrames, MrcHeader
from daemon.formats.mrc_writer import write_mrc
from daemon.formats.tiff_writer import Compression, TiffMovieWriter

SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
ONE_EACH = EerFractions(fractions=1_000_000)
"""Every hardware frame is a frame of its own."""


def read_mrc_header(path: Path) -> MrcHeader:
    """What the header of a file says."""
    with contextlib.closing(MrcFrames(path)) as frames:
        return frames.header


def counts(shape_tyx: tuple[int, int, int] = (4, 24, 36), mean: float = 1.5, seed: int = 1) -> npt.NDArray[np.uint8]:
    """Poisson counts."""
    return np.random.default_rng(seed).poisson(mean, shape_tyx).astype(np.uint8)


def events(shape_tyx: tuple[int, int, int] = (6, 24, 36), rate: float = 0.05, seed: int = 2) -> npt.NDArray[np.uint8]:
    """Zeros and ones."""
    return (np.random.default_rng(seed).random(shape_tyx) < rate).astype(np.uint8)


def write_tiff_movie(
    path: Path,
    movie_tyx: npt.NDArray[Any],
    compression: Compression = "lzw",
    *,
    rows_per_strip: int | None = 5,
    tile_shape_yx: tuple[int, int] | None = None,
    is_big: bool = False,
    pixel_size_ang: float | None = None,
) -> Path:
    """Write a whole TIFF movie."""
    writer = TiffMovieWriter(
        path,
        movie_tyx.shape[1:],
        movie_tyx.dtype.name,
        compression=compression,
        rows_per_strip=rows_per_strip,
        tile_shape_yx=tile_shape_yx,
        is_big=is_big,
        pixel_size_ang=pixel_size_ang,
    )
    for frame_yx in movie_tyx:
        writer.append(frame_yx)
    writer.close()
    return path


def write_eer_movie(
    path: Path,
    movie_tyx: npt.NDArray[Any],
    metadata: dict[str, str | int | float] | None = None,
    scheme: EerScheme = EER_65001,
) -> Path:
    """Write a whole EER movie of zeros and ones, events at random places inside their pixels."""
    generator = np.random.default_rng(3)
    writer = EerWriter(path, movie_tyx.shape[1:], metadata=metadata or {}, scheme=scheme)
    for frame_yx in movie_tyx:
        writer.append(frame_yx, generator)
    writer.close()
    return path


def write_any_movie(folder: Path, kind: str) -> Path:
    """Write a small movie of a named kind."""
    if kind == "mrc":
        write_mrc(folder / "a.mrc", counts(), pixel_size_ang=1.0, camera_bytes=True)
        return folder / "a.mrc"
    if kind == "mrc float":
        write_mrc(folder / "a.mrcs", counts().astype(np.float32), pixel_size_ang=1.0)
        return folder / "a.mrcs"
    if kind == "mrc 4-bit":
        write_mrc(folder / "a.mrc", counts(), pixel_size_ang=1.0, camera_nibbles=True)
        return folder / "a.mrc"
    if kind.startswith("eer"):
        scheme = {"eer": EER_65001, "eer 65000": EER_65000, "eer 65002": variable_scheme(9, 2, 2)}[kind]
        return write_eer_movie(folder / "a.eer", events(), {"exposureTime": 1.5}, scheme)
    compression: Compression = "none" if "none" in kind else "deflate" if "deflate" in kind else "lzw"
    path = folder / "a.tif"
    tiles = (16, 32) if "tiles" in kind else None
    return write_tiff_movie(path, counts(), compression, tile_shape_yx=tiles, is_big="big" in kind, pixel_size_ang=0.83)


KINDS = (
    "mrc", "mrc float", "mrc 4-bit", "tiff lzw", "tiff lzw big", "tiff deflate", "tiff none", "tiff lzw tiles",
    "tiff none tiles", "eer", "eer 65000", "eer 65002",
)  # fmt: skip


def count_open(path: Path) -> int:
    """How many descriptors this process has open on a file; those of other threads come and go meanwhile."""
    found = 0
    for name in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that lists the folder, or another thread's
            found += name.readlink() == path
    return found
