"""Room around an image: what shifts, splines and filters reach beyond its edges is the image mirrored.

Binning happens here: the canvas is cut in Fourier space to pixels larger by a whole number, of which the first lies
where the image's first pixel does, and the mean level is kept. The canvas's size is a multiple of that number, so that
larger pixels are larger by exactly as much, whatever the image's size.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn.functional import pad

from daemon.numerics.fourier import good_fft_size, resize_columns, resize_rows

_FILTER_REACH_PX = 16
"""Cutting in Fourier space mixes in what lies about so far beyond an edge: the image mirrored."""


@dataclass(frozen=True)
class Canvas:
    """An image of shape_yx, margin_yx px from the corner of an image whose size suits Fourier transforms.

    binning: how many times larger the pixels are that are cut off it in the end.
    """

    shape_yx: tuple[int, int]
    margin_yx: tuple[int, int]
    padded_yx: tuple[int, int]
    binning: int = 1

    @staticmethod
    def around(shape_yx: tuple[int, int], reach_yx_px: tuple[float, float], *, binning: int = 1) -> "Canvas":
        """Leave at least reach_yx_px on every side, or as much as the image can be mirrored."""
        margins, padded = [], []
        for size, reach in zip(shape_yx, reach_yx_px, strict=True):
            margin = binning * min(math.ceil(math.ceil(reach) / binning), (size - 1) // binning)
            margins.append(margin)
            padded.append(good_fft_size(size + 2 * margin, multiple_of=2 * binning))
            if padded[-1] - size - margin >= size:
                # Too small to be mirrored that far: an exact size will do.
                padded[-1] = (size + 2 * margin) // binning * binning
        return Canvas(shape_yx, (margins[0], margins[1]), (padded[0], padded[1]), binning)

    @property
    def binned_yx(self) -> tuple[int, int]:
        """Rows and columns of the canvas in its larger pixels."""
        return self.padded_yx[0] // self.binning, self.padded_yx[1] // self.binning

    @property
    def level(self) -> float:
        """What coefficients that were cut to `binned_yx` are multiplied with, so that the mean level is kept."""
        return 1 / self.binning**2

    def fill(self, image_yx: Float[Tensor, "y x"]) -> Float[Tensor, "py px"]:
        """Put an image on the canvas, its edges mirrored."""
        after_y, after_x = (self.padded_yx[axis] - self.shape_yx[axis] - self.margin_yx[axis] for axis in (0, 1))
        sides = (self.margin_yx[1], after_x, self.margin_yx[0], after_y)
        return pad(image_yx[None, None], sides, mode="reflect")[0, 0]

    def transform(self, image_yx: Float[Tensor, "y x"]) -> Complex[Tensor, "by bx"]:
        """Put an image on the canvas and transform it, cut to the coefficients of larger pixels."""
        canvas_yx = self.fill(image_yx)
        if self.binning == 1:
            whole: Tensor = torch.fft.rfft2(canvas_yx)
            return whole
        # Columns that are cut anyway need no transform of their own.
        rows_yx = resize_columns(torch.fft.rfft(canvas_yx), self.padded_yx[1], self.binned_yx[1])
        return resize_rows(torch.fft.fft(rows_yx, dim=0), self.binned_yx[0])

    def transform_back(self, transform: Complex[Tensor, "by bx"]) -> Float[Tensor, "y x"]:
        """Return to larger pixels and take the image off the canvas."""
        canvas_yx: Tensor = torch.fft.irfft2(transform, s=self.binned_yx)
        if self.binning > 1:
            canvas_yx = canvas_yx.mul_(self.level)
        return self.cut(canvas_yx)

    def cut(self, canvas_yx: Float[Tensor, "by bx"]) -> Float[Tensor, "y x"]:
        """Take the image off the canvas of larger pixels, contiguous; what is left of a last pixel is left out."""
        (top, left), (height, width) = self.cut_corner_yx, self.cut_shape_yx
        return canvas_yx[top : top + height, left : left + width].contiguous()

    @property
    def cut_corner_yx(self) -> tuple[int, int]:
        """Where the image begins, in larger pixels."""
        return self.margin_yx[0] // self.binning, self.margin_yx[1] // self.binning

    @property
    def cut_shape_yx(self) -> tuple[int, int]:
        """Rows and columns of the image in larger pixels."""
        return binned_shape(self.shape_yx, self.binning)


def bin_image(image_yx: Float[Tensor, "y x"], binning: int) -> Float[Tensor, "by bx"]:
    """Cut an image in Fourier space to pixels larger by a whole number; (0, 0) stays put, the mean level is kept."""
    if binning == 1:
        return image_yx
    shape_yx = (int(image_yx.shape[0]), int(image_yx.shape[1]))
    canvas = Canvas.around(shape_yx, (_FILTER_REACH_PX, _FILTER_REACH_PX), binning=binning)
    return canvas.transform_back(canvas.transform(image_yx))


def binned_shape(shape_yx: tuple[int, int], binning: int) -> tuple[int, int]:
    """Whole pixels that are `binning` times larger in an image of this shape."""
    return shape_yx[0] // binning, shape_yx[1] // binning
