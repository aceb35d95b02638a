"""The likelihood of a set of frame shifts, its gradient and its information.

Model of one patch (or the whole frame): y_t(k) = b_t s(k) exp(−2πi k·d_t) + n_t(k), with s and n complex
normal of power S(|k|) and N(|k|). With s integrated out, what depends on the shifts is
    ℓ(d) = Σ_k w(k) |Z(k)|²,   Z = Σ_t b_t exp(+2πi k·d_t) y_t,   w = S / (N (N + S Σ b_t²)),
the sum running over one of each pair ±k. Its gradient is −4π Σ_k w k Im(Z* b_t exp(+2πi k·d_t) y_t), and its
expected curvature couples frames as a graph Laplacian (Fisher information for frame shifts).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from daemon.numerics.kernels import has_kernels
from daemon.numerics.motion_stack import frame_shape, unpack
from daemon.numerics.parallel import map_in_order

# Complex values handled at once: on the CPU as many as stay in a core's cache from one step to the next.
_BLOCK_CPU, _BLOCK_ELSEWHERE = 1 << 17, 1 << 24

# Variances of a ring's signal, of chance alone, that are taken off its square.
_DOUBT = 2.0


class RadialBins:
    """Rings of equal width of a half-plane, without the two axes, where columns, rows and edges leave their marks."""

    def __init__(self, ky: Float[Tensor, "y 1"], kx: Float[Tensor, "1 x"], *, low: float, high: float) -> None:
        step_y = float(ky[1, 0]) if ky.shape[0] > 1 else 1.0
        step_x = float(kx[0, 1]) if kx.shape[1] > 1 else 1.0
        self.width = max(step_y, step_x)
        first = math.floor(low / self.width)
        self.rings = max(1, math.floor(high / self.width) - first + 1)
        self.ring_yx = torch.empty((ky.shape[0], kx.shape[1]), dtype=torch.int32, device=ky.device)

        def sort(rows: slice) -> None:
            radius = torch.sqrt(ky[rows].double() ** 2 + kx.double() ** 2)
            used = (radius >= low) & (radius <= high) & (ky[rows].abs() > 0.5 * step_y) & (kx > 0.5 * step_x)
            ring = (radius / self.width).floor().int() - first
            self.ring_yx[rows] = torch.where(used, ring.clamp(0, self.rings - 1), self.rings)

        for_each(sort, row_blocks(self.ring_yx[None], 1), ky.device)
        count = torch.bincount(self.ring_yx.flatten(), minlength=self.rings + 1)[: self.rings]
        self.count_a = count.double().cpu()
        self._table = None if has_kernels(ky.device) else self._members(count)
        self.frequency_a = (torch.arange(self.rings, dtype=torch.float64) + first + 0.5) * self.width

    def _members(self, count_a: Tensor) -> Tensor:
        """Table of members per ring: with it sums are a fixed-order reduction, on every device."""
        flat = self.ring_yx.flatten()
        order = torch.argsort(flat, stable=True)
        start = torch.cumsum(count_a, 0) - count_a
        slots = torch.arange(max(1, int(count_a.max())), device=flat.device)
        member = (start[:, None] + slots).clamp(max=flat.numel() - 1)
        return torch.where(slots < count_a[:, None], order[member], flat.numel())

    def total(self, values_yx: Float[Tensor, "y x"]) -> Float[Tensor, "a"]:
        """Sum over each ring, float64 on the CPU."""
        if self._table is None:
            from daemon.numerics.kernels import score  # noqa: PLC0415 - needs numba

            return score.sum_rings(values_yx.float(), self.ring_yx, self.rings)
        extended = torch.cat([values_yx.flatten(), values_yx.new_zeros(1)])
        return extended[self._table].sum(dim=1, dtype=torch.float64).cpu()

    def expand(self, table_a: Float[Tensor, "a"]) -> Float[Tensor, "y x"]:
        """Value of its ring at every coefficient, 0 outside the band; float32 on the band's device."""
        extended = torch.cat([table_a.double(), torch.zeros(1, dtype=torch.float64)]).float()
        return extended.to(self.ring_yx.device)[self.ring_yx]


