"""The bounds against oracle estimators that come as close as anyone can."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from daemon.numerics.bounds import (
    ctf_bound,
    frame_covariance,
    half_disc,
    local_field_bound_px,
    movie_shift_information,
    shift_information,
    whole_frame_bound_px,
)
from daemon.numerics.ctf import ctf, defocus_along
from daemon.numerics.simulation import MovieTruth, SimulatedOptics, simulate_movie
from daemon.numerics.simulation_motion import still


def _truth(frames: int = 12, dose: float = 1.5, size: int = 256, **optics: float) -> MovieTruth:
    settings = {"pixel_size_ang": 1.5, "defocus_u_ang": 14000.0, "defocus_v_ang": 13000.0, **optics}
    generator = torch.Generator().manual_seed(3)
    motion = still((size, size), frames)
    return simulate_movie((size, size), frames, SimulatedOptics(**settings), dose, generator, motion=motion).truth


def test_a_single_fading_signal_has_the_closed_form_of_the_docstring() -> None:
    power, noise = torch.tensor([0.7], dtype=torch.float64), 0.4
    amplitude = torch.tensor([[1.0, 0.8, 0.5]], dtype=torch.float64)
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    grid = dataclasses.replace(
        half_disc((64, 64), rings=1, directions=1), frequency_per_px=one / (2 * math.pi), angle_rad=zero, bins=one
    )
    covariance = frame_covariance(power, amplitude, zero, one, noise)
    information = shift_information(covariance, grid)[:, 0, :, 0]
    squared = amplitude[0] ** 2
    total = float(squared.sum())
    expected = torch.diag(squared * total) - squared[:, None] * squared[None, :]
    expected *= 2 * 0.7**2 / (noise * (noise + 0.7 * total))
    torch.testing.assert_close(information, expected)


def test_the_common_shift_is_unknowable() -> None:
    information = movie_shift_information(_truth(), (256, 256))
    scale = float(information.abs().max())
    assert float(information.sum(dim=2).abs().max()) < 1e-8 * scale


def _draw_frames(covariance_ktu: Tensor, shape: tuple[int, int], generator: torch.Generator, repeats: int) -> Tensor:
    """Complex Gaussian frames (repeats, t, y, half_x) with the given covariance of frames in every bin."""
    height, half = shape
    frames = covariance_ktu.shape[-1]
    white = torch.randn(repeats, height, half, frames, dtype=torch.complex128, generator=generator)
    factor = torch.linalg.cholesky(covariance_ktu).to(torch.complex128).view(height, half, frames, frames)
    return torch.einsum("yxtu,ryxu->rtyx", factor, white)


def test_a_maximum_likelihood_estimator_attains_the_shift_bound_and_does_not_beat_it() -> None:
    height, width, frames, repeats = 64, 64, 4, 160
    fy = torch.fft.fftfreq(height, dtype=torch.float64)[:, None].expand(height, width // 2 + 1)
    fx = torch.fft.rfftfreq(width, dtype=torch.float64)[None, :].expand(height, width // 2 + 1)
    # A half plane: each pair of mirrored bins once, the disc only, no zero frequency.
    radius = torch.hypot(fy, fx)
    used = (radius > 0) & (radius < 0.5) & ((fx > 0) & (fx < 0.5) | (fx == 0) & (fy > 0))
    fading = 2.0 * torch.exp(-((radius / 0.15) ** 2))
    renewed = 0.4 * torch.exp(-((radius / 0.3) ** 2))
    memory = torch.full_like(radius, 0.7)
    amplitude = torch.exp(-0.15 * torch.arange(frames, dtype=torch.float64)).expand(height * fx.shape[1], frames)
    covariance = frame_covariance(fading.flatten(), amplitude, renewed.flatten(), memory.flatten(), 1.0)
    waves = torch.stack([2 * math.pi * fx, 2 * math.pi * fy])

    inverse = torch.linalg.inv(covariance)
    coupling = 2 * (covariance * inverse - torch.eye(frames, dtype=torch.float64))
    flat_waves = waves.view(2, -1)[:, used.flatten()]
    information = torch.einsum("ktu,ik,jk->tiuj", coupling[used.flatten()], flat_waves, flat_waves)
    bound = whole_frame_bound_px(information)

    data = _draw_frames(covariance, (height, fx.shape[1]), torch.Generator().manual_seed(1), repeats)
    weights = inverse.view(height, fx.shape[1], frames, frames).to(torch.complex128) * used[..., None, None]
    size = 2 * frames
    scoring = torch.linalg.pinv(information.reshape(size, size), hermitian=True, rtol=1e-9)
    shift = torch.zeros(repeats, frames, 2, dtype=torch.float64)
    for _ in range(6):
        phase = torch.einsum("rti,iyx->rtyx", shift, waves)
        aligned = data * torch.polar(torch.ones_like(phase), phase)
        projected = torch.einsum("yxtu,ruyx->rtyx", weights, aligned)
        # By the phase of frame t, the log likelihood −z*Γ⁻¹z of re-aligned frames z has the slope −2 Im(z_t* (Γ⁻¹z)_t).
        score = torch.einsum("rtyx,iyx->rti", -2 * (aligned.conj() * projected).imag, waves)
        shift = shift + (score.reshape(repeats, size) @ scoring).view(repeats, frames, 2)
    centred = shift - shift.mean(dim=1, keepdim=True)
    error = math.sqrt(float(centred.square().sum(dim=2).mean()))
    # 160 repeats of 6 free numbers leave 2.3 % of statistical error in the ratio.
    assert 0.93 < error / bound < 1.10


def test_the_polar_grid_counts_the_bins_of_half_a_disc() -> None:
    grid = half_disc((200, 300), rings=500)
    assert float(grid.bins.sum()) == pytest.approx(200 * 300 * math.pi / 8, rel=1e-6)


def test_more_dose_and_fewer_terms_give_better_motion() -> None:
    low = movie_shift_information(_truth(dose=0.7), (256, 256))
    high = movie_shift_information(_truth(dose=1.5), (256, 256))
    assert whole_frame_bound_px(high) < 0.8 * whole_frame_bound_px(low)
    few = local_field_bound_px(high, spatial_terms=6, time_terms=4)
    many = local_field_bound_px(high, spatial_terms=12, time_terms=4)
    assert whole_frame_bound_px(high) < few < many
    assert local_field_bound_px(high, spatial_terms=0, time_terms=4) == pytest.approx(whole_frame_bound_px(high))


def test_information_grows_with_the_area() -> None:
    truth = _truth()
    small = whole_frame_bound_px(movie_shift_information(truth, (256, 256)))
    large = whole_frame_bound_px(movie_shift_information(truth, (512, 512)))
    assert small / large == pytest.approx(2.0, rel=1e-6)


def test_one_frame_has_no_motion_to_know() -> None:
    information = movie_shift_information(_truth(frames=1), (256, 256))
    assert whole_frame_bound_px(information) == 0.0
    with pytest.raises(ValueError, match="time_terms"):
        local_field_bound_px(information, spatial_terms=6, time_terms=4)


def test_an_oracle_fit_attains_the_defocus_bound() -> None:
    """Fisher scoring on exponential periodograms with known spectra, defocus and astigmatism free."""
    size, electrons, repeats = 256, 40.0, 120
    truth = _truth(envelope_b_ang2=150.0)
    optics = truth.optics
    bound = ctf_bound(truth, (size, size), electrons_per_px=electrons)
    fy = torch.fft.fftfreq(size, dtype=torch.float64)[:, None].expand(size, size // 2 + 1)
    fx = torch.fft.rfftfreq(size, dtype=torch.float64)[None, :].expand(size, size // 2 + 1)
    used = (torch.hypot(fx, fy) < 0.5) & (((fx > 0) & (fx < 0.5)) | ((fx == 0) & (fy > 0)))
    frequency = torch.hypot(fx, fy)[used] / optics.pixel_size_ang
    angle = torch.atan2(fy, fx)[used]
    # The specimen's power from the bound's own inputs, the CTF from the model's own code.
    from daemon.numerics.bounds import _specimen_powers

    particles, ice = _specimen_powers(truth, frequency)
    signal = (particles + ice) * electrons * torch.exp(-0.5 * optics.envelope_b_ang2 * frequency**2)

    def spectrum(mean_and_cs: Tensor) -> Tensor:
        mean, cosine, sine = mean_and_cs
        defocus = mean + 0.5 * (cosine * torch.cos(2 * angle) + sine * torch.sin(2 * angle))
        value = ctf(
            frequency,
            defocus,
            voltage_kv=optics.voltage_kv,
            spherical_aberration_mm=optics.spherical_aberration_mm,
            amplitude_contrast=optics.amplitude_contrast,
        )
        return 1 + signal * value**2

    start = torch.tensor([13500.0, 1000.0, 0.0], dtype=torch.float64)
    expected = spectrum(start)
    reference = 1 + signal * (
        ctf(
            frequency,
            defocus_along(angle, optics.defocus_u_ang, optics.defocus_v_ang, 0.0),
            voltage_kv=300.0,
            spherical_aberration_mm=2.7,
            amplitude_contrast=0.1,
        )
        ** 2
    )
    torch.testing.assert_close(expected, reference)
    generator = torch.Generator().manual_seed(5)
    found = torch.empty(repeats, 3, dtype=torch.float64)
    step = torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64)
    for repeat in range(repeats):
        uniform = torch.rand(len(frequency), generator=generator, dtype=torch.float64)
        periodogram = -torch.log1p(-uniform) * expected
        parameters = start.clone()
        for _ in range(4):
            model = spectrum(parameters)
            slopes = torch.stack(
                [(spectrum(parameters + step * unit) - model) / model for unit in torch.eye(3, dtype=torch.float64)]
            )
            parameters = parameters + torch.linalg.solve(slopes @ slopes.T, slopes @ (periodogram / model - 1))
        found[repeat] = parameters
    deviation = (found - start).square().mean(dim=0).sqrt()
    # 120 repeats: 6.5 % of statistical error each.
    assert 0.85 < float(deviation[0]) / bound.defocus_ang < 1.2
    assert 0.85 < float(deviation[1]) / bound.astigmatism_ang < 1.2
    angle_deg = math.degrees(float(deviation[2]) / 2000)
    assert 0.85 < angle_deg / bound.astigmatism_angle_deg < 1.2


def test_a_free_phase_costs_defocus_and_damage_costs_everything() -> None:
    truth = _truth()
    known = ctf_bound(truth, (512, 512))
    free = ctf_bound(truth, (512, 512), fit_phase=True)
    assert known.phase_shift_deg is None
    assert free.phase_shift_deg is not None
    assert free.phase_shift_deg > 0
    assert free.defocus_ang > known.defocus_ang
    whole_dose = truth.electrons_per_px * truth.motion.frame_count
    assert ctf_bound(truth, (512, 512), electrons_per_px=whole_dose).defocus_ang < known.defocus_ang
    round_beam = dataclasses.replace(truth, optics=dataclasses.replace(truth.optics, defocus_u_ang=13000.0))
    assert math.isinf(ctf_bound(round_beam, (512, 512)).astigmatism_angle_deg)


def test_spectra_that_must_be_learnt_cost_the_phase_most() -> None:
    """Without a phase to fit rings alone place the defocus, whatever lies under them."""
    truth = _truth()
    known, learnt = (ctf_bound(truth, (512, 512), splines=splines) for splines in (None, (8, 6)))
    assert known.defocus_ang < learnt.defocus_ang < 1.02 * known.defocus_ang
    known, learnt = (ctf_bound(truth, (512, 512), fit_phase=True, splines=splines) for splines in (None, (8, 6)))
    assert known.phase_shift_deg is not None
    assert learnt.phase_shift_deg is not None
    assert 1.1 * known.phase_shift_deg < learnt.phase_shift_deg < 10 * known.phase_shift_deg
