"""The camera's fixed pattern in a movie: gain errors that stay put while the specimen moves.

Model at one frequency: y_t = e_t s + g + n_t with e_t = exp(−2πi k·d_t), s the specimen, g the pattern. Given the path,
the powers S and G of both follow from the aligned sum Z = Σ e_t* y_t and the plain sum Y = Σ y_t: with n frames,
m = Σ e_t / n, c = n(n−1) and q = n²|m|² − n,
    E|Z|² − Σ|y_t|² = c S + q G,    E|Y|² − Σ|y_t|² = q S + c G.
Where nothing moved |m| is 1 and the two can't be told apart; the pattern is then left alone.

With both integrated out, the log likelihood of the path is (s̄*Z + ḡ*Y)/N − log Δ, s̄ and ḡ their expectations and
Δ = (1 + nS/N)(1 + nG/N) − n²|m|² SG/N²; where powers are compared as well, −Σ|y_t|²/N − n log N has a part in it, as N
is what they leave. The gradient is that of matching y_t − ḡ to s̄, which by itself would drive the
path away from standing still, plus that of −log Δ, which makes up for it.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from daemon.numerics.motion_score import (
    RadialBins,
    SpectralModel,
    power,
    row_blocks,
    shift_gradient,
    smooth_rings,
    sum_aligned,
    sum_frames,
    sum_of_phases,
)

# Rings over which the pattern's power is averaged: it has no rings of its own to lose.
SMOOTHING_RINGS = 9
# Specimens that change as they are exposed look faintly like a pattern (share up to 0.15); a pattern below a fifth of
# the specimen's power does no harm.
_SIGNIFICANT_SIGMA = 6.0
_SIGNIFICANT_SHARE = 0.2


@dataclass(frozen=True)
class FixedPattern:
    """Expected transforms of pattern and specimen given a path, their powers, and the likelihood of the path.

    phase_yx: Σ_t exp(2πi k·d_t). inverse_noise_yx and coupling_yx: 1/N and SG/(N²Δ), 0 outside the band.
    log_likelihood: with all that depends on the path or on the powers.
    power: the pattern's, for whoever subtracts pattern_yx and goes on with pattern_term; share: its power relative to
    the specimen's, as shift estimates weigh them.
    """

    pattern_yx: Complex[Tensor, "y x"]
    model: SpectralModel
    log_likelihood: float
    specimen_yx: Complex[Tensor, "y x"]
    phase_yx: Complex[Tensor, "y x"]
    inverse_noise_yx: Float[Tensor, "y x"]
    coupling_yx: Float[Tensor, "y x"]
    power: "PatternPower"
    share: float


def is_pattern_significant(
    spectra_tyx: Tensor,
    shift_t2: Float[Tensor, "t 2"],
    usable_t: Float[Tensor, "t"],
    incoherent_a: Float[Tensor, "a"],
    ky: Tensor,
    kx: Tensor,
    bins: RadialBins,
) -> bool:
    """Whether a pattern is there beyond doubt and strong enough to matter; arguments as of `estimate_pattern`."""
    powers = _measure(spectra_tyx, shift_t2, usable_t, incoherent_a, ky, kx, bins).powers
    return powers.significance_sigma > _SIGNIFICANT_SIGMA and _share(powers, bins) > _SIGNIFICANT_SHARE


def estimate_pattern(
    spectra_tyx: Tensor,
    shift_t2: Float[Tensor, "t 2"],
    usable_t: Float[Tensor, "t"],
    incoherent_a: Float[Tensor, "a"],
    ky: Tensor,
    kx: Tensor,
    bins: RadialBins,
) -> FixedPattern:
    """Separate pattern and specimen, given a path (x, y) px; usable_t is 1 for frames that count and 0 for others.

    spectra_tyx: frames (t, y, x), packed or not. incoherent_a: ring sums of Σ_t |y_t|².
    """
    measured = _measure(spectra_tyx, shift_t2, usable_t, incoherent_a, ky, kx, bins)
    frames, powers, phase_yx = measured.frames, measured.powers, measured.phase_yx
    aligned_yx, plain_yx, likeness_yx = measured.aligned_yx, measured.plain_yx, measured.likeness_yx
    signal_yx, power_yx, noise_yx = (bins.expand(each) for each in (powers.signal_a, powers.pattern_a, powers.noise_a))
    used_yx = noise_yx > 0
    noise_yx = torch.where(used_yx, noise_yx, torch.ones_like(noise_yx))
    coupling_yx, likelihood_yx = torch.empty_like(noise_yx), torch.empty_like(noise_yx)
    for rows in row_blocks(aligned_yx[None], 1):
        aligned, plain, phase, likeness = (each[rows] for each in (aligned_yx, plain_yx, phase_yx, likeness_yx))
        signal, still, noise = signal_yx[rows], power_yx[rows], noise_yx[rows]
        with_signal, with_pattern = frames * signal + noise, frames * still + noise
        determinant = with_signal * with_pattern - frames**2 * likeness * signal * still
        pattern = still * (with_signal * plain - signal * phase.conj() * aligned) / determinant
        specimen = signal * (with_pattern * aligned - still * phase * plain) / determinant
        explained = ((specimen.conj() * aligned).real + (pattern.conj() * plain).real) / noise
        likelihood_yx[rows] = explained - torch.log(determinant / noise.square())
        coupling_yx[rows] = signal * still / determinant
        # The sums make room for what was found in them.
        plain_yx[rows], aligned_yx[rows] = pattern, specimen
    return FixedPattern(
        plain_yx,
        SpectralModel(powers.signal_a, powers.noise_a, usable_t),
        float(bins.total(likelihood_yx).sum()) - _cost_of_noise(incoherent_a, powers.noise_a, bins.count_a, frames),
        aligned_yx,
        phase_yx,
        used_yx / noise_yx,
        coupling_yx,
        PatternPower(bins.frequency_a, powers.pattern_a),
        _share(powers, bins),
    )


def weigh_without_pattern(
    spectra_tyx: Tensor,
    shift_t2: Float[Tensor, "t 2"],
    usable_t: Float[Tensor, "t"],
    incoherent_a: Float[Tensor, "a"],
    ky: Tensor,
    kx: Tensor,
    bins: RadialBins,
) -> tuple[float, float]:
    """Log likelihood of a path where there is no pattern, to be compared with that of `estimate_pattern`.

    Last the part of it that the specimen has: how much less noise alone explains.
    """
    frames = max(float(usable_t.sum()), 1.0)
    coherent_a = bins.total(power(sum_aligned(spectra_tyx, shift_t2, ky, kx)))
    power_a = incoherent_a / bins.count_a.clamp_min(1) / frames
    signal_a, noise_a = _signal_and_noise(coherent_a - incoherent_a, torch.zeros_like(power_a), power_a, bins, frames)
    with_signal_a = noise_a + frames * signal_a
    explained_a = signal_a * coherent_a / (noise_a * with_signal_a) - bins.count_a * (with_signal_a / noise_a).log()
    log_likelihood = float(explained_a.sum()) - _cost_of_noise(incoherent_a, noise_a, bins.count_a, frames)
    alone_a = torch.where(power_a > 0, power_a, torch.ones_like(power_a))
    return log_likelihood, log_likelihood + _cost_of_noise(incoherent_a, alone_a, bins.count_a, frames)


def _cost_of_noise(incoherent_a: Tensor, noise_a: Tensor, count_a: Tensor, frames: float) -> float:
    """Σ|y_t|²/N + n log N, over all frequencies."""
    return float((incoherent_a / noise_a + frames * count_a * noise_a.log()).sum())


def pattern_gradient(
    spectra_tyx: Tensor,
    shift_t2: Float[Tensor, "t 2"],
    usable_t: Float[Tensor, "t"],
    pattern: FixedPattern,
    ky: Tensor,
    kx: Tensor,
) -> Float[Tensor, "t 2"]:
    """∂ℓ/∂d_t (px⁻¹) of the likelihood with a pattern, at the path that the pattern was estimated with."""
    frames = shift_t2.shape[0]
    matched_t2 = shift_gradient(spectra_tyx, shift_t2, pattern.specimen_yx, pattern.inverse_noise_yx, ky, kx)
    still_tyx = pattern.pattern_yx.expand(frames, -1, -1)
    still_t2 = shift_gradient(still_tyx, shift_t2, pattern.specimen_yx, pattern.inverse_noise_yx, ky, kx)
    ones_tyx = torch.ones_like(pattern.pattern_yx[:1, :1]).expand(frames, *pattern.pattern_yx.shape)
    correction_t2 = shift_gradient(ones_tyx, shift_t2, pattern.phase_yx, pattern.coupling_yx, ky, kx)
    return matched_t2 + usable_t[:, None] * (correction_t2 - still_t2)


@dataclass(frozen=True)
class PatternPower:
    """Power of a fixed pattern in whitened units at rising frequencies in cycles per px; float64, CPU."""

    frequency_a: Float[Tensor, "a"]
    power_a: Float[Tensor, "a"]

    def at(self, frequency_b: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Linear interpolation, constant beyond the ends."""
        values = np.interp(frequency_b.numpy(), self.frequency_a.numpy(), self.power_a.numpy())
        return torch.from_numpy(values)