@dataclass(frozen=True)
class SpectralModel:
    """Signal and noise power by ring in whitened units, and the frames' squared amplitudes b²; float64, CPU.

    Amplitudes are the same for all rings, or have a second axis for them.
    """

    signal_a: Float[Tensor, "a"]
    noise_a: Float[Tensor, "a"]
    squared_amplitude_t: Float[Tensor, "t *a"]

    def weight(self, strength: float | Tensor = 1.0, noise: float | Tensor = 1.0) -> Float[Tensor, "*p a"]:
        """w by ring for a patch, or patches (p, 1), whose signal and noise power are these multiples of the average."""
        signal_a, noise_a = strength * self.signal_a, noise * self.noise_a
        return signal_a / (noise_a * (noise_a + signal_a * by_ring(self.squared_amplitude_t).sum(dim=0)))

    def information(self, bins: RadialBins) -> Float[Tensor, "t t"]:
        """Expected curvature of −ℓ in px⁻² for the shifts along one axis: a Laplacian, zero for a common shift.

        −E ∂²ℓ/∂d_t∂d_u = −Σ_k (2π)² k² w S b_t² b_u² for t ≠ u, with k² halved for one axis of an isotropic band.
        """
        coupling_a = (2 * math.pi * bins.frequency_a).square() * bins.count_a * self.weight() * self.signal_a
        squared_ta = by_ring(self.squared_amplitude_t).expand(-1, len(coupling_a))
        coupling_tt = (squared_ta * coupling_a) @ squared_ta.T
        return torch.diag(coupling_tt.sum(dim=1)) - coupling_tt

    def information_traces(
        self, bins: RadialBins, strength_p: Float[Tensor, "p"], noise_p: Float[Tensor, "p"]
    ) -> Float[Tensor, "p"]:
        """Trace of the information for patches whose signal and noise power are these multiples of the average."""
        signal_pa, noise_pa = strength_p[:, None] * self.signal_a, noise_p[:, None] * self.noise_a
        squared_ta = by_ring(self.squared_amplitude_t)
        sum_a, pairs_a = squared_ta.sum(dim=0), squared_ta.sum(dim=0).square() - squared_ta.square().sum(dim=0)
        curvature_a = (2 * math.pi * bins.frequency_a).square() * bins.count_a * pairs_a
        return (curvature_a * signal_pa.square() / (noise_pa * (noise_pa + signal_pa * sum_a))).sum(dim=1)


def by_ring(squared_amplitude_t: Float[Tensor, "t *a"]) -> Float[Tensor, "t a"]:
    """Squared amplitudes with an axis of rings, of length one where they don't differ."""
    return squared_amplitude_t[:, None] if squared_amplitude_t.ndim == 1 else squared_amplitude_t


def estimate_spectra(
    coherent_a: Float[Tensor, "a"],
    incoherent_a: Float[Tensor, "a"],
    total_a: Float[Tensor, "a"],
    count_a: Float[Tensor, "a"],
    squared_amplitude_t: Float[Tensor, "t *a"],
    *,
    reach: int = 1,
) -> SpectralModel:
    """Signal and noise by the method of moments from ring sums of |Z|², Σ_t |b_t y_t|² and Σ_t |y_t|².

    E|Z|² = N Σb² + S (Σb²)², E Σ|b y|² = N Σb² + S Σb⁴, E Σ|y|² = T N + S Σb², T the frames with b > 0. The
    signal is smoothed over `reach` rings on either side. Noise that happens to agree at the present path confirms it:
    of a ring's signal S(1 − 2σ²/S²) is left, and nothing where that is negative.
    """
    tiny = torch.finfo(torch.float64).tiny
    squared_ta = by_ring(squared_amplitude_t)
    sum2_a = squared_ta.sum(dim=0)
    pairs_a = (sum2_a.square() - squared_ta.square().sum(dim=0)).clamp_min(tiny)
    usable = max(float((squared_ta > 0).any(dim=1).sum()), 1.0)
    smoothed_count_a = smooth_rings(count_a, reach).clamp_min(1)
    signal_a = (smooth_rings(coherent_a - incoherent_a, reach) / smoothed_count_a / pairs_a).clamp_min(0)
    noise_a = (total_a / count_a.clamp_min(1) - signal_a * sum2_a) / usable
    # Under noise alone Var(|Z|² − Σ|b y|²) = N² ((Σb²)² − Σb⁴) a coefficient.
    weight_a = _binomial(reach)
    independent_a = smoothed_count_a.square() / _convolve(count_a, weight_a.square()).clamp_min(1e-3)
    variance_a = noise_a.square() / (pairs_a * independent_a.clamp_min(1))
    signal_a = signal_a * (1 - _DOUBT * variance_a / signal_a.square().clamp_min(tiny)).clamp_min(0)
    floor = 0.05 * float(noise_a.clamp_min(0).mean())
    return SpectralModel(signal_a, noise_a.clamp_min(max(floor, tiny)), squared_amplitude_t)


