"""Counts, gain and bad pixels of the simulated camera."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from daemon.numerics.simulation_detector import (
    CountedMovie,
    build_detector,
    draw_counts,
    draw_gain,
    seed_generator,
)


class FlatMovie(CountedMovie):
    """An evenly lit detector."""

    def intensities(self) -> Iterator[Tensor]:
        for _ in range(len(self)):
            yield torch.ones(self.shape_yx)


@pytest.mark.parametrize("mean", [0.03, 0.7, 1.5, 7.9, 8.5, 30.0])
def test_counts_follow_the_poisson_distribution(mean: float) -> None:
    samples = 200_000
    counts = draw_counts(torch.full((200, 1000), mean), seed_generator(1)).to(torch.int64).flatten()
    observed = torch.bincount(counts, minlength=120).to(torch.float64)
    k = torch.arange(120, dtype=torch.float64)
    expected = samples * torch.exp(k * math.log(mean) - mean - torch.lgamma(k + 1))
    # Rare counts are pooled so that every class expects ten or more.
    common = expected >= 10
    observed = torch.cat([observed[common], observed[~common].sum()[None]])
    expected = torch.cat([expected[common], (samples - expected[common].sum()).clamp(min=1.0)[None]])
    chi_square = float(((observed - expected) ** 2 / expected).sum())
    freedom = len(expected) - 1
    assert chi_square < freedom + 4 * math.sqrt(2 * freedom) + 4


def test_each_pixel_has_its_own_mean() -> None:
    mean = torch.tensor([0.0, 0.5, 3.0, 20.0]).repeat(50_000).view(400, 500)
    counts = draw_counts(mean, seed_generator(2), torch.int32).flatten().view(-1, 4).to(torch.float64)
    torch.testing.assert_close(
        counts.mean(dim=0), torch.tensor([0.0, 0.5, 3.0, 20.0], dtype=torch.float64), rtol=0, atol=0.1
    )
    assert int(counts[:, 0].max()) == 0


def test_counts_saturate_and_refuse_what_cannot_be_counted() -> None:
    assert bool((draw_counts(torch.full((64, 64), 5000.0), seed_generator(3)) == 255).all())
    for mean in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="finite and not negative"):
            draw_counts(torch.full((4, 4), mean), seed_generator(3))


def test_raw_counts_times_gain_are_flat_except_in_bad_pixels() -> None:
    shape = (96, 128)
    gain = draw_gain(shape, seed_generator(4))
    assert float(gain.mean()) == pytest.approx(1.0, abs=1e-5)
    assert 0.02 < float((gain - 1).abs().max()) < 0.06
    detector = build_detector(shape, seed_generator(5), gain_yx=gain, hot_pixels=6, dead_pixels=8)
    movie = FlatMovie(detector, 400, 1.5, count_seed=6)
    mean = movie.stack().to(torch.float64).mean(dim=0)
    sound = ~(detector.hot_yx | detector.dead_yx)
    noise = math.sqrt(1.5 / 400)
    corrected = (mean * detector.gain_yx)[sound]
    assert float(corrected.mean()) == pytest.approx(1.5, abs=4 * noise / math.sqrt(corrected.numel()))
    # What is left is counting noise alone; uncorrected counts follow 1 / gain with slope 1.5.
    assert float(corrected.std()) == pytest.approx(noise, rel=0.03)
    covariance = torch.cov(torch.stack([mean[sound], 1 / gain[sound].double()]))
    assert float(covariance[0, 1] / covariance[1, 1]) == pytest.approx(1.5, abs=0.25)
    assert float(mean[detector.hot_yx].min()) > 15 * 1.5
    assert float(mean[detector.dead_yx].max()) == 0
    # Half of the dead pixels are known to the gain, none of the hot ones.
    assert int((detector.gain_yx == 0).sum()) == 4
    assert int(detector.dead_yx.sum()) == 8
    assert bool((detector.gain_yx[detector.hot_yx] > 0).all())


def test_frames_come_again_and_hardware_frames_share_their_dose() -> None:
    movie = FlatMovie(build_detector((64, 80), seed_generator(7)), 5, 1.0, count_seed=8)
    assert torch.equal(movie.stack(), movie.stack())
    assert movie.stack(torch.int16).dtype == torch.int16
    hardware = torch.stack(list(movie.hardware_frames(20)))
    assert hardware.shape == (100, 64, 80)
    assert int(hardware.max()) == 1
    expected = 20 * (1 - math.exp(-1 / 20))
    total = hardware.to(torch.float64).sum() / (5 * 64 * 80)
    assert float(total) == pytest.approx(expected, abs=4 / math.sqrt(5 * 64 * 80))


def test_a_detector_refuses_gains_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="shape"):
        build_detector((8, 8), seed_generator(1), gain_yx=torch.ones(8, 9))
    with pytest.raises(ValueError, match="finite"):
        build_detector((8, 8), seed_generator(1), gain_yx=torch.full((8, 8), math.nan))
    with pytest.raises(ValueError, match="do not fit"):
        build_detector((8, 8), seed_generator(1), hot_pixels=60, dead_pixels=60)
