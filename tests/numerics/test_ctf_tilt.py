"""Tilt against simulated specimens whose defocus really changes across the image."""

import math

import pytest
import torch

from daemon.numerics.ctf_curves import CtfNumbers
from daemon.numerics.ctf_tilt import measure_tilt
from daemon.numerics.simulation import SimulatedOptics
from daemon.numerics.thon import Optics
from tests.numerics.micrographs import simulate_deep_micrograph

PIXEL_ANG, ELECTRONS = 2.0, 120.0
OPTICS = Optics(300.0, 2.7, 0.1)
TRUE = SimulatedOptics(PIXEL_ANG, 15200.0, 14800.0, 40.0)
FOUND = CtfNumbers(15200.0, 14800.0, 40.0, 0.0)


def simulate(angle_deg: float, axis_deg: float, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return simulate_deep_micrograph(
        (1024, 1024), TRUE, ELECTRONS, generator, tilt_angle_deg=angle_deg, tilt_axis_deg=axis_deg
    )


@pytest.fixture(scope="module")
def tilted_yx() -> torch.Tensor:
    return simulate(25.0, -100.0, seed=2)


def test_tilt_and_axis_are_found_within_their_uncertainty(tilted_yx: torch.Tensor) -> None:
    tilt = measure_tilt(tilted_yx, PIXEL_ANG, FOUND, OPTICS)
    assert tilt is not None
    assert tilt.is_carried
    assert abs(tilt.angle_deg - 25) < 3
    assert abs(tilt.angle_deg - 25) < 4 * tilt.angle_sigma_deg < 8
    assert abs(tilt.axis_deg + 100) < 5
    toward = math.radians(tilt.axis_deg + 90)
    size = math.tan(math.radians(tilt.angle_deg))
    assert tilt.gradient_x == pytest.approx(size * math.cos(toward), abs=1e-9)
    assert tilt.gradient_y == pytest.approx(size * math.sin(toward), abs=1e-9)


def test_a_mirrored_image_has_the_mirrored_axis(tilted_yx: torch.Tensor) -> None:
    one = measure_tilt(tilted_yx, PIXEL_ANG, FOUND, OPTICS)
    mirrored = CtfNumbers(15200.0, 14800.0, -40.0, 0.0)
    other = measure_tilt(tilted_yx.flip(0), PIXEL_ANG, mirrored, OPTICS)
    assert one is not None
    assert other is not None
    assert other.angle_deg == pytest.approx(one.angle_deg, abs=0.5)
    assert other.gradient_x == pytest.approx(one.gradient_x, abs=0.01)
    assert other.gradient_y == pytest.approx(-one.gradient_y, abs=0.01)


def test_a_flat_specimen_has_no_tilt_to_report() -> None:
    tilt = measure_tilt(simulate(0.0, 0.0, seed=0), PIXEL_ANG, FOUND, OPTICS)
    assert tilt is not None
    assert not tilt.is_carried
    assert tilt.angle_deg < 4 * tilt.angle_sigma_deg


def test_noise_alone_has_no_tilt() -> None:
    for seed in range(6):
        noise_yx = torch.randn(1100, 1100, generator=torch.Generator().manual_seed(seed))
        tilt = measure_tilt(noise_yx, PIXEL_ANG, FOUND, OPTICS)
        assert tilt is not None
        assert not tilt.is_carried


@pytest.mark.slow
def test_five_degrees_are_found_in_a_micrograph_of_usual_size() -> None:
    optics = SimulatedOptics(1.0, 16200.0, 15800.0, 40.0)
    image_yx = simulate_deep_micrograph(
        (2048, 2048), optics, 40.0, torch.Generator().manual_seed(2), tilt_angle_deg=5.0, tilt_axis_deg=30.0
    )
    tilt = measure_tilt(image_yx, 1.0, CtfNumbers(16200.0, 15800.0, 40.0, 0.0), OPTICS)
    assert tilt is not None
    assert tilt.is_carried
    assert abs(tilt.angle_deg - 5) < 3


@pytest.mark.parametrize("kind", ["empty", "not finite", "noise"])
def test_images_that_cannot_tell_give_none(kind: str) -> None:
    image_yx = {
        "empty": torch.zeros(2048, 2048),
        "not finite": torch.full((1200, 1200), math.nan),
        "noise": torch.randn(512, 4096, generator=torch.Generator().manual_seed(3)),
    }[kind]
    assert measure_tilt(image_yx, PIXEL_ANG, FOUND, OPTICS) is None


def test_pixels_too_coarse_for_rings_give_none() -> None:
    assert measure_tilt(torch.randn(1200, 1200, generator=torch.Generator().manual_seed(1)), 6.3, FOUND, OPTICS) is None


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ValueError, match="2-D image"):
        measure_tilt(torch.zeros(4, 1024, 1024), 1.0, FOUND, OPTICS)
    with pytest.raises(ValueError, match="positive defocus"):
        measure_tilt(torch.zeros(1024, 1024), 1.0, CtfNumbers(-9000.0, -9000.0, 0.0, 0.0), OPTICS)
