"""Radiation damage and the exposure filter.

Grant & Grigorieff 2015, eLife 4, e06980: critical exposure N_e(k) = a·k^b + c (eq. 3), amplitude left
after exposure N q(k, N) = exp(−N / 2N_e(k)) (eq. 5 as an amplitude), and the sum of frames
Σ q_t Y_t / √(Σ q_t²) that keeps the noise white.
"""

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

_A, _B, _C = 0.245, -1.665, 2.81
# Known points of the critical exposure relative to 300 kV. 200 kV: 0.8 (Grant & Grigorieff 2015). The others follow
# the inelastic cross-section, which goes as 1/β²: (β/β₃₀₀)² is 0.50 at 100 kV and 0.57 at 120 kV (and 0.80 at 200 kV).
_RELATIVE_CRITICAL_EXPOSURE = ((100.0, 0.50), (120.0, 0.57), (200.0, 0.80), (300.0, 1.00))


def critical_exposure_scale(voltage_kv: float) -> float:
    """Critical exposure relative to 300 kV, between the known voltages by linear interpolation.

    Raises ValueError outside 80–400 kV; beyond the outer points the law (β/β₃₀₀)² is used.
    """
    if not 80 <= voltage_kv <= 400:
        raise ValueError(f"the exposure filter knows 80 to 400 kV, got {voltage_kv} kV")
    points = _RELATIVE_CRITICAL_EXPOSURE
    for (low_kv, low), (high_kv, high) in pairwise(points):
        if low_kv <= voltage_kv <= high_kv:
            return low + (high - low) * (voltage_kv - low_kv) / (high_kv - low_kv)
    return _speed_squared(voltage_kv) / _speed_squared(300.0)


def _speed_squared(voltage_kv: float) -> float:
    """(v/c)² of an electron: 1 − 1/(1 + E/mc²)²."""
    return 1 - 1 / (1 + voltage_kv / 510.99895) ** 2


def critical_exposure_e_per_ang2(
    frequency_per_ang: Float[Tensor, "..."], *, voltage_kv: float = 300.0
) -> Float[Tensor, "..."]:
    """N_e(k) in e⁻/Å² at frequencies in 1/Å; infinite at k = 0."""
    scale = critical_exposure_scale(voltage_kv)
    return scale * (_A * frequency_per_ang.pow(_B) + _C)


def remaining_amplitude(
    frequency_per_ang: Float[Tensor, "..."], exposure_e_per_ang2: float, *, voltage_kv: float = 300.0
) -> Float[Tensor, "..."]:
    """Fraction q of the Fourier amplitude left after an exposure: exp(−N / 2N_e(k)); 1 at k = 0."""
    if not exposure_e_per_ang2 >= 0:
        raise ValueError(f"an exposure can't be negative, got {exposure_e_per_ang2} e⁻/Å²")
    return torch.exp(
        -exposure_e_per_ang2 / (2 * critical_exposure_e_per_ang2(frequency_per_ang, voltage_kv=voltage_kv))
    )


def mid_frame_exposures(
    frames: int, dose_per_frame_e_per_ang2: float, *, pre_exposure_e_per_ang2: float = 0.0
) -> list[float]:
    """Exposure in e⁻/Å² at the middle of each frame, which is an average over its time."""
    if not dose_per_frame_e_per_ang2 > 0 or not math.isfinite(dose_per_frame_e_per_ang2):
        raise ValueError(f"dose_per_frame_e_per_ang2 must be positive, got {dose_per_frame_e_per_ang2}")
    if not pre_exposure_e_per_ang2 >= 0:
        raise ValueError(f"pre_exposure_e_per_ang2 can't be negative, got {pre_exposure_e_per_ang2}")
    return [pre_exposure_e_per_ang2 + (t + 0.5) * dose_per_frame_e_per_ang2 for t in range(frames)]
