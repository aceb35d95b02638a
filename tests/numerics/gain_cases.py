"""Cameras whose pixels differ as real ones do, exposed to a specimen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

ORIENTATIONS: Mapping[str, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    "as is": lambda image: image,
    "turned 90": lambda image: np.rot90(image, -1),
    "turned 180": lambda image: np.rot90(image, 2),
    "turned 270": lambda image: np.rot90(image, 1),
    "mirrored": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1],
    "transposed": lambda image: image.T,
    "transposed back": lambda image: np.rot90(image, 2).T,
}


def turn(image_yx: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """Turn an image as the name says."""
    return ORIENTATIONS[name](image_yx)


@dataclass(frozen=True)
class Camera:
    """A gain that multiplies (0 = known to be dead), and counts per electron: 1 / gain, but in hot and dead pixels."""

    gain_yx: npt.NDArray[Any]
    response_yx: npt.NDArray[Any]

    def expose(self, counts_per_px: float, seed: int) -> npt.NDArray[Any]:
        """Return the sum of raw frames with so many counts a pixel: smooth specimen, sharp hole, beam to one side."""
        rng = np.random.default_rng([seed, 7])
        height, width = self.gain_yx.shape
        y, x = np.mgrid[:height, :width]
        grain_yx = gaussian_filter(rng.standard_normal((height, width)), 3.0)
        specimen_yx = 1 + 0.1 * grain_yx / grain_yx.std() + 0.3 * x / width
        hole = rng.uniform(0.2, 0.8, 2) * (height, width)
        inside_yx = (y - hole[0]) ** 2 + (x - hole[1]) ** 2 < (0.15 * min(height, width)) ** 2
        mean_yx = np.where(inside_yx, 1.6, specimen_yx).clip(0.05) * self.response_yx * counts_per_px
        counts_yx: npt.NDArray[np.float64] = rng.poisson(mean_yx).astype(np.float64)
        return counts_yx


def draw_camera(
    shape_yx: tuple[int, int],
    seed: int,
    *,
    pixels: float = 0.02,
    columns: float = 0.012,
    rows: float = 0.008,
    blocks: float = 0.02,
    symmetry: str | None = None,
) -> Camera:
    """Draw a camera: ± 4 % in all, by pixel, by column, by row, by readout block, and in slow waves; 40 bad pixels."""
    rng = np.random.default_rng([seed, 11])
    height, width = shape_yx
    y, x = np.mgrid[:height, :width]
    gain_yx = 1 + pixels * rng.standard_normal(shape_yx) + columns * rng.standard_normal((1, width))
    gain_yx += rows * rng.standard_normal((height, 1))
    gain_yx += (
        blocks * np.kron(rng.standard_normal((2, 4)), np.ones((-(-height // 2), -(-width // 4))))[:height, :width]
    )
    gain_yx += 0.02 * np.sin(2 * np.pi * (y / height + rng.random())) * np.sin(2 * np.pi * (x / width + rng.random()))
    if symmetry is not None:
        gain_yx = (gain_yx + turn(gain_yx, symmetry)) / 2
    response_yx = 1 / gain_yx
    bad = rng.permutation(height * width)[:40]
    if symmetry is None and pixels:
        response_yx.flat[bad[:20]] *= 25.0
        response_yx.flat[bad[20:]] = 0.0
        gain_yx.flat[bad[20:30]] = 0.0
    return Camera(gain_yx, response_yx)