def pattern_term(
    shift_t2: Float[Tensor, "t 2"],
    usable_t: Float[Tensor, "t"],
    model: SpectralModel,
    power: PatternPower,
    ky: Tensor,
    kx: Tensor,
    bins: RadialBins,
) -> tuple[float, Float[Tensor, "t 2"]]:
    """−log Δ of one patch and its gradient (px⁻¹): what ℓ lacks once the expected pattern was subtracted."""
    frames = max(float(usable_t.sum()), 1.0)
    phase_yx = sum_of_phases(usable_t, shift_t2, ky, kx)
    signal_yx = bins.expand(model.signal_a / model.noise_a)
    power_yx = bins.expand(power.at(bins.frequency_a) / model.noise_a)
    both_yx = signal_yx * power_yx
    determinant_yx = (1 + frames * signal_yx) * (1 + frames * power_yx) - phase_yx.abs().square() * both_yx
    ones_tyx = torch.ones_like(phase_yx[:1, :1]).expand(shift_t2.shape[0], *phase_yx.shape)
    gradient_t2 = usable_t[:, None] * shift_gradient(ones_tyx, shift_t2, phase_yx, both_yx / determinant_yx, ky, kx)
    return -float(bins.total(torch.log(determinant_yx)).sum()), gradient_t2


