"""Exhaustive search for defocus, astigmatism and phase shift, without a single starting value.

The whitened spectrum D, averaged over sectors s and rings k, is correlated once with e^{2iχ(k, f)} for
every defocus f of a fine grid: M[f, s] = Σ_k n D(k, s) e^{2iχ(k, f)}. The correlation with the rings of
any mean defocus, astigmatism and angle is then a sum of entries, Σ_s M[f + a cos 2(θ_s − α), s], and the
best phase shift is the angle of that sum. This is what a search over all parameters would give, at
the price of a search over defocus alone.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from daemon.numerics.ctf_background import spline_basis
from daemon.numerics.thon import Optics, ThonBins, phase_rad

_SECTORS = 24
_SPLINES = 5
_ANGLES = 12
_HALF_DIFFERENCES = 10
_LITTLE_HALF_DIFFERENCE_ANG = 250.0
_LEAST_RINGS = 16
_BANDS_ANG = (9.0, 7.0, 5.5, 4.4, 3.6)
"""Resolutions at which the search may stop: rings may end anywhere, and noise beyond them only hurts."""


@dataclass(frozen=True)
class Candidate:
    """Start of a fit: half difference = (U − V)/2, and how many standard deviations its rings rise above noise."""

    defocus_ang: float
    half_difference_ang: float
    angle_rad: float
    phase_shift_rad: float
    significance: float
    highest_per_ang: float


@dataclass(frozen=True)
class SearchRange:
    """Where to look; `phase_shift_rad` None means that it is free."""

    lowest_defocus_ang: float
    highest_defocus_ang: float
    largest_astigmatism_ang: float
    phase_shift_rad: float | None


def search_defocus(
    whitened: Float[Tensor, " bin"], variance: float, bins: ThonBins, optics: Optics, wanted: SearchRange
) -> list[Candidate]:
    """Find the rings that stand out most from a whitened spectrum (mean 0, the given variance a bin).

    Several resolution limits are tried: of each, the best of all, and of little and of no astigmatism, are returned,
    the most significant first. None are there when there are not enough bins to fill sixteen rings with sectors.
    """
    means_rs, counts_rs = _average_sectors(whitened, bins)
    highest = float(bins.frequency_per_ang.max())
    step_ang = 0.3 / (math.pi * optics.wavelength_ang * min(highest, 1 / 3.0) ** 2)
    limits = sorted({*(1 / band for band in _BANDS_ANG if 1 / band < 0.9 * highest), highest})
    rings = torch.arange(bins.ring_count, device=whitened.device).double() * bins.ring_width_per_ang
    full = counts_rs.min(1).values > 0
    defocus, margin = _defocus_grid(wanted, step_ang, whitened.device)
    waves_fr = _waves(rings, defocus, optics, wanted)
    candidates: list[Candidate] = []
    for limit in limits:
        inside = full & (rings <= limit)
        if int(inside.sum()) >= _LEAST_RINGS:
            table = _Table(rings[inside], means_rs[inside], variance / counts_rs[inside], waves_fr[:, inside])
            candidates += _search_band(table, defocus, margin, wanted, step_ang)
    return sorted(candidates, key=lambda candidate: -candidate.significance)


@dataclass(frozen=True)
class _Table:
    """Rings of one band: frequency, mean and its variance in each sector, and e^{2iχ} at every defocus of the grid."""

    frequency: Tensor
    means_rs: Tensor
    noise_rs: Tensor
    waves_fr: Tensor


def _defocus_grid(wanted: SearchRange, step_ang: float, device: torch.device) -> tuple[Tensor, int]:
    """Defocus values to be tried, with room for half the astigmatism at both ends; and the steps of that room."""
    margin = math.ceil(0.5 * wanted.largest_astigmatism_ang / step_ang)
    inner = max(2, math.ceil((wanted.highest_defocus_ang - wanted.lowest_defocus_ang) / step_ang) + 1)
    steps = torch.arange(-margin, inner + margin, device=device, dtype=torch.float64)
    return wanted.lowest_defocus_ang + step_ang * steps, margin


def _waves(rings: Tensor, defocus: Tensor, optics: Optics, wanted: SearchRange) -> Tensor:
    """e^{2iχ} by defocus and ring, a known phase shift included."""
    phase = 2 * (phase_rad(rings.square(), defocus[:, None], optics) + math.asin(optics.amplitude_contrast))
    return torch.polar(torch.ones_like(phase), phase + 2 * (wanted.phase_shift_rad or 0.0))


def _average_sectors(whitened: Tensor, bins: ThonBins) -> tuple[Tensor, Tensor]:
    """Mean of the bins of each ring and sector, and their number."""
    sector = ((bins.angle_rad + math.pi / 2) * (_SECTORS / math.pi)).long().clamp(0, _SECTORS - 1)
    cell = bins.ring * _SECTORS + sector
    size = bins.ring_count * _SECTORS
    count = torch.zeros(size, dtype=torch.float64, device=whitened.device).index_add_(
        0, cell, torch.ones_like(whitened)
    )
    total = torch.zeros_like(count).index_add_(0, cell, whitened)
    shape = (bins.ring_count, _SECTORS)
    return (total / count.clamp(min=1)).reshape(shape), count.reshape(shape)


def _search_band(table: _Table, defocus: Tensor, margin: int, wanted: SearchRange, step_ang: float) -> list[Candidate]:
    """Search with the rings of one band. Where rings stand above noise they all count alike, however strong.

    So the steep low frequencies, which no smooth curve describes exactly, cannot outvote the rest.
    """
    frequency, root = table.frequency, table.frequency.sqrt()
    basis = spline_basis(root, float(root[0]), float(root[-1]), _SPLINES)
    smooth = torch.linalg.qr(basis).Q
    residual_rs = table.means_rs - smooth @ (smooth.T @ table.means_rs)
    local = _smooth_rings(residual_rs.square().mean(1))[:, None]
    residual_rs = residual_rs / torch.maximum(local, table.noise_rs).sqrt()
    residual_rs = residual_rs - smooth @ (smooth.T @ residual_rs)
    waves = table.waves_fr
    correlation_fs = -(waves @ residual_rs.to(waves.dtype))
    if wanted.phase_shift_rad is None:
        power_f = 0.5 * (len(frequency) - (waves @ smooth.to(waves.dtype)).abs().square().sum(1))
    else:
        correlation_fs = correlation_fs.real.contiguous()
        power_f = waves.real.square().sum(1) - (waves.real @ smooth).square().sum(1)
    power_f = power_f.clamp(min=0.2 * len(frequency))
    return _best(correlation_fs, power_f, defocus, margin, wanted, step_ang, float(frequency[-1]))


def _smooth_rings(values: Tensor) -> Tensor:
    """Running mean over eleven rings."""
    padded = torch.nn.functional.pad(values[None, None], (5, 5), mode="replicate")
    smooth: Tensor = torch.nn.functional.avg_pool1d(padded, 11, 1)[0, 0]
    return smooth


def _best(
    correlation_fs: Tensor,
    power_f: Tensor,
    defocus: Tensor,
    margin: int,
    wanted: SearchRange,
    step_ang: float,
    highest_per_ang: float,
) -> list[Candidate]:
    """Try every astigmatism and angle on the table of correlations.

    Keep the best of none, of little, and of all, as far as they differ.
    """
    inner = len(power_f) - 2 * margin
    noise_f = (_SECTORS * power_f[margin : margin + inner]).sqrt()
    device = power_f.device
    sector_angle = (torch.arange(_SECTORS, device=device) + 0.5) * (math.pi / _SECTORS) - math.pi / 2
    base = torch.arange(margin, margin + inner, device=device)[:, None]
    columns = torch.arange(_SECTORS, device=device)
    kept: dict[int, Candidate] = {}
    best = -math.inf
    for half_difference, angle in _astigmatisms(wanted.largest_astigmatism_ang):
        offset = (half_difference / step_ang * torch.cos(2 * (sector_angle - angle))).round().long()
        total = correlation_fs[base + offset, columns].sum(1)
        height = total.abs() if wanted.phase_shift_rad is None else total
        significance = height / noise_f
        at = int(significance.argmax())
        height_sigma = float(significance[at])
        if height_sigma > best:
            best, shift = height_sigma, wanted.phase_shift_rad
            if shift is None:
                shift = (-0.5 * float(total[at].angle())) % math.pi
            size = sum(half_difference > limit for limit in (0.0, _LITTLE_HALF_DIFFERENCE_ANG))
            kept[size] = Candidate(
                float(defocus[margin + at]), half_difference, angle, shift, height_sigma, highest_per_ang
            )
    return list(kept.values())


def _astigmatisms(largest_ang: float) -> list[tuple[float, float]]:
    """Half differences (finer where small) and angles to be tried."""
    pairs = [(0.0, 0.0)]
    if largest_ang > 0:
        for index in range(1, _HALF_DIFFERENCES + 1):
            half_difference = 0.5 * largest_ang * (index / _HALF_DIFFERENCES) ** 1.5
            pairs += [(half_difference, math.pi * step / _ANGLES - math.pi / 2) for step in range(_ANGLES)]
    return pairs
