"""Spectra with known truth for the tests of CTF fitting, made without an image: S · Γ-distributed noise."""

import math

import numpy as np
import torch

from daemon.numerics.ctf import ctf, defocus_along
from daemon.numerics.spectrum import PowerSpectrum
from daemon.numerics.thon import Optics, phase_rad

VOLTAGE_KV, ABERRATION_MM, CONTRAST = 300.0, 2.7, 0.1
BOX_PX, PIXEL_ANG = 256, 1.4


def make_spectrum(
    defocus_u_ang: float,
    defocus_v_ang: float,
    angle_deg: float,
    *,
    phase_shift_deg: float = 0.0,
    ring_contrast: float = 0.5,
    decay_ang2: float = 25.0,
    averaged: int = 16,
    seed: int = 1,
    ice_ring: float = 0.0,
    box_px: int = BOX_PX,
) -> PowerSpectrum:
    """Rings of contrast ring_contrast · exp(−decay k²) on a falling background, averaged over `averaged` draws."""
    centred = torch.arange(box_px, dtype=torch.float64) - box_px // 2
    frequency = torch.hypot(centred[:, None], centred[None, :]) / (box_px * PIXEL_ANG)
    angle = torch.atan2(centred[:, None].expand(box_px, box_px), centred[None, :].expand(box_px, box_px))
    transfer = ctf(
        frequency,
        defocus_along(angle, defocus_u_ang, defocus_v_ang, angle_deg),
        voltage_kv=VOLTAGE_KV,
        spherical_aberration_mm=ABERRATION_MM,
        amplitude_contrast=CONTRAST,
        phase_shift_deg=phase_shift_deg,
    )
    background = 1 + 6 * torch.exp(-((frequency / 0.05) ** 2)) + 0.3 * torch.exp(-3 * frequency)
    background = background + ice_ring * torch.exp(-(((frequency - 0.272) / 0.006) ** 2))
    expected = background * (1 + ring_contrast * torch.exp(-decay_ang2 * frequency**2) * transfer**2)
    return PowerSpectrum((expected * _draw_noise(averaged, seed, box_px)).float(), PIXEL_ANG)


def angle_between(one_deg: float, other_deg: float) -> float:
    """Least angle between two directions that mean the same after half a turn."""
    return abs((one_deg - other_deg + 90) % 180 - 90)


def make_thick_spectrum(
    thickness_ang: float,
    *,
    defocus_ang: float = 15000.0,
    ring_contrast: float = 0.6,
    averaged: int = 9,
    seed: int = 1,
    box_px: int = 512,
) -> PowerSpectrum:
    """Rings of a specimen of this thickness, without astigmatism, on a falling background; so many draws averaged."""
    optics = Optics(VOLTAGE_KV, ABERRATION_MM, CONTRAST)
    centred = torch.arange(box_px, dtype=torch.float64) - box_px // 2
    frequency = torch.hypot(centred[:, None], centred[None, :]) / (box_px * PIXEL_ANG)
    modulation = torch.sinc(optics.wavelength_ang * frequency**2 * thickness_ang)
    angle = 2 * (phase_rad(frequency**2, defocus_ang, optics) + math.asin(CONTRAST))
    contrast = ring_contrast * torch.exp(-12 * frequency**2)
    background = 1 + 6 * torch.exp(-((frequency / 0.05) ** 2)) + 0.3 * torch.exp(-3 * frequency)
    expected = background * (1 + 0.5 * contrast * (1 - modulation * angle.cos()))
    return PowerSpectrum((expected * _draw_noise(averaged, seed, box_px)).float(), PIXEL_ANG)


def _draw_noise(averaged: int, seed: int, box_px: int) -> torch.Tensor:
    noise = np.random.default_rng(seed).gamma(averaged, 1 / averaged, (box_px, box_px))
    noise[1:, 1 : box_px // 2] = noise[1:, box_px // 2 + 1 :][::-1, ::-1]  # a spectrum repeats after half a turn
    return torch.from_numpy(noise)
