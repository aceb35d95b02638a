"""The likelihood of frame shifts: gradients against differences, information against drawn movies."""

import math

import pytest
import torch

from daemon.numerics.motion_pattern import PatternPower, estimate_pattern, is_pattern_significant, pattern_term
from daemon.numerics.motion_score import RadialBins, SpectralModel, estimate_spectra, shift_gradient, sum_aligned

_SIZE, _FRAMES = 48, 6


def _frequencies() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.fft.fftfreq(_SIZE)[:, None], torch.fft.rfftfreq(_SIZE)[None, :]


def _draw(shift_t2: torch.Tensor, signal_yx: torch.Tensor, noise: float, generator: torch.Generator) -> torch.Tensor:
    """Frames of the model: a common complex normal signal, shifted, and independent noise."""
    ky, kx = _frequencies()
    shape = (_SIZE, _SIZE // 2 + 1)
    specimen_yx = torch.randn(shape, dtype=torch.complex64, generator=generator) * signal_yx.sqrt()
    noise_tyx = torch.randn((_FRAMES, *shape), dtype=torch.complex64, generator=generator) * math.sqrt(noise)
    turn_tyx = -2 * math.pi * (shift_t2[:, 0, None, None] * kx + shift_t2[:, 1, None, None] * ky)
    return specimen_yx * torch.polar(torch.ones_like(turn_tyx), turn_tyx).to(torch.complex64) + noise_tyx


def _path(generator: torch.Generator) -> torch.Tensor:
    path_t2 = torch.randn(_FRAMES, 2, generator=generator, dtype=torch.float64)
    return path_t2 - path_t2.mean(dim=0)


@pytest.fixture
def bins() -> RadialBins:
    return RadialBins(*_frequencies(), low=0.02, high=0.4)


def test_rings_hold_every_frequency_of_the_band_once_and_no_axis(bins: RadialBins) -> None:
    ky, kx = _frequencies()
    radius = torch.hypot(ky, kx)
    inside = (radius >= 0.02) & (radius <= 0.4) & (ky != 0) & (kx != 0)
    assert float(bins.count_a.sum()) == float(inside.sum())
    assert float(bins.total(torch.ones_like(radius)).sum()) == float(inside.sum())
    torch.testing.assert_close(bins.expand(torch.ones(bins.rings)), inside.float())


def test_gradient_agrees_with_differences(bins: RadialBins) -> None:
    generator = torch.Generator().manual_seed(0)
    shift_t2 = _path(generator)
    frames_tyx = _draw(shift_t2, torch.full((_SIZE, _SIZE // 2 + 1), 2.0), 1.0, generator)
    weight_yx = bins.expand(torch.rand(bins.rings, generator=generator))
    ky, kx = _frequencies()

    def likelihood(at_t2: torch.Tensor) -> float:
        total_yx = sum_aligned(frames_tyx, at_t2, ky, kx).to(torch.complex128)
        return float((weight_yx * total_yx.abs().square()).sum())

    at_t2 = shift_t2 + 0.2 * _path(generator)
    gradient_t2 = shift_gradient(frames_tyx, at_t2, sum_aligned(frames_tyx, at_t2, ky, kx), weight_yx, ky, kx)
    for frame, axis in ((0, 0), (2, 1), (5, 0)):
        step_t2 = torch.zeros_like(at_t2)
        step_t2[frame, axis] = 1e-2
        slope = (likelihood(at_t2 + step_t2) - likelihood(at_t2 - step_t2)) / 2e-2
        assert float(gradient_t2[frame, axis]) == pytest.approx(
            slope, rel=2e-3, abs=0.02 * float(gradient_t2.abs().max())
        )


def test_information_is_the_spread_of_the_gradient_at_the_truth(bins: RadialBins) -> None:
    generator = torch.Generator().manual_seed(1)
    ky, kx = _frequencies()
    signal, noise = 0.3, 1.0
    model = SpectralModel(
        torch.full((bins.rings,), signal, dtype=torch.float64),
        torch.full((bins.rings,), noise, dtype=torch.float64),
        torch.ones(_FRAMES, dtype=torch.float64),
    )
    weight_yx = bins.expand(model.weight())
    shift_t2 = _path(generator)
    gradients = []
    for _ in range(150):
        frames_tyx = _draw(shift_t2, torch.full((_SIZE, _SIZE // 2 + 1), signal), noise, generator)
        total_yx = sum_aligned(frames_tyx, shift_t2, ky, kx)
        gradients.append(shift_gradient(frames_tyx, shift_t2, total_yx, weight_yx, ky, kx))
    drawn = torch.cat([torch.stack(gradients)[..., axis] for axis in (0, 1)])
    covariance_tt = drawn.T @ drawn / drawn.shape[0]
    information_tt = model.information(bins)
    # 300 draws: entries of the covariance scatter by 8 % of the diagonal.
    scatter = float((covariance_tt - information_tt).abs().max() / information_tt.diagonal().max())
    assert scatter < 0.25
    assert float(covariance_tt.trace()) == pytest.approx(float(information_tt.trace()), rel=0.08)


def test_information_is_blind_to_a_common_shift_and_to_frames_without_amplitude(bins: RadialBins) -> None:
    amplitude_t = torch.tensor([1.0, 0.5, 0.0, 1.2], dtype=torch.float64)
    ones = torch.ones(bins.rings, dtype=torch.float64)
    information_tt = SpectralModel(ones, ones, amplitude_t.square()).information(bins)
    assert float((information_tt @ torch.ones(4, dtype=torch.float64)).abs().max()) < 1e-6 * float(information_tt.max())
    assert float(information_tt[2].abs().max()) == 0


def test_spectra_are_found_from_frames(bins: RadialBins) -> None:
    generator = torch.Generator().manual_seed(2)
    shift_t2 = _path(generator)
    ky, kx = _frequencies()
    signal_yx = 0.2 + 0.8 * torch.exp(-20 * (ky**2 + kx**2))
    coherent, incoherent = torch.zeros(bins.rings, dtype=torch.float64), torch.zeros(bins.rings, dtype=torch.float64)
    for _ in range(20):
        frames_tyx = _draw(shift_t2, signal_yx, 1.5, generator)
        coherent += bins.total(sum_aligned(frames_tyx, shift_t2, ky, kx).abs().square())
        incoherent += sum((bins.total(frame.abs().square()) for frame in frames_tyx), torch.zeros(bins.rings))
    ones_t = torch.ones(_FRAMES, dtype=torch.float64)
    model = estimate_spectra(coherent, incoherent, incoherent, 20 * bins.count_a, ones_t)
    expected_a = bins.total(signal_yx) / bins.count_a
    # The innermost rings hold a dozen frequencies and slope steeply.
    assert float((model.signal_a - expected_a)[4:].abs().max()) < 0.06
    assert float((model.noise_a - 1.5)[bins.count_a > 0].abs().mean()) < 0.05


def test_noise_that_agrees_by_chance_is_no_signal(bins: RadialBins) -> None:
    generator = torch.Generator().manual_seed(6)
    ky, kx = _frequencies()
    shift_t2 = torch.zeros(_FRAMES, 2, dtype=torch.float64)
    ones_t = torch.ones(_FRAMES, dtype=torch.float64)
    chance, kept = [], []
    for _ in range(20):
        frames_tyx = _draw(shift_t2, torch.zeros(_SIZE, _SIZE // 2 + 1), 1.0, generator)
        coherent_a = bins.total(sum_aligned(frames_tyx, shift_t2, ky, kx).abs().square())
        incoherent_a = bins.total(frames_tyx.abs().square().sum(dim=0))
        model = estimate_spectra(coherent_a, incoherent_a, incoherent_a, bins.count_a, ones_t, reach=2)
        chance.append(float(((coherent_a - incoherent_a) / bins.count_a.clamp_min(1) / 30).clamp_min(0).mean()))
        kept.append(float(model.signal_a.mean()))
    # Smoothing over rings alone leaves half of it.
    assert sum(kept) < 0.3 * sum(chance)


def test_pattern_and_specimen_are_told_apart_once_something_moves(bins: RadialBins) -> None:
    generator = torch.Generator().manual_seed(3)
    ky, kx = _frequencies()
    usable_t = torch.ones(_FRAMES, dtype=torch.float64)
    shift_t2 = torch.linspace(-4, 4, _FRAMES, dtype=torch.float64)[:, None] * torch.tensor([1.0, 0.7])
    shape = (_SIZE, _SIZE // 2 + 1)
    pattern_yx = torch.randn(shape, dtype=torch.complex64, generator=generator) * math.sqrt(2.0)
    frames_tyx = _draw(shift_t2, torch.full(shape, 1.0), 0.5, generator) + pattern_yx
    incoherent_a = bins.total(frames_tyx.abs().square().sum(dim=0))
    found = estimate_pattern(frames_tyx, shift_t2, usable_t, incoherent_a, ky, kx, bins)
    assert is_pattern_significant(frames_tyx, shift_t2, usable_t, incoherent_a, ky, kx, bins)
    band_yx = bins.expand(torch.ones(bins.rings)) > 0
    left = (found.pattern_yx - pattern_yx)[band_yx].abs().square().mean() / pattern_yx[band_yx].abs().square().mean()
    assert float(left) < 0.3
    still_t2 = torch.zeros_like(shift_t2)
    still = estimate_pattern(frames_tyx, still_t2, usable_t, incoherent_a, ky, kx, bins)
    assert not is_pattern_significant(frames_tyx, still_t2, usable_t, incoherent_a, ky, kx, bins)
    assert still.log_likelihood < found.log_likelihood


def test_gradient_of_the_pattern_term_agrees_with_differences(bins: RadialBins) -> None:
    generator = torch.Generator().manual_seed(4)
    ky, kx = _frequencies()
    ones_a, usable_t = torch.ones(bins.rings, dtype=torch.float64), torch.ones(_FRAMES, dtype=torch.float64)
    model = SpectralModel(0.5 * ones_a, ones_a, usable_t)
    power = PatternPower(bins.frequency_a, 0.3 * ones_a)
    shift_t2 = _path(generator)
    _, gradient_t2 = pattern_term(shift_t2, usable_t, model, power, ky, kx, bins)
    for frame, axis in ((1, 0), (4, 1)):
        step_t2 = torch.zeros_like(shift_t2)
        step_t2[frame, axis] = 2e-2
        above, _ = pattern_term(shift_t2 + step_t2, usable_t, model, power, ky, kx, bins)
        below, _ = pattern_term(shift_t2 - step_t2, usable_t, model, power, ky, kx, bins)
        slope = (above - below) / 4e-2
        assert float(gradient_t2[frame, axis]) == pytest.approx(
            slope, rel=0.02, abs=0.02 * float(gradient_t2.abs().max())
        )
