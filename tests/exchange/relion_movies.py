"""Moving pictures without any symmetry, written by other libraries than ours, and RELION's correction of them."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import numpy.typing as npt
import tifffile

from daemon.domain.motion import MotionField
from daemon.exchange.relion.motion import read_motion
from daemon.formats.eer_writer import EerWriter
from daemon.formats.star import StarBlock, StarValue, read_star, write_star
from tests.oracles import find_program

Image = npt.NDArray[np.float64]

DRIFT_XY_PX = (6.0, -4.0)
DETAIL_PX = 6.0
MEAN_COUNTS = 20.0


def draw_texture(size_px: int, seed: int) -> Image:
    """Smooth random picture, periodic, of zero mean and unit spread: no turn or flip of it resembles it."""
    ky, kx = np.fft.fftfreq(size_px)[:, None], np.fft.rfftfreq(size_px)[None]
    noise = np.fft.rfft2(np.random.default_rng(seed).normal(size=(size_px, size_px)))
    texture = np.fft.irfft2(noise * np.exp(-((np.pi * DETAIL_PX) ** 2) * (ky**2 + kx**2)), s=(size_px, size_px))
    return np.asarray(texture / texture.std(), dtype=np.float64)


def drift_t2(frames: int) -> Image:
    """Motion (x, y) px of every frame, fast at first."""
    gone: Image = 1 - np.exp(-np.arange(frames) / 3)
    path: Image = gone[:, None] * np.array(DRIFT_XY_PX)
    return path


def draw_rates(size_px: int, frames: int, bend_px: float = 0.0) -> Image:
    """Expected frames (t, y, x) of mean 1 that drift, and bend by up to bend_px, from x² and xy, growing with time."""
    texture_yx = draw_texture(size_px, 1)
    spectrum = np.fft.rfft2(texture_yx)
    ky, kx = np.fft.fftfreq(size_px)[:, None], np.fft.rfftfreq(size_px)[None]
    rates = []
    for frame, (x_px, y_px) in enumerate(drift_t2(frames)):
        moved_yx = np.fft.irfft2(spectrum * np.exp(-2j * np.pi * (ky * y_px + kx * x_px)), s=texture_yx.shape)
        rates.append(1 + 0.3 * (_bend(moved_yx, bend_px * frame / frames) if bend_px else moved_yx))
    return np.asarray(np.clip(np.stack(rates), 0.05, None), dtype=np.float64)


def _bend(image_yx: Image, bend_px: float) -> Image:
    from scipy.ndimage import map_coordinates

    size_px = len(image_yx)
    y, x = np.meshgrid(*[np.linspace(-0.5, 0.5, size_px)] * 2, indexing="ij")
    row, column = np.indices(image_yx.shape)
    moved = [row - bend_px * 4 * x * y, column - bend_px * 4 * x**2]
    return np.asarray(map_coordinates(image_yx, moved, order=3, mode="grid-wrap"), dtype=np.float64)


def draw_gain(size_px: int, seed: int = 2) -> npt.NDArray[np.float32]:
    """A gain that multiplies: pixels differ by a fifth, and the corners by a factor of two and more."""
    y, x = np.meshgrid(*[np.linspace(-1, 1, size_px)] * 2, indexing="ij")
    pixel = np.random.default_rng(seed).normal(1.0, 0.2, (size_px, size_px)).clip(0.4, 1.6)
    gain_yx: npt.NDArray[np.float32] = (pixel * np.exp(0.35 * x + 0.2 * y)).astype(np.float32)
    return gain_yx


def draw_counts(rates_tyx: Image, gain_yx: npt.NDArray[np.float32] | None = None) -> npt.NDArray[np.uint16]:
    """What a camera of this gain counts."""
    expected = MEAN_COUNTS * rates_tyx / (1.0 if gain_yx is None else gain_yx)
    return np.random.default_rng(3).poisson(expected).astype(np.uint16)


def write_mrc_with_mrcfile(path: Path, data: npt.NDArray[Any]) -> None:
    with mrcfile.new(path) as mrc:
        mrc.set_data(data)
        mrc.voxel_size = 1.0


def write_tiff_with_tifffile(path: Path, data: npt.NDArray[Any]) -> None:
    tifffile.imwrite(path, data, photometric="minisblack")


def write_eer(
    path: Path, rates_tyx: Image, sensitivity_yx: npt.NDArray[np.float32], grouping: int, events_per_px: float
) -> None:
    """Hardware frames of few events each; `grouping` of them show the same rates."""
    rng = np.random.default_rng(4)
    writer = EerWriter(path, sensitivity_yx.shape, metadata={"exposureTime": 1.0})
    for rate_yx in rates_tyx:
        chance_yx = (events_per_px * rate_yx * sensitivity_yx).astype(np.float32)
        for _ in range(grouping):
            writer.append((rng.random(chance_yx.shape, dtype=np.float32) < chance_yx).astype(np.uint8))
    writer.close()


@dataclass(frozen=True)
class RelionResult:
    """RELION's sum as its file stores it, row 0 first, and its motion."""

    sum_yx: npt.NDArray[np.float32]
    motion: MotionField
    star: Path


def correct_with_relion(folder: Path, movie: str, *options: str, into: str = "MC") -> RelionResult:
    """Let RELION's own implementation correct one movie, without dose weighting, binning or defect search."""
    program = find_program("relion_run_motioncorr", "relion")
    optics: dict[str, list[StarValue]] = {
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnOpticsGroup": [1],
        "rlnMicrographOriginalPixelSize": [1.0],
        "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7],
        "rlnAmplitudeContrast": [0.1],
    }
    movies: dict[str, list[StarValue]] = {"rlnMicrographMovieName": [movie], "rlnOpticsGroup": [1]}
    write_star(folder / "movies.star", [StarBlock("optics", optics), StarBlock("movies", movies)])
    command = [program, "--i", "movies.star", "--o", f"{into}/", "--use_own", "--skip_defect", "--j", "1", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200, check=False)
    star = folder / into / f"{Path(movie).stem}.star"
    assert star.exists(), done.stdout[-1000:] + done.stderr[-1000:]
    with mrcfile.open(star.with_suffix(".mrc")) as mrc:
        sum_yx = np.array(mrc.data, dtype=np.float32)
    return RelionResult(sum_yx, read_motion(read_star(star)), star)
