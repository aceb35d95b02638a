"""How well fitted rings agree with a spectrum: along frequency, over directions, and in one number."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from daemon.numerics.ctf_background import spline_basis
from daemon.numerics.ctf_fit_refine import RingFit, RingModel
from daemon.numerics.thon import average_equal_phase, equivalent_frequency, phase_rad

Curve = npt.NDArray[np.float64]

_SCORE_RESOLUTION_ANG = 5.0
"""CTFFIND's usual limit: its figure of merit is only comparable over the same rings."""
_AGREEMENT = 0.5
_SURE_AGREEMENT = 0.66
_SURE_RINGS = 4
"""CTFFIND's: the 0.5 criterion only ends an agreement that has first been surer than that over some rings."""
_DIRECTIONS = 6


@dataclass(frozen=True)
class RotationalAverage:
    """Curves over spatial frequency, one value a ring between the limits of the fit; powers as in the spectrum.

    measured: plain average over rings. measured_equal_phase: average along lines of equal phase, which
    undoes astigmatism, at the frequency where the mean defocus has that phase; fitted: the model averaged
    likewise. background and envelope: B and B·ρ of S = B + B ρ CTF². ctf_squared: of the mean defocus.
    quality: local correlation of measured_equal_phase with fitted, −1 … 1; quality_noise: two standard
    deviations of what noise alone would give.
    """

    frequency_per_ang: Curve
    measured: Curve
    measured_equal_phase: Curve
    fitted: Curve
    background: Curve
    envelope: Curve
    ctf_squared: Curve
    quality: Curve
    quality_noise: Curve


@dataclass(frozen=True)
class Agreement:
    """Up to where rings and fit agree, and how many rings do; `weakest_direction` of `_DIRECTIONS`.

    The end is None, and nothing is counted, where nothing agrees. score: correlation of the amplitude
    spectrum, less its smooth part, with |CTF| up to 5 Å. weakest_direction and its uncertainty: ring contrast
    in the direction where it is lowest, 1 = as everywhere, 0 = no rings there.
    """

    last_per_ang: float | None
    rings: float
    score: float
    weakest_direction: float
    weakest_direction_sigma: float


def average_rotationally(fit: RingFit, model: RingModel) -> RotationalAverage:
    """Average spectrum and model over rings and along equal phase, and compare them ring by ring."""
    bins = fit.bins
    background, contrast = fit.curves(model)
    base = background[bins.ring]
    defocus = model.defocus_along(bins.angle_rad)
    frequency = equivalent_frequency(bins.frequency_per_ang, defocus, model.defocus_ang, fit.optics)
    rings = torch.arange(bins.ring_count, device=base.device).double() * bins.ring_width_per_ang
    relative = [
        average_equal_phase(values / base, frequency, bins.ring_width_per_ang, bins.ring_count)[0]
        for values in (bins.power, fit.expectation(model))
    ]
    first = int(bins.ring.min())
    plain, _ = bins.average_rings(bins.power)
    total_phase = phase_rad(rings.square(), model.defocus_ang, fit.optics) + fit.constant_phase_rad(model)
    curves = [rings, plain, relative[0] * background, relative[1] * background]
    curves += [background, background * contrast, total_phase.sin().square()]
    frequency_k, measured_k, equal_k, fitted_k, background_k, envelope_k, ctf_k = (
        curve[first:].cpu().numpy().astype(np.float64) for curve in curves
    )
    windows = _windows(fit, model, frequency_k)
    quality, noise = _correlate_locally(equal_k / background_k, fitted_k / background_k, windows)
    return RotationalAverage(
        frequency_k, measured_k, equal_k, fitted_k, background_k, envelope_k, ctf_k, quality, noise
    )


def judge_agreement(fit: RingFit, model: RingModel, average: RotationalAverage, *, has_rings: bool = True) -> Agreement:
    """Find where rings and fit agree (see `find_agreement`), and how evenly; without rings nothing does."""
    windows = _windows(fit, model, average.frequency_per_ang)
    found = find_agreement(average.quality, average.quality_noise, windows) if has_rings else None
    if found is None:
        return Agreement(None, 0.0, _score(fit, model), 0.0, math.inf)
    first, last = found
    ends = average.frequency_per_ang[[first, last]]
    phases = phase_rad(torch.from_numpy(ends) ** 2, model.defocus_ang, fit.optics) / math.pi
    weakest, sigma = _weakest_direction(fit, model, float(ends[0]), float(ends[1]))
    return Agreement(
        last_per_ang=float(ends[1]),
        rings=abs(float(phases[1] - phases[0])),
        score=_score(fit, model),
        weakest_direction=weakest,
        weakest_direction_sigma=sigma,
    )


