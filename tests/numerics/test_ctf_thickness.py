"""Thickness against exact spectra of thick specimens with honest noise, and against layers that were really imaged."""

import numpy as np
import pytest
import torch

from daemon.numerics.ctf_curves import CtfNumbers
from daemon.numerics.ctf_fit import CtfFit, fit_ctf
from daemon.numerics.ctf_thickness import measure_thickness
from daemon.numerics.simulation import SimulatedOptics, SpecimenOptions
from daemon.numerics.spectrum import PowerSpectrum, tile_power_spectrum
from daemon.numerics.thon import Optics
from tests.numerics.micrographs import simulate_deep_micrograph
from tests.numerics.thon_samples import ABERRATION_MM, CONTRAST, PIXEL_ANG, VOLTAGE_KV, make_thick_spectrum

OPTICS = Optics(VOLTAGE_KV, ABERRATION_MM, CONTRAST)
FOUND = CtfNumbers(15000.0, 15000.0, 0.0, 0.0)
BOX_PX = 512


@pytest.mark.parametrize("thickness_ang", [1000.0, 1400.0, 1800.0, 2200.0, 3000.0])
def test_the_node_gives_the_thickness(thickness_ang: float) -> None:
    found = measure_thickness(make_thick_spectrum(thickness_ang), FOUND, OPTICS)
    assert found is not None
    assert found.is_carried
    assert abs(found.thickness_ang - thickness_ang) < 100
    assert abs(found.thickness_ang - thickness_ang) < 4 * found.sigma_ang < 240


def test_stated_uncertainty_is_the_scatter_of_repeated_measurements() -> None:
    pulls = []
    for seed in range(12):
        found = measure_thickness(make_thick_spectrum(1400.0, ring_contrast=0.4, seed=seed), FOUND, OPTICS)
        assert found is not None
        pulls.append((found.thickness_ang - 1400.0) / found.sigma_ang)
    assert 0.4 < float(np.sqrt(np.mean(np.square(pulls)))) < 1.7


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("thickness_ang", "ring_contrast"), [(0.0, 0.6), (300.0, 0.6), (1400.0, 0.0)])
def test_without_a_node_there_is_no_thickness(seed: int, thickness_ang: float, ring_contrast: float) -> None:
    """A node beyond 3 Å, or no rings at all: an envelope may look like anything, so nothing is said."""
    spectrum = make_thick_spectrum(thickness_ang, ring_contrast=ring_contrast, seed=seed)
    found = measure_thickness(spectrum, FOUND, OPTICS)
    assert found is not None
    assert not found.is_carried


def test_rings_that_merely_end_are_no_node() -> None:
    """Rings that are gone within a few around 5 Å, as where the spectrum's bins are too coarse for them."""
    centred = (torch.arange(BOX_PX) - BOX_PX // 2) / (BOX_PX * PIXEL_ANG)
    left_yx = torch.sigmoid((0.2 - torch.hypot(centred[:, None], centred[None, :])) / 0.01)
    for seed in range(4):
        rings, blank = (make_thick_spectrum(0.0, ring_contrast=contrast, seed=seed) for contrast in (0.6, 0.0))
        spectrum_yx = torch.lerp(1.2 * blank.spectrum_yx, rings.spectrum_yx, left_yx)
        found = measure_thickness(PowerSpectrum(spectrum_yx, PIXEL_ANG), FOUND, OPTICS)
        assert found is not None
        assert not found.is_carried


def test_spectra_that_hold_too_little_give_none() -> None:
    tiny = PowerSpectrum(torch.rand(32, 32, generator=torch.Generator().manual_seed(1)), PIXEL_ANG)
    coarse = PowerSpectrum(torch.ones(512, 512), 12.0)
    empty = PowerSpectrum(torch.ones(512, 512), 40.0)
    assert [measure_thickness(spectrum, FOUND, OPTICS) for spectrum in (tiny, coarse, empty)] == [None] * 3


def test_a_spectrum_without_power_has_no_thickness() -> None:
    found = measure_thickness(PowerSpectrum(torch.zeros(512, 512), PIXEL_ANG), FOUND, OPTICS)
    assert found is None or not found.is_carried


def test_overfocus_is_refused() -> None:
    with pytest.raises(ValueError, match="positive defocus"):
        measure_thickness(make_thick_spectrum(0.0), CtfNumbers(-9000.0, -9000.0, 0.0, 0.0), OPTICS)


@pytest.mark.slow
def test_layers_that_were_imaged_at_their_own_depths_come_out_thick() -> None:
    optics = SimulatedOptics(1.0, 15700.0, 15300.0, 40.0)
    image_yx = simulate_deep_micrograph(
        (1024, 1024),
        optics,
        40.0,
        torch.Generator().manual_seed(5),
        thickness_ang=2000.0,
        specimen=SpecimenOptions(ice_thickness_ang=2000.0),
    )
    spectrum = tile_power_spectrum(image_yx, 1.0)
    fit = fit_ctf(spectrum, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.1)
    assert isinstance(fit, CtfFit)
    assert fit.confident, fit.reason
    numbers = CtfNumbers(fit.defocus_u_ang, fit.defocus_v_ang, fit.astigmatism_angle_deg, fit.phase_shift_deg)
    found = measure_thickness(spectrum, numbers, OPTICS)
    assert found is not None
    assert found.is_carried
    assert abs(found.thickness_ang - 2000) < 120
