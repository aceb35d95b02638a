"""Simulated images and movies: physics, truth, reproducibility."""

import math

import pytest
import torch
from torch import Tensor

from daemon.numerics.bounds import _movie_covariance, half_disc
from daemon.numerics.ctf import ctf, defocus_along
from daemon.numerics.simulation import (
    SimulatedMovie,
    SimulatedOptics,
    SpecimenOptions,
    damage_amplitude,
    interaction_rad_per_v_ang,
    simulate_movie,
)
from daemon.numerics.simulation_detector import build_detector, seed_generator
from daemon.numerics.simulation_motion import still, whole_frame_motion
from daemon.numerics.simulation_specimen import build_molecule
from tests.numerics.micrographs import project_specimen, simulate_image, simulate_micrograph

OPTICS = SimulatedOptics(1.5, 16_000.0, 14_000.0, 35.0, envelope_b_ang2=60.0)


def _movie(seed: int = 1, frames: int = 4, size: int = 256, **options: object) -> SimulatedMovie:
    return simulate_movie((size, size + 64), frames, OPTICS, 1.2, seed_generator(seed), **options)  # type: ignore[arg-type]


def test_one_seed_gives_one_movie() -> None:
    first, again, other = (_movie(seed, hot_pixels=5, dead_pixels=5).stack() for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_iterating_twice_gives_the_same_frames() -> None:
    movie = _movie()
    for frame, once_more in zip(movie, movie.frames(), strict=True):
        assert torch.equal(frame, once_more)
    assert len(movie) == 4


def test_the_dose_is_what_was_asked_for() -> None:
    stack = _movie(frames=3).stack()
    assert stack.shape == (3, 256, 320)
    assert float(stack.to(torch.float64).mean()) == pytest.approx(1.2 * 1.5**2, rel=0.01)


def test_the_interaction_parameter_is_the_textbooks() -> None:
    for voltage_kv, expected in ((100.0, 9.244e-4), (200.0, 7.288e-4), (300.0, 6.526e-4)):
        assert interaction_rad_per_v_ang(voltage_kv) == pytest.approx(expected, rel=1e-3)


def test_damage_follows_the_exposure_filter_of_grant_and_grigorieff() -> None:
    frequency = torch.tensor([0.1], dtype=torch.float64)
    critical = 0.245 * 0.1**-1.665 + 2.81
    assert float(damage_amplitude(frequency, 2 * critical, 300.0)) == pytest.approx(math.exp(-1))
    assert float(damage_amplitude(frequency, 2 * critical, 200.0)) == pytest.approx(math.exp(-1 / 0.8))
    assert float(damage_amplitude(torch.zeros(1), 50.0, 300.0)) == pytest.approx(1.0, abs=1e-4)


def test_frames_have_the_covariance_that_the_bounds_assume() -> None:
    """Power in each frame and between frames, ring by ring, against the model, motion excluded."""
    size, frames = 512, 3
    movie = simulate_movie((size, size), frames, OPTICS, 6.0, seed_generator(4), motion=still((size, size), frames))
    window = torch.hann_window(size, periodic=True, dtype=torch.float64)
    window_yx = window[:, None] * window[None, :]
    images = torch.stack(list(movie.intensities())).double() - 1
    spectra = torch.fft.rfft2(images * window_yx) / window_yx.square().sum().sqrt()
    fy = torch.fft.fftfreq(size, dtype=torch.float64)[:, None]
    fx = torch.fft.rfftfreq(size, dtype=torch.float64)[None, :]
    radius = torch.hypot(fy, fx)
    grid = half_disc((size, size), rings=1024, directions=24)
    model = _movie_covariance(movie.truth, grid)
    model -= torch.eye(frames, dtype=torch.float64) / movie.truth.electrons_per_px
    for low, high in ((0.03, 0.06), (0.06, 0.12), (0.12, 0.2), (0.2, 0.3), (0.3, 0.4)):
        ring = (radius >= low) & (radius < high) & (fx > 0)
        measured = torch.einsum("tk,uk->tu", spectra[:, ring], spectra[:, ring].conj()).real / int(ring.sum())
        nodes = (grid.frequency_per_px >= low) & (grid.frequency_per_px < high)
        weights = grid.bins[nodes] / grid.bins[nodes].sum()
        expected = torch.einsum("k,ktu->tu", weights, model[nodes])
        scale = float(expected.diagonal().max())
        # The lowest ring holds few bins and the accidental arrangement of few particles.
        tolerance = 0.25 if high < 0.1 else 0.08
        assert float((measured - expected).abs().max()) < tolerance * scale, (low, high)


def _ring_correlation(power_yx: Tensor, defocus: tuple[float, float, float]) -> float:
    size = power_yx.shape[0]
    fy = torch.fft.fftfreq(size, d=1.5, dtype=torch.float64)[:, None]
    fx = torch.fft.rfftfreq(size, d=1.5, dtype=torch.float64)[None, :]
    frequency = torch.hypot(fy, fx)
    inside = (frequency > 0.06) & (frequency < 0.22)
    rings = (
        ctf(
            frequency,
            defocus_along(torch.atan2(fy, fx), *defocus),
            voltage_kv=300.0,
            spherical_aberration_mm=2.7,
            amplitude_contrast=0.1,
        )
        ** 2
    )
    ring = (frequency * size).round().to(torch.int64)
    mean = torch.bincount(ring.flatten(), weights=power_yx.flatten()) / torch.bincount(ring.flatten()).clamp(min=1)
    flat = power_yx / mean[ring]
    return float(torch.corrcoef(torch.stack([flat[inside], rings[inside]]))[0, 1])


def test_thon_rings_lie_where_the_ctf_says() -> None:
    micrograph = simulate_micrograph((1024, 1024), OPTICS, 60.0, seed_generator(5)).double()
    tiles = micrograph.unfold(0, 512, 256).unfold(1, 512, 256).reshape(-1, 512, 512)
    window = torch.hann_window(512, dtype=torch.float64)
    tiles = (tiles - tiles.mean(dim=(1, 2), keepdim=True)) * window[:, None] * window[None, :]
    power = torch.fft.rfft2(tiles).abs().square().mean(dim=0)
    truth = _ring_correlation(power, (16_000.0, 14_000.0, 35.0))
    assert truth > 0.15
    for wrong in (
        (16_200.0, 14_200.0, 35.0),
        (15_800.0, 13_800.0, 35.0),
        (15_000.0, 15_000.0, 0.0),
        (16_000.0, 14_000.0, -35.0),
        (16_000.0, 14_000.0, 45.0),
        (16_000.0, 14_000.0, 25.0),
    ):
        assert _ring_correlation(power, wrong) < truth - 0.01


def test_particles_are_dark_at_underfocus_and_where_the_truth_says() -> None:
    movie = _movie(seed=6, frames=2, size=448, motion=still((448, 512), 2))
    intensity = next(movie.intensities())
    # A mean over some 60 Å, as far as it lies inside the frame.
    smooth = torch.nn.functional.avg_pool2d(intensity[None, None], 41, stride=1, padding=20, count_include_pad=False)[
        0, 0
    ]
    x, y = movie.truth.particles.positions_n2.round().to(torch.int64).clamp(min=0).unbind(dim=1)
    x, y = x.clamp(max=511), y.clamp(max=447)
    assert len(x) >= 5
    at_particles = smooth[y, x]
    assert float(at_particles.mean()) < float(smooth.mean()) - 2 * float(smooth.std())
    assert float(intensity.mean()) == pytest.approx(1.0, abs=0.01)


def test_a_movie_shows_the_specimen_at_p_plus_d() -> None:
    motion = whole_frame_motion((256, 320), torch.tensor([[0.0, 0.0], [6.0, -4.0]]))
    first, second = _movie(seed=7, frames=2, motion=motion, damage=False).intensities()
    cross = torch.fft.rfft2(second - 1) * torch.fft.rfft2(first - 1).conj()
    peak = int(torch.fft.irfft2(cross, s=(256, 320)).argmax())
    y, x = divmod(peak, 320)
    assert (x, y - 256) == (6, -4)


def test_without_damage_nothing_changes_and_with_damage_detail_goes_first() -> None:
    for damage in (False, True):
        movie = _movie(seed=8, frames=5, damage=damage, motion=still((256, 320), 5))
        frames = list(movie.intensities())
        if damage:
            lost = torch.fft.rfft2(frames[-1] - frames[0]).abs().square()
            kept = torch.fft.rfft2(frames[0] - 1).abs().square()
            assert float(lost[80:120].sum() / kept[80:120].sum()) > 2 * float(lost[:5, :5].sum() / kept[:5, :5].sum())
        else:
            torch.testing.assert_close(frames[-1], frames[0])


def test_a_static_specimen_and_its_image_have_the_means_they_should() -> None:
    potential = project_specimen((256, 300), 1.5, SpecimenOptions(particle_diameter_ang=80.0), seed_generator(9))
    assert potential.shape == (256, 300)
    image = simulate_image(potential, OPTICS)
    assert float(image.mean()) == pytest.approx(1.0, abs=1e-5)
    assert 0.01 < float(image.std()) < 0.2
    flat = simulate_image(torch.full((64, 64), 700.0), OPTICS)
    torch.testing.assert_close(flat, torch.ones(64, 64))


def test_a_session_shares_its_camera_and_its_molecule() -> None:
    detector = build_detector((256, 320), seed_generator(1), hot_pixels=4)
    options = SpecimenOptions(particle_diameter_ang=90.0, ice_thickness_ang=500.0)
    one, two = (_movie(seed, detector=detector, specimen=options) for seed in (1, 2))
    assert one.truth.detector is two.truth.detector is detector
    assert one.truth.ice_thickness_ang == 500.0


def test_a_molecule_of_ones_own_is_what_the_micrograph_shows() -> None:
    molecule = build_molecule(60.0, seed_generator(3))
    own, usual = (
        simulate_micrograph((128, 128), OPTICS, 5.0, seed_generator(2), SpecimenOptions(molecule=choice))
        for choice in (molecule, None)
    )
    assert not torch.equal(own, usual)


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="64×64"):
        simulate_movie((32, 64), 3, OPTICS, 1.0, seed_generator(1))
    with pytest.raises(ValueError, match="dose_per_frame"):
        simulate_movie((64, 64), 3, OPTICS, 0.0, seed_generator(1))
    with pytest.raises(ValueError, match="motion is for"):
        simulate_movie((64, 64), 3, OPTICS, 1.0, seed_generator(1), motion=still((64, 64), 4))
    with pytest.raises(ValueError, match="detector has"):
        simulate_movie(
            (64, 64), 3, OPTICS, 1.0, seed_generator(1), detector=build_detector((64, 65), seed_generator(1))
        )
