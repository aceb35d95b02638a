"""Rings of a spectrum: bins equally far from zero frequency, to the whole bin, and averages over them."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def centred_radius(box_px: int, device: torch.device) -> Float[Tensor, "box box"]:
    """Distance in bins, float64, of every bin of a square spectrum from zero frequency at [box//2, box//2]."""
    centred = torch.arange(box_px, dtype=torch.float64, device=device) - box_px // 2
    return torch.hypot(centred[:, None], centred[None, :])


def average_rings(
    values: Float[Tensor, "..."], ring: Int[Tensor, "..."], count: int | None = None
) -> tuple[Float[Tensor, " ring"], Float[Tensor, " ring"]]:
    """Mean of the values on rings 0 … count − 1 (up to the outermost one without a count), and how many lie on each.

    Zero where nothing lies. `ring` holds the ring of each value.
    """
    index, flat = ring.flatten(), values.flatten()
    number = torch.zeros(int(index.max()) + 1 if count is None else count, dtype=flat.dtype, device=flat.device)
    # Unlike weights of bincount, index_add_ has an order on every device where torch is told to be deterministic.
    total = torch.zeros_like(number).index_add_(0, index, flat)
    number.index_add_(0, index, torch.ones_like(flat))
    return total / number.clamp(min=1), number
