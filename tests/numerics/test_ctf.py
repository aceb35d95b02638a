"""The CTF model against its formula and against figures from textbooks."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.numerics.ctf import ctf, defocus_along, electron_wavelength_ang


@pytest.mark.parametrize(("voltage_kv", "wavelength_ang"), [(100, 0.037014), (200, 0.025079), (300, 0.019687)])
def test_wavelength_is_the_relativistic_one(voltage_kv: float, wavelength_ang: float) -> None:
    assert electron_wavelength_ang(voltage_kv) == pytest.approx(wavelength_ang, rel=1e-4)


@pytest.mark.parametrize("voltage_kv", [0.0, -300.0, math.nan])
def test_impossible_voltage_is_refused(voltage_kv: float) -> None:
    with pytest.raises(ValueError, match="voltage_kv"):
        electron_wavelength_ang(voltage_kv)


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 0.5), st.floats(-5e4, 5e4), st.floats(0, 3), st.floats(0, 0.3), st.floats(0, 180))
def test_ctf_is_minus_sine_of_the_written_out_phase(
    frequency: float, defocus_ang: float, aberration_mm: float, contrast: float, shift_deg: float
) -> None:
    wavelength = electron_wavelength_ang(300)
    chi = math.pi * wavelength * defocus_ang * frequency**2
    chi -= 0.5 * math.pi * aberration_mm * 1e7 * wavelength**3 * frequency**4
    value = ctf(
        torch.tensor([frequency], dtype=torch.float64),
        defocus_ang,
        voltage_kv=300,
        spherical_aberration_mm=aberration_mm,
        amplitude_contrast=contrast,
        phase_shift_deg=shift_deg,
    )
    assert float(value) == pytest.approx(-math.sin(chi + math.radians(shift_deg) + math.asin(contrast)), abs=1e-9)


def test_underfocus_makes_the_first_ring_negative() -> None:
    """Protein is dark where it is underfocused: the first lobe of the CTF lies below zero."""
    first_lobe = torch.tensor([0.03], dtype=torch.float64)
    value = ctf(first_lobe, 15000.0, voltage_kv=300, spherical_aberration_mm=2.7, amplitude_contrast=0.1)
    assert float(value) < 0


def test_defocus_is_u_along_its_angle_and_v_across() -> None:
    angles = torch.deg2rad(torch.tensor([30.0, 120.0, -60.0, 75.0], dtype=torch.float64))
    assert defocus_along(angles, 12000.0, 10000.0, 30.0).tolist() == pytest.approx([12000, 10000, 10000, 11000])
