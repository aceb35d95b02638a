"""A movie made from one real micrograph: its image is moved, rated and counted again.

The micrograph's own shot noise moves with it and so counts as specimen: alignment is easier than on
a movie of the same dose, and its CTF stays what it is.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from daemon.numerics.simulation_detector import CountedMovie, Detector
from daemon.numerics.simulation_motion import SpecimenMotion
from daemon.numerics.simulation_warp import move_image

# Where opposite edges meet, Fourier shifts ring; this far inside nothing of it is left.
_EDGE_PX = 16


class MicrographMovie(CountedMovie):
    """Frames of a micrograph that drifts by a known motion."""

    def __init__(
        self,
        intensity_yx: Float[Tensor, "y x"],
        motion: SpecimenMotion,
        detector: Detector,
        electrons_per_px: float,
        count_seed: int,
    ) -> None:
        """Take a relative intensity (mean 1) wider than the frame by `micrograph_margin_px` on every side."""
        margin = micrograph_margin_px(motion)
        rows, columns = (size + 2 * margin for size in motion.shape_yx)
        if intensity_yx.shape[0] < rows or intensity_yx.shape[1] < columns:
            raise ValueError(
                f"frames of {motion.shape_yx} with this motion need a micrograph of at least {(rows, columns)}, "
                f"got {tuple(intensity_yx.shape)}"
            )
        if detector.shape_yx != motion.shape_yx:
            raise ValueError(f"the detector has {detector.shape_yx} pixels, the motion is for {motion.shape_yx}")
        super().__init__(detector, motion.frame_count, electrons_per_px, count_seed)
        self.motion = motion
        self._spectrum = torch.fft.rfft2(_center_first(intensity_yx[:rows, :columns] - 1.0, margin))
        self._padded_yx = (rows, columns)

    def intensities(self) -> Iterator[Float[Tensor, "y x"]]:
        """Yield the moved micrograph, frame by frame."""
        for frame in range(len(self)):
            yield move_image(self._spectrum, self._padded_yx, self.motion, frame).add_(1.0).clamp_(min=0.0)


def micrograph_margin_px(motion: SpecimenMotion) -> int:
    """Pixels that a micrograph must have beyond the frame on every side."""
    return _EDGE_PX + math.ceil(float(motion.on_grid(9, 9).abs().max()))


def relative_intensity(micrograph_yx: npt.NDArray[Any], contrast: float | None = None) -> Float[Tensor, "y x"]:
    """Scale a micrograph to mean 1 and, when `contrast` is given, to that standard deviation.

    Without `contrast` the values must be proportional to counts. Raises ValueError when the image is
    not 2-D or not finite, when its mean is not positive, or when it is constant and must be scaled.
    """
    image = torch.from_numpy(np.ascontiguousarray(micrograph_yx, dtype=np.float32))
    if image.ndim != 2 or not bool(torch.isfinite(image).all()):
        raise ValueError(f"a micrograph is a 2-D image of finite values, got shape {tuple(image.shape)}")
    mean, spread = float(image.mean()), float(image.std())
    if contrast is not None:
        if not spread > 0:
            raise ValueError("a constant micrograph has no contrast to scale")
        return ((image - mean) * (contrast / spread) + 1).clamp_(min=0.0)
    if not mean > 0:
        raise ValueError(f"a micrograph of counts must have a positive mean, got {mean:g}; give its contrast instead")
    return (image / mean).clamp_(min=0.0)


def _center_first(image_yx: Tensor, margin: int) -> Tensor:
    """Put the frame's first pixel at the array's first and let the leading margin follow at its far side."""
    return image_yx.roll((-margin, -margin), dims=(0, 1))
