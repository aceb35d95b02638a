"""Stacks of frames' transforms in half the memory: pairs (re, im) of bfloat16, unpacked a few at a time.

Rounding adds noise of about 10⁻⁶ of a coefficient's power, against counting noise that is no smaller than the signal;
the range is that of float32, so that no gain error or grid bar overflows.
"""

import torch
from jaxtyping import BFloat16, Complex, Float, Int
from torch import Tensor

from daemon.numerics.kernels import has_kernels
from daemon.numerics.parallel import map_in_order


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
    """What images of small_yx pixels have of the packed transforms of images of shape_yx, both even sizes.

    Where they are cut the Nyquist frequencies are zero: with one sign of the two they would be of no use.
    """
    rows, columns = small_yx[0], small_yx[1] // 2 + 1
    cut = spectra.new_empty((*spectra.shape[:-3], rows, columns, 2))
    below = rows // 2

    def copy(index: int) -> None:
        small, large = cut[index], spectra[index]
        small[..., :below, :, :] = large[..., :below, :columns, :]
        small[..., below:, :, :] = large[..., shape_yx[0] - rows + below :, :columns, :]
        if rows < shape_yx[0]:
            small[..., below, :, :] = 0
        if small_yx[1] < shape_yx[1]:
            small[..., columns - 1, :] = 0

    for _ in map_in_order(copy, range(len(cut)), device=spectra.device):
        pass
    return cut


def pack_cut(
    spectrum_yx: Complex[Tensor, "Y X"],
    factor_y: Float[Tensor, "y"],
    factor_x: Float[Tensor, "x"],
    measured_y2: Int[Tensor, "y 2"],
    packed_yx2: BFloat16[Tensor, "y x 2"],
) -> tuple[float, int]:
    """Cut a half-plane transform to its lowest frequencies, multiply by a factor for each axis, and pack.

    The factors are 0 for Nyquist frequencies of what is left. Returns the sum of the power from and up to the columns
    measured_y2 of each row, and the number of coefficients there.
    """
    rows, columns = int(packed_yx2.shape[0]), int(packed_yx2.shape[1])
    if has_kernels(spectrum_yx.device):
        from daemon.numerics.kernels import reduction  # noqa: PLC0415 - needs numba

        return reduction.pack_cut(spectrum_yx, factor_y, factor_x, measured_y2, packed_yx2)
    halves = (spectrum_yx[: rows // 2, :columns], spectrum_yx[spectrum_yx.shape[0] - rows + rows // 2 :, :columns])
    cut_yx = torch.cat(halves) * (factor_y[:, None] * factor_x)
    packed_yx2.copy_(pack(cut_yx))
    column = torch.arange(columns)
    measured_yx = (column >= measured_y2[:, :1]) & (column < measured_y2[:, 1:])
    power = cut_yx[measured_yx.to(cut_yx.device)].abs().square().double().sum()
    return float(power), int(measured_yx.sum())
