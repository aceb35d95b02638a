"""Thon rings as data: the bins of a spectrum that a CTF is fitted to, and averages along lines of equal phase."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from daemon.numerics.ctf import electron_wavelength_ang
from daemon.numerics.rings import average_rings


@dataclass(frozen=True)
class Optics:
    """What is known of the microscope before a fit."""

    voltage_kv: float
    spherical_aberration_mm: float
    amplitude_contrast: float

    @property
    def wavelength_ang(self) -> float:
        """Relativistic electron wavelength."""
        return electron_wavelength_ang(self.voltage_kv)


@dataclass(frozen=True)
class ThonBins:
    """Half of a spectrum's bins (the other half repeats them) between two spatial frequencies.

    `ring` counts radii in whole bins; `angle_rad` runs from +x towards +y within ±π/2.
    """

    power: Float[Tensor, " bin"]
    frequency_per_ang: Float[Tensor, " bin"]
    angle_rad: Float[Tensor, " bin"]
    ring: Int[Tensor, " bin"]
    ring_width_per_ang: float

    @property
    def ring_count(self) -> int:
        """Number of rings counted from zero frequency, the last one included."""
        return int(self.ring.max()) + 1

    def average_rings(self, values: Float[Tensor, " bin"]) -> tuple[Float[Tensor, " ring"], Float[Tensor, " ring"]]:
        """Mean of `values` on every ring, and the number of bins there."""
        return average_rings(values, self.ring)


def select_bins(
    spectrum_yx: Float[Tensor, "y x"], pixel_size_ang: float, lowest_per_ang: float, highest_per_ang: float
) -> ThonBins:
    """Take the bins of a centred square spectrum whose frequency lies between the two given ones (1/Å).

    The cross through the centre stays out: faint rows and columns of a detector live there.
    """
    box_px = spectrum_yx.shape[0]
    half = box_px // 2
    device = spectrum_yx.device
    y = torch.arange(-half, box_px - half, device=device, dtype=torch.float64)[:, None].expand(box_px, half)
    x = torch.arange(half, device=device, dtype=torch.float64)[None, :].expand(box_px, half)
    radius = torch.hypot(y, x)
    width = 1 / (box_px * pixel_size_ang)
    wanted = (radius * width >= lowest_per_ang) & (radius * width <= highest_per_ang) & (x > 1) & (y.abs() > 1)
    return ThonBins(
        power=spectrum_yx[:, half:].double()[wanted],
        frequency_per_ang=radius[wanted] * width,
        angle_rad=torch.atan2(y, x)[wanted],
        ring=radius[wanted].round().long(),
        ring_width_per_ang=width,
    )


def phase_rad(
    squared_frequency: Float[Tensor, "..."], defocus_ang: Float[Tensor, "..."] | float, optics: Optics
) -> Float[Tensor, "..."]:
    """χ without phase shift and amplitude contrast: πλΔf k² − ½πC_sλ³k⁴ (NUMERICS §1), from k² in 1/Å²."""
    wavelength = optics.wavelength_ang
    aberration = 0.5 * math.pi * optics.spherical_aberration_mm * 1e7 * wavelength**3
    return math.pi * wavelength * defocus_ang * squared_frequency - aberration * squared_frequency.square()


def equivalent_frequency(
    frequency_per_ang: Float[Tensor, " bin"],
    defocus_ang: Float[Tensor, " bin"],
    mean_defocus_ang: float,
    optics: Optics,
) -> Float[Tensor, " bin"]:
    """Frequency at which the mean defocus gives the phase that `defocus_ang` gives here (Rohou & Grigorieff 2015).

    Solves χ(k', mean) = χ(k, defocus) for k'; where C_s leaves no solution, defocus alone is compared.
    """
    squared = frequency_per_ang.square()
    wavelength = optics.wavelength_ang
    linear = math.pi * wavelength * mean_defocus_ang
    quartic = 0.5 * math.pi * optics.spherical_aberration_mm * 1e7 * wavelength**3
    phase = phase_rad(squared, defocus_ang, optics)
    inside = linear**2 - 4 * quartic * phase
    solved = 2 * phase / (linear + inside.clamp(min=0).sqrt())
    plain = squared * defocus_ang / mean_defocus_ang
    usable = (inside > 0) & (solved > 0) & (2 * quartic * squared < linear)
    return torch.where(usable, solved, plain).clamp(min=0).sqrt()


def average_equal_phase(
    values: Float[Tensor, " bin"], frequency_per_ang: Float[Tensor, " bin"], ring_width_per_ang: float, ring_count: int
) -> tuple[Float[Tensor, " ring"], Float[Tensor, " ring"]]:
    """Mean over bins by their equivalent frequency, each shared linearly by its two nearest rings; and the weights."""
    position = (frequency_per_ang / ring_width_per_ang).clamp(max=ring_count - 1.0)
    below = position.floor().long().clamp(max=ring_count - 2)
    share = position - below
    total = torch.zeros(ring_count, dtype=values.dtype, device=values.device)
    weight = torch.zeros_like(total)
    for ring, part in ((below, 1 - share), (below + 1, share)):
        total.index_add_(0, ring, values * part)
        weight.index_add_(0, ring, part)
    return total / weight.clamp(min=1e-9), weight
