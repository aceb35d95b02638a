"""Rings as one curve: a spectrum averaged along lines of equal phase of a known CTF, its smooth background divided out.

What is left is −A(k) cos 2χ(k) and noise, the two in units of the background. Tilt and thickness are read from it.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from daemon.numerics.ctf import defocus_along
from daemon.numerics.ctf_background import fit_log_background, solve_weighted, spline_basis
from daemon.numerics.thon import Optics, ThonBins, average_equal_phase, equivalent_frequency, phase_rad

_BACKGROUND_SPLINES = 7


@dataclass(frozen=True)
class CtfNumbers:
    """A CTF as `ctf_fit` states it."""

    defocus_u_ang: float
    defocus_v_ang: float
    astigmatism_angle_deg: float
    phase_shift_deg: float

    @property
    def mean_defocus_ang(self) -> float:
        """(U + V)/2."""
        return 0.5 * (self.defocus_u_ang + self.defocus_v_ang)


class PhaseLines:
    """Lines of equal phase of one CTF through the bins of a spectrum.

    frequency_r (1/Å): where the mean defocus has the phase of each line; weight_r: bins averaged there; angle_r: 2χ
    with phase shift and amplitude contrast; turn_r: its derivative by defocus, 2πλk² (rad/Å).
    """

    def __init__(self, bins: ThonBins, found: CtfNumbers, optics: Optics) -> None:
        mean = found.mean_defocus_ang
        defocus = defocus_along(bins.angle_rad, found.defocus_u_ang, found.defocus_v_ang, found.astigmatism_angle_deg)
        self._position = equivalent_frequency(bins.frequency_per_ang, defocus, mean, optics)
        self._width, self._count = bins.ring_width_per_ang, bins.ring_count
        _, weight = self._average(torch.ones_like(self._position))
        rings = torch.arange(self._count, device=weight.device).double() * self._width
        # Full rings have π/2 bins for every ring outwards and more; those cut by the limits, less.
        self._kept = weight > rings / self._width
        self.weight_r: Float[Tensor, " ring"] = weight[self._kept]
        self.frequency_r: Float[Tensor, " ring"] = rings[self._kept]
        constant = math.radians(found.phase_shift_deg) + math.asin(optics.amplitude_contrast)
        squared = self.frequency_r.square()
        self.angle_r: Float[Tensor, " ring"] = 2 * (phase_rad(squared, mean, optics) + constant)
        self.turn_r: Float[Tensor, " ring"] = 2 * math.pi * optics.wavelength_ang * squared
        self._basis = self.splines(_BACKGROUND_SPLINES) if len(self.frequency_r) > 1 else None

    def splines(self, count: int) -> Float[Tensor, "ring spline"]:
        """Smooth functions along the curve."""
        root = self.frequency_r.sqrt()
        return spline_basis(root, float(root[0]), float(root[-1]), count)

    def whiten(self, power: Float[Tensor, " bin"]) -> Float[Tensor, " ring"]:
        """Power along the lines over its smooth background less one, smooth parts removed; flat without power."""
        curve_r = self._average(power)[0][self._kept]
        if self._basis is None or not bool((curve_r > 0).all()):
            return torch.zeros_like(curve_r)
        relative = curve_r / (self._basis @ fit_log_background(curve_r, self.weight_r, self._basis)).exp() - 1
        return relative - self._basis @ solve_weighted(self._basis, relative, self.weight_r)

    def _average(self, values: Tensor) -> tuple[Tensor, Tensor]:
        return average_equal_phase(values, self._position, self._width, self._count)
