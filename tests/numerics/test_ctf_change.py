"""Change of defocus through an exposure: found where it is, with the uncertainty it claims, and not invented."""

import pytest
import torch

from daemon.numerics.ctf_change import DefocusChange, measure_defocus_change
from daemon.numerics.ctf_curves import CtfNumbers
from daemon.numerics.simulation import SimulatedOptics
from daemon.numerics.spectrum import tile_power_spectrum
from daemon.numerics.thon import Optics
from tests.numerics.micrographs import simulate_micrograph
from tests.numerics.thon_samples import PIXEL_ANG, make_spectrum

OPTICS = Optics(300.0, 2.7, 0.1)
PARTS = 4
FOUND = CtfNumbers(15300.0, 14700.0, 30.0, 0.0)


def middles() -> list[float]:
    return [(part + 0.5) / PARTS - 0.5 for part in range(PARTS)]


def draw_parts(change_ang: float, seed: int, *, ring_contrast: float = 0.3) -> torch.Tensor:
    """Spectra of parts whose rings fade, as dose takes them."""
    spectra = [
        make_spectrum(
            FOUND.defocus_u_ang + change_ang * middle,
            FOUND.defocus_v_ang + change_ang * middle,
            FOUND.astigmatism_angle_deg,
            ring_contrast=ring_contrast * (0.8 - 0.6 * middle),
            averaged=9,
            seed=PARTS * seed + part,
            box_px=512,
        )
        for part, middle in enumerate(middles())
    ]
    return torch.stack([spectrum.spectrum_yx for spectrum in spectra])


def measure(parts_myx: torch.Tensor, found: CtfNumbers = FOUND) -> DefocusChange:
    change = measure_defocus_change(parts_myx, PIXEL_ANG, found, OPTICS)
    assert change is not None
    return change


@pytest.mark.parametrize("truth_ang", [0.0, 100.0, -300.0])
def test_changes_are_found_with_the_uncertainty_they_claim(truth_ang: float) -> None:
    changes = [measure(draw_parts(truth_ang, seed)) for seed in range(6)]
    assert all(change.is_carried for change in changes)
    pulls = [(change.change_ang - truth_ang) / change.sigma_ang for change in changes]
    assert max(map(abs, pulls)) < 4
    assert sum(pull**2 for pull in pulls) / len(pulls) < 2.5
    assert all(change.sigma_ang < 40 for change in changes)


def test_an_error_of_the_mean_defocus_is_not_taken_for_a_change() -> None:
    off = CtfNumbers(FOUND.defocus_u_ang + 60, FOUND.defocus_v_ang + 60, FOUND.astigmatism_angle_deg, 0.0)
    change = measure(draw_parts(100.0, 1), off)
    assert change.change_ang == pytest.approx(100, abs=3 * change.sigma_ang)


@pytest.mark.parametrize("truth_ang", [0.0, 100.0, 300.0])
def test_simulated_exposures_tell_their_change(truth_ang: float) -> None:
    """One specimen, exposed four times at 10 e⁻/px, each time at the defocus of the middle of its part."""
    parts = [
        simulate_micrograph(
            (1400, 1400),
            SimulatedOptics(1.4, 15300 + truth_ang * middle, 14700 + truth_ang * middle, 30.0),
            20.0,
            torch.Generator().manual_seed(3),
        )
        for middle in middles()
    ]
    change = measure(torch.stack([tile_power_spectrum(part_yx, 1.4).spectrum_yx for part_yx in parts]))
    assert change.is_carried
    assert change.change_ang == pytest.approx(truth_ang, abs=3 * change.sigma_ang)
    # Beyond doubt where it is large.
    assert (abs(change.change_ang) > 4 * change.sigma_ang) == (truth_ang == 300.0)


def test_without_rings_nothing_is_said() -> None:
    assert not any(measure(draw_parts(0.0, seed, ring_contrast=0.0)).is_carried for seed in range(4))


def test_faint_rings_in_many_parts_invent_no_change() -> None:
    """As a dose that is given too high leaves them: every frame a part of its own."""
    for seed in range(4):
        spectra = [
            make_spectrum(15300, 14700, 30, ring_contrast=0.02, averaged=3, seed=24 * seed + part, box_px=512)
            for part in range(24)
        ]
        change = measure(torch.stack([spectrum.spectrum_yx for spectrum in spectra]))
        assert not change.is_carried or abs(change.change_ang) < 3 * change.sigma_ang


def test_a_change_through_many_parts_is_found() -> None:
    """Ten parts, which are no multiple of those that are compared."""
    spectra = [
        make_spectrum(15300 + by, 14700 + by, 30, ring_contrast=0.2, averaged=6, seed=part, box_px=512)
        for part, by in enumerate(300 * ((part + 0.5) / 10 - 0.5) for part in range(10))
    ]
    change = measure(torch.stack([spectrum.spectrum_yx for spectrum in spectra]))
    assert change.is_carried
    assert change.change_ang == pytest.approx(300, abs=3 * change.sigma_ang)


def test_one_part_tells_no_change() -> None:
    assert measure_defocus_change(draw_parts(0.0, 1)[:1], PIXEL_ANG, FOUND, OPTICS) is None
    assert measure_defocus_change(draw_parts(0.0, 1)[:0], PIXEL_ANG, FOUND, OPTICS) is None


def test_too_coarse_pixels_tell_no_change() -> None:
    assert measure_defocus_change(draw_parts(0.0, 1), 12.0, FOUND, OPTICS) is None


def test_a_defocus_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="positive defocus"):
        measure_defocus_change(draw_parts(0.0, 1), PIXEL_ANG, CtfNumbers(-100.0, -200.0, 0.0, 0.0), OPTICS)
