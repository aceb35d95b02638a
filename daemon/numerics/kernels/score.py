"""Sums over packed stacks by compiled kernels, for motion_score: tensors in and out, blocks of rows side by side."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import BFloat16, Complex, Float, Int
from torch import Tensor

from daemon.numerics.kernels import score_cpu
from daemon.numerics.kernels.score_cpu import Floats, Words
from daemon.numerics.parallel import map_in_order

R = TypeVar("R")

_ROWS_AT_ONCE = 64
# Of what is smaller, such as a patch, one call is made, not several.
_LEAST_COEFFICIENTS = 1 << 14
_STACKS_AT_ONCE = 8


def sum_aligned(
    frames_tyx2: BFloat16[Tensor, "t y x 2"], phase_ty: Complex[Tensor, "t y"], phase_tx: Complex[Tensor, "t x"]
) -> Complex[Tensor, "y x"]:
    """Sum of all frames, each moved back by its phases."""
    words_tyx, phases = _words(frames_tyx2), _phases(phase_ty, phase_tx)
    total_yx = torch.empty(frames_tyx2.shape[1:3], dtype=torch.complex64)
    total_yx2 = _pairs(total_yx)
    _for_rows(lambda first, last: score_cpu.sum_aligned(words_tyx, *phases, first, last, total_yx2), frames_tyx2)
    return total_yx


def shift_gradient(
    frames_tyx2: BFloat16[Tensor, "t y x 2"],
    phase_ty: Complex[Tensor, "t y"],
    phase_tx: Complex[Tensor, "t x"],
    reference_yx: Complex[Tensor, "y x"],
    ky: Float[Tensor, "y 1"],
    kx: Float[Tensor, "1 x"],
) -> Float[Tensor, "t 2"]:
    """Im Σ k · reference · frame moved back, columns (x, y), float64."""
    words_tyx, phases, reference_yx2 = _words(frames_tyx2), _phases(phase_ty, phase_tx), _pairs(reference_yx)

    def project(first: int, last: int) -> Tensor:
        part_t2 = np.zeros((len(words_tyx), 2))
        score_cpu.project(words_tyx, *phases, _axis(ky), _axis(kx), reference_yx2, first, last, part_t2)
        return torch.from_numpy(part_t2)

    return torch.stack(_for_rows(project, frames_tyx2)).sum(dim=0)


def sum_power(frames_tyx2: BFloat16[Tensor, "t y x 2"], weight_st: Float[Tensor, "s t"]) -> Float[Tensor, "s y x"]:
    """Weighted sums of the frames' powers."""
    words_tyx, weights = _words(frames_tyx2), weight_st.float().contiguous().numpy()
    power_syx = torch.empty((len(weight_st), *frames_tyx2.shape[1:3]))
    sums = power_syx.numpy()
    _for_rows(lambda first, last: score_cpu.sum_power(words_tyx, weights, first, last, sums), frames_tyx2)
    return power_syx


def sum_rings(values_yx: Float[Tensor, "y x"], ring_yx: Int[Tensor, "y x"], rings: int) -> Float[Tensor, "a"]:
    """Sum over each ring, float64; ring_yx holds `rings` where there is none."""
    total_a = np.zeros(rings + 1)
    score_cpu.sum_rings(values_yx.contiguous().numpy(), ring_yx.numpy(), total_a)
    return torch.from_numpy(total_a[:rings])


def ring_powers(
    frames_tyx2: BFloat16[Tensor, "t y x 2"], ring_yx: Int[Tensor, "y x"], rings: int
) -> Float[Tensor, "t a"]:
    """Ring sums of each frame's power, float64."""
    power_ta = np.zeros((len(frames_tyx2), rings + 1))
    score_cpu.ring_powers(_words(frames_tyx2), ring_yx.numpy(), power_ta)
    return torch.from_numpy(power_ta[:, :rings])