@dataclass(frozen=True)
class _Powers:
    """significance_sigma: total power of the pattern over the standard deviation it would show by chance."""

    signal_a: Tensor
    pattern_a: Tensor
    noise_a: Tensor
    significance_sigma: float


@dataclass(frozen=True)
class _Measured:
    """Z and Y, Σ exp(2πi k·d_t) = n m*, |m|², and the powers that follow."""

    aligned_yx: Tensor
    plain_yx: Tensor
    phase_yx: Tensor
    likeness_yx: Tensor
    powers: _Powers
    frames: float


def _measure(
    spectra_tyx: Tensor,
    shift_t2: Tensor,
    usable_t: Tensor,
    incoherent_a: Tensor,
    ky: Tensor,
    kx: Tensor,
    bins: RadialBins,
) -> _Measured:
    frames = max(float(usable_t.sum()), 1.0)
    aligned_yx = sum_aligned(spectra_tyx, shift_t2, ky, kx)
    plain_yx = sum_frames(spectra_tyx)
    phase_yx = sum_of_phases(usable_t, shift_t2, ky, kx)
    likeness_yx = power(phase_yx) / frames**2
    powers = _solve_powers(
        bins.total(power(aligned_yx)) - incoherent_a,
        bins.total(power(plain_yx)) - incoherent_a,
        incoherent_a / bins.count_a.clamp_min(1) / frames,
        bins.total(likeness_yx),
        bins,
        frames,
    )
    return _Measured(aligned_yx, plain_yx, phase_yx, likeness_yx, powers, frames)


