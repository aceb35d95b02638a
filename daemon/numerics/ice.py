"""Crystalline ice: how far the ring near 3.7 Å stands above the spectrum around it."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from daemon.numerics.rings import average_rings, centred_radius
from daemon.numerics.spectrum import PowerSpectrum

_RING_ANG = (3.95, 3.40)
"""Hexagonal ice scatters at 3.90, 3.67 and 3.44 Å, cubic ice at 3.67 Å (Dowell & Rinfret 1960); a calibration that is
off by a hundredth still leaves the strongest of them inside."""
_FLANKS_ANG = ((4.70, 4.10), (3.28, 3.05))
"""What the spectrum would be without ice is read on both sides of it."""
_WINDOW_PER_ANG = 0.005
"""Width over which rings are averaged before the highest is taken: a few of them, so that noise raises it little."""


def measure_ice_ring(spectrum: PowerSpectrum) -> float | None:
    """Return the power of the ice ring over that of its surroundings: 1 without crystalline ice.

    The highest running mean of ring averages between 3.95 and 3.40 Å, divided there by a background that is
    exponential in spatial frequency through the medians of both flanks. None where the spectrum does not reach
    3.05 Å, or holds no power there. Thon rings and noise leave it within a tenth or two of 1.
    """
    if 2 * spectrum.pixel_size_ang > _FLANKS_ANG[1][1]:
        return None
    frequency, power = _average_within_nyquist(spectrum)
    outer = [_within(frequency, flank) for flank in _FLANKS_ANG]
    levels = [float(power[chosen].median()) for chosen in outer]
    if min(levels) <= 0:
        return None
    places = [float(frequency[chosen].mean()) for chosen in outer]
    slope = math.log(levels[1] / levels[0]) / (places[1] - places[0])
    relative = power / (levels[0] * torch.exp(slope * (frequency - places[0])))
    step = float(frequency[1] - frequency[0])
    width = max(1, round(_WINDOW_PER_ANG / step))
    smooth = torch.nn.functional.avg_pool1d(relative[None], width, stride=1, padding=width // 2)[0][: len(relative)]
    return float(smooth[_within(frequency, _RING_ANG)].max())


def _average_within_nyquist(spectrum: PowerSpectrum) -> tuple[Float[Tensor, " ring"], Float[Tensor, " ring"]]:
    """Frequency in 1/Å and mean power of each ring one bin wide, inside Nyquist."""
    box_px = spectrum.spectrum_yx.shape[0]
    ring = centred_radius(box_px, spectrum.spectrum_yx.device).round().long()
    wanted = ring < box_px // 2
    frequency = torch.arange(box_px // 2, dtype=torch.float64, device=ring.device)
    power, _ = average_rings(spectrum.spectrum_yx.double()[wanted], ring[wanted], box_px // 2)
    return frequency / (box_px * spectrum.pixel_size_ang), power


def _within(frequency: Float[Tensor, " ring"], band_ang: tuple[float, float]) -> Tensor:
    return (frequency >= 1 / band_ang[0]) & (frequency <= 1 / band_ang[1])
