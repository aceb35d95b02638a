"""Radiation damage and the exposure filter.

Grant & Grigorieff 2015, eLife 4, e06980: critical exposure N_e(k) = a·k^b + c (eq. 3), amplitude left
after exposure N q(k, N) = exp(−N / 2N_e(k)) (eq. 5 as an amplitude), and the sum of frames
Σ q_t Y_t / √(Σ q_t²) that keeps the noise white.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from daemon.numerics.motion_options import FILTERED_VOLTAGES_KV

_RADII = 16384
"""Rings that weights are tabulated by, up to the corner of the transform."""
_LARGEST_PER_PX = math.sqrt(0.5)
_BASIS_ERROR = 1e-2

_A, _B, _C = 0.245, -1.665, 2.81
# Known points of the critical exposure relative to 300 kV. 200 kV: 0.8 (Grant & Grigorieff 2015). The others follow
# the inelastic cross-section, which goes as 1/β²: (β/β₃₀₀)² is 0.50 at 100 kV and 0.57 at 120 kV (and 0.80 at 200 kV).
_RELATIVE_CRITICAL_EXPOSURE = ((100.0, 0.50), (120.0, 0.57), (200.0, 0.80), (300.0, 1.00))


def critical_exposure_scale(voltage_kv: float) -> float:
    """Critical exposure relative to 300 kV, between the known voltages by linear interpolation.

    Raises ValueError outside 80–400 kV; beyond the outer points the law (β/β₃₀₀)² is used.
    """
    lowest_kv, highest_kv = FILTERED_VOLTAGES_KV
    if not lowest_kv <= voltage_kv <= highest_kv:
        raise ValueError(f"the exposure filter knows {lowest_kv:g} to {highest_kv:g} kV, got {voltage_kv} kV")
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


def mid_frame_exposures(
    frames: int, dose_per_frame_e_per_ang2: float, *, pre_exposure_e_per_ang2: float = 0.0
) -> list[float]:
    """Exposure in e⁻/Å² at the middle of each frame, which is an average over its time."""
    if not dose_per_frame_e_per_ang2 > 0 or not math.isfinite(dose_per_frame_e_per_ang2):
        raise ValueError(f"dose_per_frame_e_per_ang2 must be positive, got {dose_per_frame_e_per_ang2}")
    if not pre_exposure_e_per_ang2 >= 0:
        raise ValueError(f"pre_exposure_e_per_ang2 can't be negative, got {pre_exposure_e_per_ang2}")
    return [pre_exposure_e_per_ang2 + (t + 0.5) * dose_per_frame_e_per_ang2 for t in range(frames)]


@dataclass(frozen=True)
class ExposureWeights:
    """Weights q_t(k)·√(T / Σ_t q_t(k)²) of T frames by ring, float32: their squares add up to T on every ring."""

    table_tr: Float[Tensor, "t r"]

    @staticmethod
    def of(exposures_e_per_ang2: list[float], pixel_size_ang: float, voltage_kv: float) -> "ExposureWeights":
        """Weights of frames whose middles lie at these exposures."""
        frequency_r = torch.linspace(0, _LARGEST_PER_PX / pixel_size_ang, _RADII, dtype=torch.float64)
        rate_r = 0.5 / critical_exposure_e_per_ang2(frequency_r, voltage_kv=voltage_kv)
        exposure_t = torch.tensor(exposures_e_per_ang2, dtype=torch.float64)
        # Relative to the first frame: an exposure before all of them cancels, and can't drive all weights to nothing.
        left_tr = torch.exp(-(exposure_t - exposure_t.min())[:, None] * rate_r)
        norm_r = torch.sqrt(exposure_t.numel() / left_tr.square().sum(dim=0))
        return ExposureWeights((left_tr * norm_r).float())

    def basis(self) -> tuple[Float[Tensor, "t b"], Float[Tensor, "b r"]]:
        """Few combinations of frames that all weights are made of: weights ≈ first @ second.

        The first combination is the plain sum, which is wanted anyway. A ring's weights are met within 1 % of their
        length, which costs a ten-thousandth of the signal. As many as four suffice for 60 e⁻/Å² at 300 kV: sums of
        frames that must be filtered by exposure need that many transforms, not one per frame.
        """
        table_tr = self.table_tr.double()
        frames = table_tr.shape[0]
        mean_r = table_tr.mean(dim=0)
        vectors_tb = torch.linalg.svd((table_tr - mean_r)[:, :: _RADII // 1024], full_matrices=False).U
        for count in range(vectors_tb.shape[1] + 1):
            basis_tb = vectors_tb[:, :count]
            weights_br = basis_tb.T @ (table_tr - mean_r)
            missed = (table_tr - mean_r - basis_tb @ weights_br).norm(dim=0).max() / math.sqrt(frames)
            if float(missed) < _BASIS_ERROR:
                break
        basis_tb = torch.cat([torch.ones(frames, 1, dtype=torch.float64), basis_tb], dim=1)
        return basis_tb.float(), torch.cat([mean_r[None], weights_br]).float()


def weight_rings(shape_yx: tuple[int, int], device: torch.device | None = None) -> Int[Tensor, "y x"]:
    """Ring of ExposureWeights that each coefficient of an rfft2 of this shape belongs to; int16."""
    step = _LARGEST_PER_PX / (_RADII - 1)
    height, width = shape_yx
    ky = torch.fft.fftfreq(height, d=step, device=device)[:, None]
    kx = torch.fft.rfftfreq(width, d=step, device=device)[None, :]
    rings_yx: Tensor = torch.hypot(ky, kx).round_().clamp_(max=_RADII - 1).to(torch.int16)
    return rings_yx
