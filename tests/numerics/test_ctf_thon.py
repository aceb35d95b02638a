"""Bins of a spectrum and averages along equal phase."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.numerics.thon import Optics, average_equal_phase, equivalent_frequency, phase_rad, select_bins

OPTICS = Optics(300.0, 2.7, 0.1)


@settings(deadline=None, max_examples=60)
@given(st.floats(0.03, 0.33), st.floats(5000, 40000), st.floats(-1500, 1500))
def test_equivalent_frequency_has_the_same_phase(frequency: float, mean_ang: float, difference_ang: float) -> None:
    k = torch.tensor([frequency], dtype=torch.float64)
    along = torch.tensor([mean_ang + difference_ang], dtype=torch.float64)
    equivalent = equivalent_frequency(k, along, mean_ang, OPTICS)
    phase = phase_rad(k.square(), along, OPTICS)
    assert float(phase_rad(equivalent.square(), mean_ang, OPTICS)) == pytest.approx(float(phase), rel=1e-6, abs=1e-6)
    assert (float(equivalent) >= frequency) == (difference_ang >= 0) or abs(difference_ang) < 1e-3


def test_equivalent_frequency_stays_finite_where_aberration_wins() -> None:
    """Beyond the largest phase there is no solution: near focus at high frequency the answer is still a frequency."""
    k = torch.linspace(0.05, 0.6, 50, dtype=torch.float64)
    equivalent = equivalent_frequency(k, torch.full_like(k, 900.0), 1000.0, OPTICS)
    assert bool(torch.isfinite(equivalent).all())
    assert bool((equivalent >= 0).all())


def test_bins_are_half_a_plane_between_the_limits_without_the_cross() -> None:
    spectrum_yx = torch.arange(64 * 64, dtype=torch.float32).reshape(64, 64)
    bins = select_bins(spectrum_yx, 2.0, 0.05, 0.2)
    width = 1 / (64 * 2.0)
    expected = set()
    for row in range(64):
        for column in range(32, 64):
            y, x = row - 32, column - 32
            if 0.05 <= math.hypot(y, x) * width <= 0.2 and x > 1 and abs(y) > 1:
                expected.add(row * 64 + column)
    assert set(bins.power.int().tolist()) == expected
    assert float(bins.frequency_per_ang.min()) >= 0.05
    assert float(bins.frequency_per_ang.max()) <= 0.2


def test_angle_runs_from_x_towards_growing_rows() -> None:
    spectrum_yx = torch.zeros(64, 64)
    spectrum_yx[32 + 10, 32 + 10] = 1.0
    bins = select_bins(spectrum_yx, 1.0, 0.05, 0.45)
    assert float(bins.angle_rad[bins.power > 0]) == pytest.approx(math.pi / 4)


def test_average_along_equal_phase_of_a_constant_is_that_constant() -> None:
    bins = select_bins(torch.full((128, 128), 3.0), 1.4, 0.04, 0.3)
    mean, weight = average_equal_phase(bins.power, bins.frequency_per_ang, bins.ring_width_per_ang, bins.ring_count)
    assert float(weight.sum()) == pytest.approx(len(bins.power))
    torch.testing.assert_close(mean[weight > 1e-6], torch.full_like(mean[weight > 1e-6], 3.0))
