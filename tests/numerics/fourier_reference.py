"""Whole images moved and resampled in Fourier space, by the parts that the sums are made of."""

import torch
from torch import Tensor

from daemon.numerics.fourier import resize_columns, resize_rows, shift_phases


def shift_image(image_yx: Tensor, shift_xy_px: tuple[float, float]) -> Tensor:
    """Move an image's content by shift (x, y) px: output(p) = image(p − shift), periodic at the edges."""
    shape_yx = (image_yx.shape[-2], image_yx.shape[-1])
    factor_y, factor_x = shift_phases(shape_yx, shift_xy_px)
    shifted_yx: Tensor = torch.fft.irfft2(torch.fft.rfft2(image_yx) * factor_y * factor_x, s=shape_yx)
    return shifted_yx


def resample_image(image_yx: Tensor, new_shape_yx: tuple[int, int]) -> Tensor:
    """Resample an image to a new number of pixels over the same field, mean level kept; pixel (0, 0) stays put."""
    height, width = image_yx.shape[-2:]
    scale = new_shape_yx[0] * new_shape_yx[1] / (height * width)
    rows = resize_rows(torch.fft.rfft2(image_yx), new_shape_yx[0])
    resampled_yx: Tensor = torch.fft.irfft2(resize_columns(rows, width, new_shape_yx[1]) * scale, s=new_shape_yx)
    return resampled_yx
