"""The ice ring against spectra whose ring is known."""

import math

import pytest
import torch

from daemon.numerics.ice import measure_ice_ring
from daemon.numerics.simulation import SimulatedOptics
from daemon.numerics.spectrum import PowerSpectrum, tile_power_spectrum
from tests.numerics.micrographs import simulate_micrograph

PIXEL_ANG = 1.0
SIGMA_PER_ANG = 0.004


def make_image(seed: int, *, ring: float, at_ang: float = 3.67, size: int = 2048) -> torch.Tensor:
    """White noise under an envelope (B = 20 Å²) whose power is (1 + ring) times as high at the top of a narrow ring."""
    white = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    frequency = torch.fft.fftfreq(size, PIXEL_ANG, dtype=torch.float64)
    envelope = torch.exp(-5 * (frequency[:, None] ** 2 + frequency[None] ** 2))
    return add_ring(torch.fft.ifft2(torch.fft.fft2(white) * envelope).real, ring, at_ang)


def add_ring(image_yx: torch.Tensor, ring: float, at_ang: float) -> torch.Tensor:
    """The image with (1 + ring) times its power at the top of a narrow ring."""
    frequency = torch.fft.fftfreq(len(image_yx), PIXEL_ANG, dtype=torch.float64)
    radius = torch.hypot(frequency[:, None], frequency[None])
    bump = 1 + ring * torch.exp(-0.5 * ((radius - 1 / at_ang) / SIGMA_PER_ANG) ** 2)
    image: torch.Tensor = torch.fft.ifft2(torch.fft.fft2(image_yx - image_yx.mean()) * bump.sqrt()).real
    return image


@pytest.mark.parametrize("ring", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("at_ang", [3.90, 3.67, 3.44])
def test_the_height_of_a_ring_is_found(ring: float, at_ang: float) -> None:
    measured = measure_ice_ring(tile_power_spectrum(make_image(7, ring=ring, at_ang=at_ang), PIXEL_ANG))
    assert measured is not None
    # The window of 0.005 1/Å and bins of 0.0014 1/Å average over the top of a ring with a sigma of 0.004 1/Å.
    assert 1 + 0.85 * ring - 0.03 < measured < 1 + 1.03 * ring + 0.12


@pytest.mark.parametrize(("defocus_ang", "seed"), [(8000.0, 1), (20000.0, 2)])
def test_a_ring_is_as_high_over_thon_rings_and_amorphous_ice(defocus_ang: float, seed: int) -> None:
    """Amorphous ice has a broad peak of its own at 3.7 Å, which is no crystal; within a tenth rings add to it."""
    optics = SimulatedOptics(PIXEL_ANG, defocus_ang + 200, defocus_ang - 200, 30.0)
    vitreous_yx = simulate_micrograph((1024, 1024), optics, 40.0, torch.Generator().manual_seed(seed)).double()
    vitreous = measure_ice_ring(tile_power_spectrum(vitreous_yx, PIXEL_ANG))
    assert vitreous is not None
    assert 0.95 < vitreous < 1.25
    for ring in (1.0, 4.0):
        for at_ang in (3.90, 3.67, 3.44):
            measured = measure_ice_ring(tile_power_spectrum(add_ring(vitreous_yx, ring, at_ang), PIXEL_ANG))
            assert measured is not None
            assert measured - 1 == pytest.approx(ring, rel=0.17)


def test_noise_alone_stays_near_one() -> None:
    measured = [measure_ice_ring(tile_power_spectrum(make_image(s, ring=0.0, size=1024), PIXEL_ANG)) for s in range(8)]
    assert all(value is not None and 0.95 < value < 1.25 for value in measured)


def test_a_ring_elsewhere_is_no_ice() -> None:
    carbon = measure_ice_ring(tile_power_spectrum(make_image(3, ring=5.0, at_ang=2.13, size=1024), PIXEL_ANG))
    assert carbon is not None
    assert carbon < 1.25


@pytest.mark.parametrize("pixel_ang", [1.53, 3.0])
def test_it_is_not_known_where_the_spectrum_does_not_reach(pixel_ang: float) -> None:
    assert measure_ice_ring(PowerSpectrum(torch.ones(512, 512), pixel_ang)) is None


def test_it_is_not_known_without_power() -> None:
    assert measure_ice_ring(PowerSpectrum(torch.zeros(512, 512), 1.4)) is None
    flat = measure_ice_ring(PowerSpectrum(torch.ones(512, 512), 1.4))
    assert flat is not None
    assert math.isclose(flat, 1.0, abs_tol=1e-6)
