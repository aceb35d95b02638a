"""Proves that kernels can be compiled and give what they must, before a movie depends on them."""

import numpy as np
import torch

from daemon.numerics.kernels import has_kernels

_SIZE_PX = 32


def prove_kernels(device: torch.device) -> None:
    """Return once the kernels that this device uses have been compiled and have run; at once where it uses none.

    What they are compiled to is kept on disk, and found there the next time. Raises ValueError when a sum is wrong,
    and whatever numba raises where it cannot compile.
    """
    if not has_kernels(device):
        return
    from daemon.numerics.kernels import frame_rows_cpu, warp_cpu  # noqa: PLC0415 - needs numba, which may not be there
    from daemon.numerics.kernels.proof_of_estimate import prove_estimate_kernels  # noqa: PLC0415

    none = np.zeros(0, np.float32)
    camera = frame_rows_cpu.Camera(
        _SIZE_PX, _SIZE_PX, none, none, np.zeros(_SIZE_PX + 1, np.int64), np.zeros(0, np.int64)
    )
    weights = np.full(warp_cpu.STEPS_PER_PX * warp_cpu.TAPS, 1 / warp_cpu.TAPS, np.float32)
    nodes_tyx2 = np.zeros((1, 4, 4, 2), np.float32)
    motion = warp_cpu.Motion(nodes_tyx2, np.array([-8.0, -8.0]), np.array([16]), weights)
    part_yx = np.zeros((_SIZE_PX, _SIZE_PX), np.float32)
    sums_byx, mixing_tb = np.zeros((1, _SIZE_PX, _SIZE_PX), np.float32), np.full((1, 1), 2, np.float32)
    totals = warp_cpu.Totals(part_yx, sums_byx, mixing_tb, 0)
    raw = np.full(_SIZE_PX**2, 3, np.uint8)
    warp_cpu.add_band(raw, np.zeros(1, np.int64), none, camera, motion, totals, 0, _SIZE_PX)
    if not (np.all(part_yx == 3) and np.all(sums_byx == 6)):
        raise ValueError(
            "the compiled kernels sum frames of equal pixels to unequal ones: numba or this processor errs"
        )
    prove_estimate_kernels()