def expand_stack(
    frames_tyx2: BFloat16[Tensor, "t y x 2"],
    phase_ty: Complex[Tensor, "t y"],
    phase_tx: Complex[Tensor, "t x"],
    ky: Float[Tensor, "y 1"],
    kx: Float[Tensor, "1 x"],
    ring_yx: Int[Tensor, "y x"],
    weight_a: Float[Tensor, "a"],
    *,
    with_gradient: bool,
) -> tuple[Float[Tensor, "a"], Float[Tensor, "t 2"]]:
    """Ring sums of the aligned sum's power, and Im Σ k · weight · sum* · frame moved back; in a single pass."""
    weights = torch.cat([weight_a.float(), torch.zeros(1)]).numpy()
    words_tyx, phases, rings_yx = _words(frames_tyx2), _phases(phase_ty, phase_tx), ring_yx.numpy()
    axes = _axis(ky), _axis(kx)

    def expand(first: int, last: int) -> tuple[Tensor, Tensor]:
        coherent_a = np.zeros(len(weights))
        gradient_t2 = np.zeros((len(words_tyx) if with_gradient else 0, 2))
        score_cpu.expand_stack(words_tyx, *phases, *axes, rings_yx, weights, first, last, coherent_a, gradient_t2)
        return torch.from_numpy(coherent_a[:-1]), torch.from_numpy(gradient_t2)

    parts = _for_rows(expand, frames_tyx2)
    coherent_a, gradient_t2 = (torch.stack(each).sum(dim=0) for each in zip(*parts, strict=True))
    return coherent_a, gradient_t2


def expand_stacks(
    frames_ptyx2: BFloat16[Tensor, "p t y x 2"],
    phase_pty: Complex[Tensor, "p t y"],
    phase_ptx: Complex[Tensor, "p t x"],
    ky: Float[Tensor, "y 1"],
    kx: Float[Tensor, "1 x"],
    ring_yx: Int[Tensor, "y x"],
    weight_pa: Float[Tensor, "p a"],
    *,
    with_gradient: bool,
) -> tuple[Float[Tensor, "p a"], Float[Tensor, "p t 2"]]:
    """`expand_stack` of many small stacks, a few in each call."""
    weights = torch.nn.functional.pad(weight_pa.float(), (0, 1)).numpy()
    coherent_pa = np.zeros(weights.shape)
    stacks, frames = int(frames_ptyx2.shape[0]), int(frames_ptyx2.shape[1])
    gradient_pt2 = np.zeros((stacks, frames if with_gradient else 0, 2))
    words_ptyx, phases = _words(frames_ptyx2), _phases(phase_pty, phase_ptx)
    axes, rings_yx = (_axis(ky), _axis(kx)), ring_yx.numpy()

    def expand(first: int) -> None:
        last = min(first + _STACKS_AT_ONCE, stacks)
        score_cpu.expand_stacks(words_ptyx, *phases, *axes, rings_yx, weights, first, last, coherent_pa, gradient_pt2)

    for _ in map_in_order(expand, range(0, stacks, _STACKS_AT_ONCE), device=frames_ptyx2.device):
        pass
    return torch.from_numpy(coherent_pa[:, :-1]), torch.from_numpy(gradient_pt2)


def correlate_with_others(
    frame_yx2: BFloat16[Tensor, "y x 2"],
    phase_y: Complex[Tensor, "y"],
    phase_x: Complex[Tensor, "x"],
    total_yx: Complex[Tensor, "y x"],
    damping_yx: Float[Tensor, "y x"],
) -> Complex[Tensor, "y x"]:
    """frame · (total − frame moved back)* · damping."""
    product_yx = torch.empty_like(total_yx)
    phase_ty2, phase_t2x = _phases(phase_y[None], phase_x[None])
    score_cpu.correlate_with_others(
        _words(frame_yx2), phase_ty2[0], phase_t2x[0], _pairs(total_yx), damping_yx.numpy(), _pairs(product_yx)
    )
    return product_yx


def _words(packed: Tensor) -> Words:
    """Pairs of bfloat16 as words of 32 bits."""
    words: Words = packed.view(torch.int32)[..., 0].numpy().view(np.uint32)
    return words


def _phases(phase_ty: Tensor, phase_tx: Tensor) -> tuple[Floats, Floats]:
    """Real and imaginary parts, beside one another for rows and apart for columns."""
    return _pairs(phase_ty), torch.view_as_real(phase_tx).transpose(-2, -1).contiguous().numpy()


def _pairs(values: Tensor) -> Floats:
    pairs: Floats = torch.view_as_real(values.resolve_conj().contiguous()).numpy()
    return pairs


def _axis(frequency: Tensor) -> Floats:
    values: Floats = frequency.flatten().numpy()
    return values


def _for_rows(work: Callable[[int, int], R], frames_tyx2: Tensor) -> list[R]:
    """Results of blocks of rows, in order; the blocks do not depend on the number of threads."""
    rows, columns = int(frames_tyx2.shape[1]), int(frames_tyx2.shape[2])
    step = max(_ROWS_AT_ONCE, _LEAST_COEFFICIENTS // columns)
    blocks = [(first, min(first + step, rows)) for first in range(0, rows, step)]
    return list(map_in_order(lambda block: work(*block), blocks, device=frames_tyx2.device))