def _windows(fit: RingFit, model: RingModel, frequency: Curve) -> npt.NDArray[np.int64]:
    """Half width in rings of the window that holds one and a half periods of CTF² about each frequency."""
    optics = fit.optics
    cubic = 2 * math.pi * optics.spherical_aberration_mm * 1e7 * optics.wavelength_ang**3
    slope = np.abs(2 * math.pi * optics.wavelength_ang * model.defocus_ang * frequency - cubic * frequency**3)
    period = math.pi / np.maximum(slope, 1e-9) / fit.bins.ring_width_per_ang
    return np.clip(np.rint(0.75 * period), 4, len(frequency) // 4 + 4).astype(np.int64)


def _correlate_locally(measured: Curve, fitted: Curve, half_widths: npt.NDArray[np.int64]) -> tuple[Curve, Curve]:
    """Pearson correlation inside each ring's window, straight lines removed from both curves; and twice its noise."""
    quality, noise = np.zeros_like(measured), np.zeros_like(measured)
    for index, half in enumerate(half_widths):
        window = slice(max(0, index - half), index + half + 1)
        one, other = _remove_line(measured[window]), _remove_line(fitted[window])
        power = math.sqrt(float((one @ one) * (other @ other)))
        quality[index] = float(one @ other) / power if power > 0 else 0.0
        noise[index] = 2 / math.sqrt(max(len(one) - 2, 1))
    return quality, noise


def _remove_line(values: Curve) -> Curve:
    """Values less their straight-line fit."""
    position = np.arange(len(values)) - (len(values) - 1) / 2
    slope = float(position @ values) / max(float(position @ position), 1e-30)
    flat: Curve = values - values.mean() - slope * position
    return flat


def find_agreement(quality: Curve, quality_noise: Curve, half_widths: npt.NDArray[np.int64]) -> tuple[int, int] | None:
    """First and last ring of agreement, or None: quality of at least 0.5, until it is lost for the first time.

    As CTFFIND4 (Rohou & Grigorieff 2015, J. Struct. Biol. 192, 216, and its diagnostic output), the criterion applies
    from where four rings have reached 0.66, here also more than noise alone would give. A single window of chance
    (an ice ring, a few faint rings) is not the end: agreement is lost at the first ring below 0.5 that begins a window,
    one and a half periods of CTF², in most of which quality is below 0.5. What may follow is not counted.
    """
    sure = np.flatnonzero(quality >= np.maximum(_SURE_AGREEMENT, quality_noise))
    if len(sure) < _SURE_RINGS:
        return None
    agrees = quality >= _AGREEMENT
    first = last = int(sure[_SURE_RINGS - 1])
    while first > 0 and agrees[first - 1]:
        first -= 1
    for index in range(last, len(quality)):
        if agrees[index]:
            last = index
        elif agrees[index : index + 2 * half_widths[index] + 1].mean() < 0.5:
            break
    return first, last


def _score(fit: RingFit, model: RingModel) -> float:
    """Correlation of √I with |CTF| over all bins up to 5 Å, smooth curves removed from both."""
    bins = fit.bins
    chosen = bins.frequency_per_ang <= max(1 / _SCORE_RESOLUTION_ANG, float(bins.frequency_per_ang.min()) * 2)
    basis = fit.background_bins[chosen]
    background, _ = fit.curves(model)
    amplitude = (bins.power / background[bins.ring]).clamp(min=0).sqrt()[chosen]
    one, other = _remove_smooth(amplitude, basis), _remove_smooth(fit.rings(model).sqrt()[chosen], basis)
    power = float((one @ one) * (other @ other))
    return float(one @ other) / math.sqrt(power) if power > 0 else 0.0


def _weakest_direction(
    fit: RingFit, model: RingModel, first_per_ang: float, last_per_ang: float
) -> tuple[float, float]:
    """Least ring contrast over directions, relative to the model's, and its standard deviation."""
    bins = fit.bins
    background, contrast = fit.curves(model)
    modelled = contrast[bins.ring] * fit.rings(model)
    measured = bins.power / background[bins.ring] - 1
    count = fit.background_bins.shape[1]
    rings = torch.arange(bins.ring_count, device=measured.device).double() * bins.ring_width_per_ang
    basis_rings = spline_basis(rings.sqrt(), first_per_ang**0.5, last_per_ang**0.5, count)
    found = []
    for direction in range(_DIRECTIONS):
        away = torch.remainder(bins.angle_rad - math.pi * direction / _DIRECTIONS + math.pi / 2, math.pi) - math.pi / 2
        chosen = (away.abs() < 0.75 * math.pi / _DIRECTIONS) & (bins.frequency_per_ang <= last_per_ang)
        chosen &= bins.frequency_per_ang >= first_per_ang
        if int(chosen.sum()) < 4 * count:
            return 0.0, math.inf
        basis = basis_rings[bins.ring[chosen]]
        weight = (1 + modelled[chosen]).reciprocal()
        one = _remove_smooth(measured[chosen], basis) * weight
        other = _remove_smooth(modelled[chosen], basis) * weight
        power = max(float(other @ other), 1e-30)
        found.append((float(one @ other) / power, math.sqrt(fit.variance / power)))
    return min(found)


def _remove_smooth(values: Tensor, basis: Tensor) -> Tensor:
    """Values less their least-squares fit by a smooth basis."""
    normal = basis.T @ basis
    ridge = 1e-9 * float(normal.diagonal().mean()) * torch.eye(len(normal), dtype=normal.dtype, device=normal.device)
    smooth: Tensor = basis @ torch.linalg.solve(normal + ridge, basis.T @ values)
    return values - smooth
