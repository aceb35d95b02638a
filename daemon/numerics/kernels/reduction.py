"""What makes frames small by compiled kernels, for motion_halving and motion_stack: tensors in, tensors out."""

import numpy as np
import torch
from jaxtyping import BFloat16, Complex, Float, Int, Num
from torch import Tensor

from daemon.numerics.kernels import reduction_cpu


def halve(
    image_yx: Num[Tensor, "Y X"],
    references: tuple[Tensor, Tensor, Tensor, Tensor],
    repairs: Float[Tensor, "d"],
    taps_k: Float[Tensor, "k"],
    half_yx: Float[Tensor, "y x"],
) -> None:
    """Correct an image by FrameCorrection's references and repairs, filter it, and write every other pixel."""
    dark_yx, gain_yx, begins, columns = (each.numpy() for each in references)
    reduction_cpu.halve(
        image_yx.contiguous().numpy(),
        dark_yx,
        gain_yx,
        begins,
        columns,
        repairs.numpy(),
        taps_k.numpy(),
        half_yx.numpy(),
    )


def pack_cut(
    spectrum_yx: Complex[Tensor, "Y X"],
    factor_y: Float[Tensor, "y"],
    factor_x: Float[Tensor, "x"],
    measured_y2: Int[Tensor, "y 2"],
    packed_yx2: BFloat16[Tensor, "y x 2"],
) -> tuple[float, int]:
    """See motion_stack.pack_cut."""
    words_yx = packed_yx2.view(torch.int32)[..., 0].numpy().view(np.uint32)
    pairs = torch.view_as_real(spectrum_yx.contiguous()).numpy()
    total, count = reduction_cpu.pack_cut(pairs, factor_y.numpy(), factor_x.numpy(), measured_y2.numpy(), words_yx)
    return float(total), int(count)
