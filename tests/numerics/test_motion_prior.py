"""The prior of local motion: what it makes of exact, noisy and missing data."""

import math

import pytest
import torch

from daemon.numerics.motion_field import LocalField, grid_axis
from daemon.numerics.motion_prior import DECAY, FieldPrior

_FRAMES = 24
_EXPOSURE_T = torch.arange(_FRAMES, dtype=torch.float64) * 1.5 + 0.75


def _laplacian(precision: float, frames: int = _FRAMES) -> torch.Tensor:
    """Information of frames that were compared with one another."""
    return precision * (torch.eye(frames, dtype=torch.float64) - 1.0 / frames)


def _rms(error: torch.Tensor) -> float:
    return math.sqrt(float(error.square().sum(dim=-1).mean()))


def _patches(rows: int, columns: int) -> torch.Tensor:
    y, x = (torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns
    centre_p2 = torch.stack([x.repeat(rows), y.repeat_interleave(columns)], dim=1).double()
    offset = torch.tensor([-1 / 3, 0.0, 1 / 3], dtype=torch.float64)
    return centre_p2[:, None] + torch.cartesian_prod(offset / columns, offset / rows)


def _field(at_n2: torch.Tensor) -> torch.Tensor:
    """A field (n, t, 2) px outside the span of quadratic polynomials, growing as beam-induced motion does."""
    course_t = (1 - torch.exp(-_EXPOSURE_T / 8))[None, :, None]
    wave_n = torch.cos(2 * math.pi * (0.8 * at_n2[:, 0] + 0.3 * at_n2[:, 1]))[:, None, None]
    cross_n = torch.sin(2 * math.pi * (0.2 * at_n2[:, 0] - 0.7 * at_n2[:, 1]))[:, None, None]
    return torch.cat([1.5 * wave_n * course_t, cross_n * course_t], dim=2)


def _centred(field_nt2: torch.Tensor) -> torch.Tensor:
    return field_nt2 - field_nt2.mean(dim=1, keepdim=True)


def test_a_field_is_found_from_all_patches_at_once_and_weak_ones_follow() -> None:
    generator = torch.Generator().manual_seed(2)
    patches = _patches(5, 6)
    strength_p = torch.ones(30, dtype=torch.float64)
    strength_p[[7, 20]] = 0
    information_tt = _laplacian(20.0)
    # A patch sees the mean over its samples.
    truth_pt2 = torch.stack([_field(patches[:, sample]) for sample in range(9)]).mean(dim=0)
    noise_pt2 = torch.randn(30, _FRAMES, 2, generator=generator, dtype=torch.float64) / math.sqrt(20.0)
    linear_pt2 = strength_p[:, None, None] * torch.einsum("tu,puc->ptc", information_tt, truth_pt2 + noise_pt2)
    prior = FieldPrior(patches, _EXPOSURE_T)
    posterior = prior.fit(linear_pt2, strength_p, information_tt)
    error_pt2 = _centred(posterior.field_pt2 - truth_pt2)
    expected = math.sqrt(2 * float(posterior.variance_pt.mean()))
    assert _rms(error_pt2) < 0.4 * _rms(_centred(noise_pt2))
    assert 0.5 * expected < _rms(error_pt2) < 1.6 * expected
    assert _rms(error_pt2[[7, 20]]) < 0.25
    assert posterior.log_evidence > 50
    centre = patches[:, 4:5]
    at_centre = prior.fit(linear_pt2, strength_p, information_tt, target_ms2=centre, hypotheses=posterior.hypotheses)
    assert _rms(_centred(at_centre.field_pt2 - _field(centre[:, 0]))) < 0.15


def test_motion_that_dies_out_is_known_as_such() -> None:
    patches, information_tt = _patches(5, 6), _laplacian(400.0)
    strength_p = torch.ones(30, dtype=torch.float64)
    for course_t, dies_out in (
        (torch.exp(-_EXPOSURE_T / 3), True),
        (torch.linspace(0, 1, _FRAMES, dtype=torch.float64), False),
    ):
        wave_ps = torch.cos(5 * patches[..., 0] + 3 * patches[..., 1])
        truth_pt2 = wave_ps.mean(dim=1)[:, None, None] * course_t[:, None] * torch.tensor([3.0, -1.0])
        linear_pt2 = torch.einsum("tu,puc->ptc", information_tt, truth_pt2)
        posterior = FieldPrior(patches, _EXPOSURE_T).fit(linear_pt2, strength_p, information_tt)
        probable = sum(each.probability for each in posterior.hypotheses if each.temporal_length == DECAY)
        assert (probable > 0.5) == dies_out
        assert _rms(_centred(posterior.field_pt2 - truth_pt2)) < 0.1


def test_noise_is_no_evidence_for_a_field() -> None:
    generator = torch.Generator().manual_seed(3)
    patches, information_tt = _patches(4, 4), _laplacian(20.0)
    prior = FieldPrior(patches, _EXPOSURE_T)
    for _ in range(5):
        noise_pt2 = torch.randn(16, _FRAMES, 2, generator=generator, dtype=torch.float64) / math.sqrt(20.0)
        linear_pt2 = torch.einsum("tu,puc->ptc", information_tt, noise_pt2)
        posterior = prior.fit(linear_pt2, torch.ones(16, dtype=torch.float64), information_tt)
        assert posterior.log_evidence < 2
        assert _rms(_centred(posterior.field_pt2)) < 0.3 * _rms(_centred(noise_pt2))


def test_a_field_on_a_grid_is_interpolated_by_cubics() -> None:
    shape_yx = (400, 600)

    def cubic(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        u, v = x / 600, y / 400
        return torch.stack([u**3 - 2 * u * v**2 + 0 * v, v**3 + u**2 * v - u], dim=-1)

    y, x = grid_axis(400, 9), grid_axis(600, 11)
    field = LocalField(cubic(y[:, None], x[None, :])[None], shape_yx)
    some_y, some_x = torch.tensor([0.0, 17.3, 399.0]), torch.tensor([599.0, 301.7, 0.0])
    expected = cubic(some_y.double(), some_x.double())
    torch.testing.assert_close(field.at(0, some_y, some_x), expected, atol=1e-6, rtol=1e-6)
    finer = field.on_grid(17, 23)
    expected = cubic(grid_axis(400, 17)[:, None], grid_axis(600, 23)[None, :])
    torch.testing.assert_close(finer[0], expected, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(field.on_grid(9, 11), field.grid_tyx2, atol=1e-12, rtol=1e-12)
    with pytest.raises(ValueError, match="4×4"):
        LocalField(torch.zeros(1, 3, 9, 2, dtype=torch.float64), shape_yx)
