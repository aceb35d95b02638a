"""Proves that kernels can be compiled and give what they must, before a movie depends on them."""

import numpy as np
import torch

from daemon.numerics.kernels import HAS_COMPILER, has_kernels

_SIZE_PX = 32


def prove_kernels(device: torch.device) -> None:
    """Return once the kernels that are used beside this device have been compiled and have run.

    What they are compiled to is kept on disk, and found there the next time. Raises ValueError when a sum is wrong,
    and whatever numba raises where it cannot compile.
    """
    if HAS_COMPILER:
        _prove_decoding()
    if not has_kernels(device):
        return
    from daemon.numerics.kernels import (  # noqa: PLC0415 - need numba, which may not be there
        blend_cpu,
        frame_rows_cpu,
        warp_cpu,
    )
    from daemon.numerics.kernels.proof_of_estimate import prove_estimate_kernels  # noqa: PLC0415

    none = np.zeros(0, np.float32)
    camera = frame_rows_cpu.Camera(
        _SIZE_PX, _SIZE_PX, none, none, np.zeros(_SIZE_PX + 1, np.int64), np.zeros(0, np.int64)
    )
    weights = np.full(warp_cpu.STEPS_PER_PX * blend_cpu.TAPS, 1 / blend_cpu.TAPS, np.float32)
    nodes_tyx2 = np.zeros((1, 4, 4, 2), np.float32)
    motion = warp_cpu.Motion(nodes_tyx2, np.array([-8.0, -8.0]), np.array([16]), weights)
    part_yx, sum_yx = np.zeros((_SIZE_PX, _SIZE_PX), np.float32), np.zeros((_SIZE_PX, _SIZE_PX), np.float32)
    part, total = (np.array([image_yx.ctypes.data], np.uint64) for image_yx in (part_yx, sum_yx))
    planes, is_new, mixing_tb = np.zeros(1, np.int64), np.ones(1, np.bool_), np.full((1, 1), 2, np.float32)
    totals = warp_cpu.Totals(part_yx.shape, 0, part, planes, is_new, total, mixing_tb, True)
    raw = np.full(_SIZE_PX**2, 3, np.uint8)
    warp_cpu.add_band(raw, np.zeros(1, np.int64), none, camera, motion, totals, 0, _SIZE_PX)
    if not (np.all(part_yx == 3) and np.all(sum_yx == 6)):
        raise ValueError(
            "the compiled kernels sum frames of equal pixels to unequal ones: numba or this processor errs"
        )
    prove_estimate_kernels()


def _prove_decoding() -> None:
    """Decode three bytes 7: a clear code, the byte, and two of it, which are not in the table yet; nine bits each.

    And one event, in the second of three pixels: runs of one empty pixel before it and behind it, seven bits each.
    """
    from daemon.numerics.kernels import eer_cpu, lzw_cpu  # noqa: PLC0415 - need numba

    packed = np.zeros(4 + lzw_cpu.SLACK_BYTES, np.uint8)
    packed[:4] = list((256 << 23 | 7 << 14 | 258 << 5).to_bytes(4, "big"))
    row_yb = np.zeros((1, 3), np.uint8)
    if not (
        lzw_cpu.decode_strips(packed, np.zeros(1, np.int64), np.full(1, 4), 1, row_yb, True) and np.all(row_yb == 7)
    ):
        raise ValueError("the compiled kernels decode equal bytes to unequal ones: numba or this processor errs")
    packed = np.frombuffer(bytearray((1 | 1 << 11).to_bytes(4 + eer_cpu.SLACK_BYTES, "little")), np.uint8)
    first, size, layout = np.zeros(1, np.int64), np.full(1, 4), eer_cpu.Layout(3, 3, 7, 2, 2, 7)
    for finer_bits, place in ((0, 1), (1, 9)):
        counts = np.zeros(3 << 2 * finer_bits, np.uint8)
        wrong = eer_cpu.count_events(packed, first, size, layout, finer_bits, counts)
        if wrong != -1 or counts.sum() != 1 or counts[place] != 1:
            raise ValueError("the compiled kernels count electrons where there are none: numba or this processor errs")
