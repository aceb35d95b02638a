"""Spline curves in spatial frequency."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.numerics.ctf_background import fit_log_background, solve_weighted, spline_basis


@settings(deadline=None, max_examples=30)
@given(st.integers(4, 12), st.floats(-1, 2), st.floats(0.1, 5))
def test_splines_add_up_to_one_everywhere(count: int, low: float, width: float) -> None:
    position = torch.linspace(low - 1, low + width + 1, 200, dtype=torch.float64)
    basis = spline_basis(position, low, low + width, count)
    assert basis.shape == (200, count)
    torch.testing.assert_close(basis.sum(-1), torch.ones(200, dtype=torch.float64))


def test_any_cubic_is_a_spline() -> None:
    position = torch.linspace(0.2, 0.6, 80, dtype=torch.float64)
    cubic = 3 - 2 * position + 7 * position**2 - 5 * position**3
    basis = spline_basis(position, 0.2, 0.6, 7)
    coefficients = solve_weighted(basis, cubic, torch.ones(80, dtype=torch.float64))
    torch.testing.assert_close(basis @ coefficients, cubic, atol=1e-6, rtol=1e-6)


def test_background_ignores_an_ice_ring() -> None:
    position = torch.linspace(0.2, 0.6, 200, dtype=torch.float64)
    smooth = (4 - 6 * position).exp()
    power = smooth.clone()
    power[120:124] *= 30
    basis = spline_basis(position, 0.2, 0.6, 8)
    curve = (basis @ fit_log_background(power, torch.ones_like(power), basis)).exp()
    assert float((curve / smooth - 1).abs().max()) < 0.05


def test_powers_without_logarithm_and_too_few_splines_are_refused() -> None:
    position = torch.linspace(0, 1, 50, dtype=torch.float64)
    with pytest.raises(ValueError, match="positive"):
        fit_log_background(torch.zeros(50, dtype=torch.float64), torch.ones(50), spline_basis(position, 0, 1, 5))
    with pytest.raises(ValueError, match="at least 4"):
        spline_basis(position, 0, 1, 3)
