"""The contrast transfer function.

Conventions (docs/conventions.md): defocus positive = underfocus, Å; astigmatism angle in degrees from
+x (fast axis) towards +y (row index growing); Cs in mm; CTF = −sin(χ + asin w) with
χ = πλΔf(θ)k² − ½πC_sλ³k⁴ + φ (Rohou & Grigorieff 2015, J. Struct. Biol. 192, eq. 2–5).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def electron_wavelength_ang(voltage_kv: float) -> float:
    """Relativistic wavelength in Å: 12.2643 / √(V (1 + 0.978466·10⁻⁶ V)), V in volts."""
    if not voltage_kv > 0:
        raise ValueError(f"voltage_kv must be positive, got {voltage_kv}")
    volts = voltage_kv * 1e3
    return 12.2643 / math.sqrt(volts * (1 + 0.978466e-6 * volts))


def defocus_along(
    angle_rad: Float[Tensor, "..."], defocus_u_ang: float, defocus_v_ang: float, astigmatism_angle_deg: float
) -> Float[Tensor, "..."]:
    """Defocus in Å along each direction: mean + half difference · cos 2(θ − θ_ast)."""
    half_difference = 0.5 * (defocus_u_ang - defocus_v_ang)
    mean = 0.5 * (defocus_u_ang + defocus_v_ang)
    return mean + half_difference * torch.cos(2 * (angle_rad - math.radians(astigmatism_angle_deg)))


def ctf(
    frequency_per_ang: Float[Tensor, "..."],
    defocus_ang: Float[Tensor, "..."] | float,
    *,
    voltage_kv: float,
    spherical_aberration_mm: float,
    amplitude_contrast: float,
    phase_shift_deg: float = 0.0,
) -> Float[Tensor, "..."]:
    """CTF at spatial frequencies in 1/Å, for defocus values of a shape that broadcasts against them."""
    wavelength = electron_wavelength_ang(voltage_kv)
    aberration_ang = spherical_aberration_mm * 1e7
    squared = frequency_per_ang**2
    chi = (
        math.pi * wavelength * defocus_ang * squared
        - 0.5 * math.pi * aberration_ang * wavelength**3 * squared**2
        + math.radians(phase_shift_deg)
    )
    return -torch.sin(chi + math.asin(amplitude_contrast))
