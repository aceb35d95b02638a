"""Stacks of frames' transforms in half the memory: pairs (re, im) of bfloat16, unpacked a few at a time.

Rounding adds noise of about 10⁻⁶ of a coefficient's power, against counting noise that is no smaller than the signal;
the range is that of float32, so that no gain error or grid bar overflows.
"""

import torch
from jaxtyping import BFloat16, Complex
from torch import Tensor

from daemon.numerics.fourier import resize_rfft


def pack(spectra: Complex[Tensor, "*stack y x"]) -> BFloat16[Tensor, "*stack y x 2"]:
    """Round transforms to bfloat16, last axis (re, im)."""
    return torch.view_as_real(spectra).to(torch.bfloat16)


def unpack(spectra: Tensor) -> Complex[Tensor, "*stack y x"]:
    """Transforms of packed ones; what is complex already stays as it is."""
    return spectra if spectra.is_complex() else torch.view_as_complex(spectra.float())


def frame_shape(spectra: Tensor) -> tuple[int, int]:
    """Rows and columns of each transform in a stack (t, y, x), packed or not."""
    return int(spectra.shape[1]), int(spectra.shape[2])


def cut_packed(spectra: Tensor, shape_yx: tuple[int, int], small_yx: tuple[int, int]) -> Tensor:
    """What images of small_yx pixels have of the packed transforms of images of shape_yx, one at a time."""
    cut = spectra.new_empty((*spectra.shape[:-3], small_yx[0], small_yx[1] // 2 + 1, 2))
    for whole, part in zip(spectra.unbind(), cut.unbind(), strict=True):
        part.copy_(pack(resize_rfft(unpack(whole), shape_yx, small_yx)))
    return cut
