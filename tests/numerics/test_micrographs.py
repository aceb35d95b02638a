"""Specimens in depth: what they must have in common with flat ones, and that defocus really differs across them."""

import pytest
import torch

from daemon.numerics.ctf_fit import CtfFit, fit_ctf
from daemon.numerics.simulation import SimulatedOptics, SpecimenOptions
from daemon.numerics.spectrum import tile_power_spectrum
from tests.numerics.micrographs import simulate_deep_micrograph

OPTICS = SimulatedOptics(2.0, 15200.0, 14800.0, 40.0)
ICE_ALONE = SpecimenOptions(particle_density_per_ang2=0.0)


def expose(
    *, seed: int = 1, tilt_angle_deg: float = 0.0, tilt_axis_deg: float = 0.0, thickness_ang: float = 0.0
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return simulate_deep_micrograph(
        (512, 640),
        OPTICS,
        120.0,
        generator,
        tilt_angle_deg=tilt_angle_deg,
        tilt_axis_deg=tilt_axis_deg,
        thickness_ang=thickness_ang,
        specimen=ICE_ALONE,
    )


def test_counts_are_those_that_were_asked_for_and_repeat() -> None:
    one, other = (expose(tilt_angle_deg=20.0, thickness_ang=200.0) for _ in range(2))
    assert one.shape == (512, 640)
    assert torch.equal(one, other)
    assert torch.equal(one, one.round())
    assert float(one.mean()) == pytest.approx(120, rel=0.01)
    assert not torch.equal(one, expose(seed=2, tilt_angle_deg=20.0, thickness_ang=200.0))


def test_defocus_grows_across_the_axis() -> None:
    """Axis along +y: defocus grows along axis + 90° = −x, by tan 40° · 2 Å a pixel."""
    image_yx = expose(tilt_angle_deg=40.0, tilt_axis_deg=90.0)
    defocus = []
    for half_yx in (image_yx[:, :320], image_yx[:, 320:]):
        fit = fit_ctf(
            tile_power_spectrum(half_yx, 2.0), voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.1
        )
        assert isinstance(fit, CtfFit)
        defocus.append(0.5 * (fit.defocus_u_ang + fit.defocus_v_ang))
    assert defocus[0] - defocus[1] == pytest.approx(320 * 2 * 0.839, abs=150)
    assert sum(defocus) / 2 == pytest.approx(15000, abs=100)


@pytest.mark.parametrize(("tilt_angle_deg", "thickness_ang"), [(88.0, 0.0), (0.0, -1.0)])
def test_what_cannot_be_is_refused(tilt_angle_deg: float, thickness_ang: float) -> None:
    with pytest.raises(ValueError, match="tilt must be below 85°"):
        expose(tilt_angle_deg=tilt_angle_deg, thickness_ang=thickness_ang)
