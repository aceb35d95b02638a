"""Proves the kernels that motion is estimated with; see daemon.numerics.kernels.proof."""

import torch

from daemon.numerics.kernels import reduction, score, surroundings

_SIZE_PX = 64
_FRAMES = 3
_NEAR = 1e-3


def prove_estimate_kernels() -> None:
    """Run each of them on frames of equal pixels. Raises ValueError where what comes out is not what went in."""
    raw_yx = torch.full((_SIZE_PX, _SIZE_PX), 3, dtype=torch.uint8)
    none_yx, none = torch.zeros(0, 0), torch.zeros(0, dtype=torch.int64)
    half_yx = torch.zeros(_SIZE_PX // 2, _SIZE_PX // 2)
    begins = torch.zeros(_SIZE_PX + 1, dtype=torch.int64)
    for image_yx in (raw_yx, raw_yx.float()):
        reduction.halve(image_yx, (none_yx, none_yx, begins, none), torch.zeros(0), torch.tensor([0.5, 0.25]), half_yx)
        _check(half_yx, 3.0)
    deviation_yx, bad_yx = torch.ones(_SIZE_PX, _SIZE_PX), torch.zeros(_SIZE_PX, _SIZE_PX, dtype=torch.bool)
    surroundings.deviate(raw_yx.float(), None, None, 1, deviation_yx, bad_yx)(slice(0, _SIZE_PX))
    _check(deviation_yx, 0.0)
    spectrum_yx = torch.ones(_SIZE_PX, _SIZE_PX // 2 + 1, dtype=torch.complex64)
    rows, columns = _SIZE_PX // 2, _SIZE_PX // 4 + 1
    stack_tyx2 = torch.zeros(_FRAMES, rows, columns, 2, dtype=torch.bfloat16)
    ones_y, ones_x = torch.ones(rows), torch.ones(columns)
    for packed_yx2 in stack_tyx2:
        reduction.pack_cut(spectrum_yx, ones_y, ones_x, torch.zeros(rows, 2, dtype=torch.int64), packed_yx2)
    phase_ty = torch.ones(_FRAMES, rows, dtype=torch.complex64)
    phase_tx = torch.ones(_FRAMES, columns, dtype=torch.complex64)
    total_yx = score.sum_aligned(stack_tyx2, phase_ty, phase_tx)
    _check(total_yx.real, float(_FRAMES))
    ones_yx, ring_yx = torch.ones(rows, columns), torch.zeros(rows, columns, dtype=torch.int32)
    _check(score.correlate_with_others(stack_tyx2[0], phase_ty[0], phase_tx[0], total_yx, ones_yx).real, _FRAMES - 1.0)
    _check(score.sum_power(stack_tyx2, torch.ones(1, _FRAMES)), float(_FRAMES))
    _check(score.sum_rings(ones_yx, ring_yx, 1), float(rows * columns))
    _check(score.ring_powers(stack_tyx2, ring_yx, 1), float(rows * columns))
    ky, kx = ones_y[:, None], ones_x[None, :]
    _check(score.shift_gradient(stack_tyx2, phase_ty, phase_tx, total_yx.conj(), ky, kx), 0.0)
    weights = torch.ones(1)
    stacks = stack_tyx2[None], phase_ty[None], phase_tx[None]
    expanded = (
        *score.expand_stack(stack_tyx2, phase_ty, phase_tx, ky, kx, ring_yx, weights, with_gradient=True),
        *(each[0] for each in score.expand_stacks(*stacks, ky, kx, ring_yx, weights[None], with_gradient=True)),
    )
    for part in expanded:
        _check(part, float(_FRAMES**2 * rows * columns) if part.ndim == 1 else 0.0)


def _check(found: torch.Tensor, expected: float) -> None:
    if not bool(((found - expected).abs() <= _NEAR * max(1.0, abs(expected))).all()):
        raise ValueError(
            "the compiled kernels make of frames of equal pixels what they can't hold: numba or this processor errs"
        )