def _solve_powers(
    aligned_a: Tensor, plain_a: Tensor, power_a: Tensor, likeness_a: Tensor, bins: RadialBins, frames: float
) -> _Powers:
    """Solve for S and G from ring sums of the two excess powers, the frames' power and |m|².

    G is smooth and solved over wide rings; S then follows ring by ring. Where |m| is close to 1 there is no G.
    """
    pairs, count_a = frames * (frames - 1), bins.count_a
    weight_a = _widened(count_a)
    overlap_a = frames**2 * _widened(likeness_a) / weight_a.clamp_min(1) - frames
    determinant_a = (pairs**2 - overlap_a.square()) * weight_a
    solvable_a = (determinant_a > 1e-2 * pairs**2 * weight_a) & (weight_a > 0)
    safe_a = torch.where(solvable_a, determinant_a, torch.ones_like(determinant_a))
    pattern_a = (pairs * _widened(plain_a) - overlap_a * _widened(aligned_a)) / safe_a * solvable_a
    # Var(|Y|² − Σ|y|²) = N² n(n−1) a coefficient under noise, and as much for |Z|²; their correlation is |m|².
    variance_a = power_a.square() * pairs / safe_a
    inverse_a = torch.where(solvable_a & (variance_a > 0), 1 / variance_a.clamp_min(1e-300), torch.zeros_like(safe_a))
    # Widened rings overlap: each counts for its share, and the sum of all has the spread of independent ones.
    information = float(inverse_a.sum()) / SMOOTHING_RINGS
    total = float((pattern_a * inverse_a).sum()) / SMOOTHING_RINGS
    sigma = total / math.sqrt(information) if information > 0 else 0.0
    pattern_a = pattern_a.clamp_min(0)
    excess_a = aligned_a - (frames**2 * likeness_a - frames * count_a) * pattern_a
    signal_a, noise_a = _signal_and_noise(excess_a, pattern_a, power_a, bins, frames)
    return _Powers(signal_a, pattern_a, noise_a, sigma)


def _signal_and_noise(
    excess_a: Tensor, pattern_a: Tensor, power_a: Tensor, bins: RadialBins, frames: float
) -> tuple[Tensor, Tensor]:
    """S ring by ring from what the aligned sum has in excess of noise and pattern, and the noise that is left."""
    pairs = max(frames * (frames - 1), 1.0)
    signal_a = (smooth_rings(excess_a) / smooth_rings(bins.count_a).clamp_min(1) / pairs).clamp_min(0)
    noise_a = torch.maximum(power_a - signal_a - pattern_a, 0.05 * power_a)
    return signal_a, torch.where(noise_a > 0, noise_a, torch.ones_like(noise_a))


def _share(powers: _Powers, bins: RadialBins) -> float:
    """Ratio of the powers, each ring by what it tells about shifts."""
    weight_a = bins.frequency_a.square() * bins.count_a * powers.signal_a / powers.noise_a.square()
    specimen = float((weight_a * powers.signal_a).sum())
    return float((weight_a * powers.pattern_a).sum()) / specimen if specimen > 0 else 0.0


def _widened(values_a: Tensor) -> Tensor:
    """Running sum over neighbouring rings."""
    reach = SMOOTHING_RINGS // 2
    padded = torch.nn.functional.pad(values_a, (reach, reach))
    return padded.unfold(0, SMOOTHING_RINGS, 1).sum(dim=1)
