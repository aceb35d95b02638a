"""Molecules, their projections and ice."""

import math

import pytest
import torch

from daemon.numerics.simulation_specimen import (
    SITE_VOLUME_ANG3,
    Molecule,
    Particles,
    build_molecule,
    ice_power,
    project_particles,
    random_rotations,
    scatter_particles,
    site_transform,
    white_noise,
)


def test_a_molecule_is_compact_and_fits_its_sphere() -> None:
    molecule = build_molecule(120.0, torch.Generator().manual_seed(1))
    radius = molecule.sites_m3.norm(dim=1)
    # The centre of mass may lie off the sphere's centre.
    assert 45 < float(radius.max()) < 80
    assert float(molecule.sites_m3.mean(dim=0).abs().max()) < 1e-9
    filled = len(molecule.sites_m3) * SITE_VOLUME_ANG3 / (4 / 3 * math.pi * 60**3)
    assert 0.15 < filled < 0.6
    with pytest.raises(ValueError, match="diameter_ang"):
        build_molecule(5.0, torch.Generator())


def test_rotations_are_proper_and_cover_all_directions() -> None:
    rotations = random_rotations(4000, torch.Generator().manual_seed(2))
    identity = torch.eye(3, dtype=torch.float64).expand(4000, 3, 3)
    torch.testing.assert_close(rotations @ rotations.transpose(1, 2), identity)
    torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(4000, dtype=torch.float64))
    axis = rotations[:, :, 2]
    assert float(axis.mean(dim=0).abs().max()) < 0.04
    torch.testing.assert_close(axis.T @ axis / 4000, torch.eye(3, dtype=torch.float64) / 3, rtol=0, atol=0.02)


def test_particles_keep_their_distance_across_the_edges_too() -> None:
    particles = scatter_particles((400, 600), 50.0, 1 / 90.0**2, torch.Generator().manual_seed(3))
    position = particles.positions_n2
    assert len(position) == round(400 * 600 / 90**2)
    gap = (position[:, None] - position[None]).abs()
    gap = torch.minimum(gap, torch.tensor([600.0, 400.0], dtype=torch.float64) - gap).norm(dim=-1)
    gap.fill_diagonal_(math.inf)
    assert float(gap.min()) >= 50.0


def test_projection_equals_the_direct_sum_over_sites() -> None:
    generator = torch.Generator().manual_seed(4)
    shape, pixel = (48, 64), 1.5
    molecule = Molecule(20.0, 8 * torch.randn(7, 3, generator=generator, dtype=torch.float64))
    particles = Particles(
        torch.tensor([[20.25, 11.5], [50.0, 40.75]], dtype=torch.float64), random_rotations(2, generator)
    )
    spectrum = project_particles(molecule, particles, shape, pixel)
    fy = torch.fft.fftfreq(shape[0], dtype=torch.float64)[:, None]
    fx = torch.fft.rfftfreq(shape[1], dtype=torch.float64)[None, :]
    direct = torch.zeros(spectrum.shape, dtype=torch.complex128)
    for position, rotation in zip(particles.positions_n2, particles.rotations_n33, strict=True):
        for site in molecule.sites_m3:
            x, y = (rotation @ site)[:2] / pixel + position
            phase = -2 * math.pi * (fx * x + fy * y)
            direct += torch.polar(torch.ones_like(phase), phase)
    radius = torch.hypot(fy, fx)
    direct *= site_transform(radius / pixel) / pixel**2
    # The spline's aliases reach a few per cent at 0.33 cycles per pixel and nothing at low frequency.
    for limit, tolerance in ((0.1, 0.002), (0.25, 0.02), (0.33, 0.08)):
        inside = radius < limit
        error = (spectrum - direct)[inside].abs().square().sum() / direct[inside].abs().square().sum()
        assert float(error.sqrt()) < tolerance


def test_protein_stands_out_from_ice_and_keeps_power_at_three_angstrom() -> None:
    low, high = site_transform(torch.tensor([0.0, 1 / 3.0])).tolist()
    assert 0.3 < high / low < 1.5
    assert low > 0


def test_ice_is_quiet_at_low_frequency_and_peaks_at_3_7_angstrom() -> None:
    frequency = torch.linspace(0.01, 0.5, 500)
    power = ice_power(frequency, 300.0)
    assert 0.24 < float(frequency[power.argmax()]) < 0.29
    assert float(power[0]) < 0.15 * float(power.max())
    torch.testing.assert_close(ice_power(frequency, 600.0), 2 * power)


@pytest.mark.parametrize("shape", [(64, 64), (63, 65), (64, 65), (63, 64)])
def test_white_noise_is_the_transform_of_a_real_image_of_unit_variance(shape: tuple[int, int]) -> None:
    area = shape[0] * shape[1]
    generator = torch.Generator().manual_seed(5)
    spectra = torch.stack([white_noise(shape, generator) for _ in range(50)])
    images = torch.fft.irfft2(spectra * math.sqrt(area), s=shape)
    torch.testing.assert_close(torch.fft.rfft2(images) / math.sqrt(area), spectra, rtol=0, atol=1e-5)
    assert float(images.var()) == pytest.approx(1.0, abs=4 * math.sqrt(2 / (50 * area)))
    edge = spectra[..., 0].abs().square().mean()
    assert float(edge) == pytest.approx(1.0, abs=0.1)
