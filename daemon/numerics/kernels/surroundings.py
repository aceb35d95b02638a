"""Deviation of pixels from their surroundings by a compiled kernel, for numerics.surroundings: tensors in and out."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from daemon.numerics.kernels import surroundings_cpu


def deviate(
    mean_yx: Float[Tensor, "y x"],
    gain_yx: Float[Tensor, "y x"] | None,
    known_yx: Bool[Tensor, "y x"] | None,
    frames: int,
    deviation_yx: Float[Tensor, "y x"],
    bad_yx: Bool[Tensor, "y x"],
) -> Callable[[slice], None]:
    """Return what writes rows of the deviation, and of what is defective whatever surrounds it."""
    gain = torch.zeros(0, 0) if gain_yx is None else gain_yx.float().contiguous()
    known = torch.zeros(0, 0, dtype=torch.bool) if known_yx is None else known_yx.contiguous()
    arrays = mean_yx.float().contiguous().numpy(), gain.numpy(), known.numpy()

    def write(rows: slice) -> None:
        surroundings_cpu.deviate(*arrays, float(frames), rows.start, rows.stop, deviation_yx.numpy(), bad_yx.numpy())

    return write