def smooth_rings(sums_a: Float[Tensor, "a"], reach: int = 1) -> Float[Tensor, "a"]:
    """Ring sums with binomial shares of their neighbours; ratios of them are averages that empty rings have no part in.

    The standard deviation of the shares is √(reach/2) rings.
    """
    return _convolve(sums_a, _binomial(reach))


def _binomial(reach: int) -> Tensor:
    order = 2 * reach
    return torch.tensor([math.comb(order, index) / 2**order for index in range(order + 1)], dtype=torch.float64)


def _convolve(values_a: Tensor, weight_a: Tensor) -> Tensor:
    reach = weight_a.numel() // 2
    padded = torch.nn.functional.pad(values_a.double(), (reach, reach))
    return padded.unfold(0, weight_a.numel(), 1) @ weight_a


def _phases(
    shift_t2: Tensor, ky: Float[Tensor, "y 1"], kx: Float[Tensor, "1 x"]
) -> tuple[Complex[Tensor, "t y"], Complex[Tensor, "t x"]]:
    """Separable factors that move frames back by their shifts (x, y) px."""
    shift_t2 = shift_t2.to(ky.device)
    turn_y = 2 * math.pi * shift_t2[..., 1, None] * ky[:, 0].double()
    turn_x = 2 * math.pi * shift_t2[..., 0, None] * kx[0].double()
    phase_y = torch.polar(torch.ones_like(turn_y), turn_y).to(torch.complex64)
    phase_x = torch.polar(torch.ones_like(turn_x), turn_x).to(torch.complex64)
    return phase_y, phase_x


def turn_back(
    frames_tyx: Tensor, shift_t2: Tensor, ky: Float[Tensor, "y 1"], kx: Float[Tensor, "1 x"]
) -> Complex[Tensor, "t y x"]:
    """Frames moved back by their shifts (x, y) px: for the few and small."""
    phase_y, phase_x = _phases(shift_t2, ky, kx)
    return (frames_tyx * phase_x[:, None, :]).mul_(phase_y[:, :, None])


def runs_compiled(frames_tyx: Tensor) -> bool:
    """Whether a compiled kernel sums this stack: packed ones on the CPU. Others are left to torch."""
    return not frames_tyx.is_complex() and has_kernels(frames_tyx.device)


def power(values: Complex[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Squared magnitudes, without the roots that abs() takes."""
    return torch.view_as_real(values.resolve_conj()).square().sum(dim=-1)


def row_blocks(frames_tyx: Tensor, frames_at_once: int) -> list[slice]:
    """Rows to handle together, so that what is made of them stays in the cache."""
    rows, columns = frame_shape(frames_tyx)
    block = _BLOCK_CPU if frames_tyx.device.type == "cpu" else _BLOCK_ELSEWHERE
    step = max(1, block // max(1, columns * frames_at_once))
    return [slice(first, first + step) for first in range(0, rows, step)]


def for_each(work: Callable[[slice], None], blocks: list[slice], device: torch.device) -> None:
    """Let every block of rows write its part of a result that is there already: nothing small outlives its block."""
    for _ in map_in_order(work, blocks, device=device):
        pass


def sum_aligned(frames_tyx: Tensor, shift_t2: Float[Tensor, "t 2"], ky: Tensor, kx: Tensor) -> Complex[Tensor, "y x"]:
    """Z: the sum of the frames (t, y, x), packed or not, each moved back by its shift."""
    phase_ty, phase_tx = _phases(shift_t2, ky, kx)
    if runs_compiled(frames_tyx):
        from daemon.numerics.kernels import score  # noqa: PLC0415 - needs numba

        return score.sum_aligned(frames_tyx, phase_ty, phase_tx)
    total_yx = torch.zeros(frame_shape(frames_tyx), dtype=torch.complex64, device=frames_tyx.device)

    def add(rows: slice) -> None:
        part_yx = total_yx[rows]
        for frame_yx, phase_y, phase_x in zip(frames_tyx[:, rows], phase_ty[:, rows], phase_tx, strict=True):
            part_yx.addcmul_(unpack(frame_yx) * phase_x, phase_y[:, None])

    for_each(add, row_blocks(frames_tyx, 1), frames_tyx.device)
    return total_yx


def sum_frames(frames_tyx: Tensor) -> Complex[Tensor, "y x"]:
    """Sum of the frames (t, y, x), packed or not, as they lie."""
    if runs_compiled(frames_tyx):
        from daemon.numerics.kernels import score  # noqa: PLC0415 - needs numba

        frames, rows, columns = frames_tyx.shape[:3]
        still_ty, still_tx = (torch.ones(frames, size, dtype=torch.complex64) for size in (rows, columns))
        return score.sum_aligned(frames_tyx, still_ty, still_tx)
    total_yx = torch.zeros(frame_shape(frames_tyx), dtype=torch.complex64, device=frames_tyx.device)
    for frame_yx in frames_tyx:
        total_yx += unpack(frame_yx)
    return total_yx


def sum_of_phases(
    weight_t: Float[Tensor, "t"], shift_t2: Float[Tensor, "t 2"], ky: Tensor, kx: Tensor
) -> Complex[Tensor, "y x"]:
    """Σ_t weight exp(+2πi k·d_t): what `sum_aligned` makes of frames that are weights everywhere."""
    phase_ty, phase_tx = _phases(shift_t2, ky, kx)
    weighted_ty = phase_ty * weight_t.to(device=ky.device, dtype=torch.float32)[:, None]
    return weighted_ty.T @ phase_tx


def sum_power(frames_tyx: Tensor, weight_st: Float[Tensor, "s t"]) -> Float[Tensor, "s y x"]:
    """Weighted sums of the powers of frames (t, y, x), packed or not, several sets of weights at once."""
    weight_st = weight_st.to(device=frames_tyx.device, dtype=torch.float32)
    if runs_compiled(frames_tyx):
        from daemon.numerics.kernels import score  # noqa: PLC0415 - needs numba

        return score.sum_power(frames_tyx, weight_st)
    power_syx = torch.empty((len(weight_st), *frame_shape(frames_tyx)), device=frames_tyx.device)

    def add(rows: slice) -> None:
        power_tyx = power(unpack(frames_tyx[:, rows]))
        power_syx[:, rows] = (weight_st @ power_tyx.flatten(1)).reshape(-1, *power_tyx.shape[1:])

    for_each(add, row_blocks(frames_tyx, frames_tyx.shape[0]), frames_tyx.device)
    return power_syx


def ring_powers(frames_tyx: Tensor, bins: RadialBins) -> Float[Tensor, "t a"]:
    """Ring sums of the power of each frame of a small stack (t, y, x), packed or not; float64 on the CPU."""
    if runs_compiled(frames_tyx):
        from daemon.numerics.kernels import score  # noqa: PLC0415 - needs numba

        return score.ring_powers(frames_tyx, bins.ring_yx, bins.rings)
    return torch.stack([bins.total(power(unpack(each))) for each in frames_tyx])


def shift_gradient(
    frames_tyx: Tensor,
    shift_t2: Float[Tensor, "t 2"],
    total_yx: Complex[Tensor, "y x"],
    weight_yx: Float[Tensor, "y x"],
    ky: Tensor,
    kx: Tensor,
) -> Float[Tensor, "t 2"]:
    """∂ℓ/∂d_t in px⁻¹, columns (x, y), float64 on the CPU; frames (t, y, x), packed or not."""
    phase_ty, phase_tx = _phases(shift_t2, ky, kx)
    reference_yx = weight_yx * total_yx.conj()
    if runs_compiled(frames_tyx):
        from daemon.numerics.kernels import score  # noqa: PLC0415 - needs numba

        return -4 * math.pi * score.shift_gradient(frames_tyx, phase_ty, phase_tx, reference_yx, ky, kx)
    probe_tx2 = torch.stack([phase_tx * kx, phase_tx], dim=2)

    def project(rows: slice) -> Tensor:
        """Sums over one block of rows."""
        along_ty2 = torch.bmm(unpack(frames_tyx[:, rows]) * reference_yx[rows], probe_tx2) * phase_ty[:, rows, None]
        along_x, along_y = along_ty2.imag.double().unbind(dim=2)
        return torch.stack([along_x.sum(dim=1), along_y @ ky[rows, 0].double()], dim=1)

    blocks = row_blocks(frames_tyx, frames_tyx.shape[0])
    gradient_t2 = torch.zeros(shift_t2.shape[0], 2, dtype=torch.float64, device=frames_tyx.device)
    for part_t2 in map_in_order(project, blocks, device=frames_tyx.device):
        gradient_t2 += part_t2
    return -4 * math.pi * gradient_t2.cpu()


def expand_stack(
    frames_tyx: Tensor,
    shift_t2: Float[Tensor, "t 2"],
    weight_a: Float[Tensor, "a"],
    ky: Tensor,
    kx: Tensor,
    bins: RadialBins,
    *,
    with_gradient: bool = True,
) -> tuple[Float[Tensor, "a"], Float[Tensor, "t 2"]]:
    """Ring sums of |Z|² of a stack, and ∂ℓ/∂d_t (px⁻¹) with weights by ring that were known before, or none."""
    if runs_compiled(frames_tyx):
        from daemon.numerics.kernels import score  # noqa: PLC0415 - needs numba

        phase_ty, phase_tx = _phases(shift_t2, ky, kx)
        coherent_a, gradient_t2 = score.expand_stack(
            frames_tyx, phase_ty, phase_tx, ky, kx, bins.ring_yx, weight_a, with_gradient=with_gradient
        )
        return coherent_a, -4 * math.pi * gradient_t2
    is_large = math.prod(frames_tyx.shape[:3]) > _BLOCK_ELSEWHERE
    turned_tyx = frames_tyx if is_large else turn_back(unpack(frames_tyx), shift_t2, ky, kx)
    total_yx = sum_aligned(frames_tyx, shift_t2, ky, kx) if is_large else turned_tyx.sum(dim=0)
    coherent_a = bins.total(power(total_yx))
    if not with_gradient:
        return coherent_a, shift_t2.new_zeros((0, 2))
    if is_large:
        return coherent_a, shift_gradient(frames_tyx, shift_t2, total_yx, bins.expand(weight_a), ky, kx)
    reference_yx = bins.expand(weight_a) * total_yx.conj()
    probes = torch.stack([(reference_yx * kx).flatten(), (reference_yx * ky).flatten()], dim=1)
    return coherent_a, -4 * math.pi * (turned_tyx.flatten(1) @ probes).imag.double().cpu()


def expand_stacks(
    frames_ptyx: Tensor,
    shift_pt2: Float[Tensor, "p t 2"],
    weight_pa: Float[Tensor, "p a"],
    ky: Tensor,
    kx: Tensor,
    bins: RadialBins,
    *,
    with_gradient: bool = True,
) -> tuple[Float[Tensor, "p a"], Float[Tensor, "p t 2"]]:
    """`expand_stack` of many small stacks (p, t, y, x)."""
    if runs_compiled(frames_ptyx):
        from daemon.numerics.kernels import score  # noqa: PLC0415 - needs numba

        phases = _phases(shift_pt2, ky, kx)
        coherent_pa, gradient_pt2 = score.expand_stacks(
            frames_ptyx, *phases, ky, kx, bins.ring_yx, weight_pa, with_gradient=with_gradient
        )
        return coherent_pa, -4 * math.pi * gradient_pt2

    def expand(patch: int) -> tuple[Tensor, Tensor]:
        stack, shift_t2, weight_a = frames_ptyx[patch], shift_pt2[patch], weight_pa[patch]
        return expand_stack(stack, shift_t2, weight_a, ky, kx, bins, with_gradient=with_gradient)

    parts = list(map_in_order(expand, range(len(frames_ptyx)), device=frames_ptyx.device))
    return torch.stack([coherent_a for coherent_a, _ in parts]), torch.stack([gradient_t2 for _, gradient_t2 in parts])


def correlate_with_others(
    frames_tyx: Tensor,
    frame: int,
    shift_t2: Float[Tensor, "t 2"],
    total_yx: Complex[Tensor, "y x"],
    damping_yx: Float[Tensor, "y x"],
    ky: Tensor,
    kx: Tensor,
) -> Complex[Tensor, "y x"]:
    """Cross spectrum of one frame, as it lies, with the sum of all others, aligned, times damping_yx."""
    frame_tyx, own_t2 = frames_tyx[frame : frame + 1], shift_t2[frame : frame + 1]
    if runs_compiled(frames_tyx):
        from daemon.numerics.kernels import score  # noqa: PLC0415 - needs numba

        phase_ty, phase_tx = _phases(own_t2, ky, kx)
        return score.correlate_with_others(frame_tyx[0], phase_ty[0], phase_tx[0], total_yx, damping_yx)
    frame_yx = unpack(frame_tyx[0])
    return frame_yx * (total_yx - turn_back(frame_yx[None], own_t2, ky, kx)[0]).conj() * damping_yx
