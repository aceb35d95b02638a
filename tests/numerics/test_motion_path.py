"""Smooth paths: what they make of exact, noisy and missing data."""

import math

import pytest
import torch

from daemon.numerics.motion_path import Jumps, smooth_path

_FRAMES = 24
_EXPOSURE_T = torch.arange(_FRAMES, dtype=torch.float64) * 1.5 + 0.75


def _laplacian(precision: float, frames: int = _FRAMES) -> torch.Tensor:
    """Information of frames that were compared with one another."""
    return precision * (torch.eye(frames, dtype=torch.float64) - 1.0 / frames)


def _burst() -> torch.Tensor:
    """A path (x, y) px as specimens take: a burst that dies out, and drift."""
    burst_t = 1 - torch.exp(-_EXPOSURE_T / 5)
    drift_t = torch.linspace(0, 1, _FRAMES, dtype=torch.float64)
    path_t2 = torch.stack([4 * burst_t + drift_t, -2 * burst_t + 3 * drift_t], dim=1)
    return path_t2 - path_t2.mean(dim=0)


def _rms(error: torch.Tensor) -> float:
    return math.sqrt(float(error.square().sum(dim=-1).mean()))


def test_a_smooth_path_is_found_better_than_frame_by_frame() -> None:
    generator = torch.Generator().manual_seed(0)
    precision, gains = 25.0, []
    for _ in range(12):
        noise_t2 = torch.randn(_FRAMES, 2, generator=generator, dtype=torch.float64) / math.sqrt(precision)
        seen_t2 = _burst() + noise_t2 - noise_t2.mean(dim=0)
        posterior = smooth_path(_laplacian(precision) @ seen_t2, _laplacian(precision), _EXPOSURE_T)
        gains.append(_rms(posterior.path_t2 - _burst()) / _rms(seen_t2 - _burst()))
        assert float(posterior.path_t2.mean(dim=0).abs().max()) < 1e-9
        expected = math.sqrt(2 * float(posterior.variance_t.mean()))
        assert 0.4 * expected < _rms(posterior.path_t2 - _burst()) < 2.0 * expected
    assert sum(gains) / len(gains) < 0.7


def test_a_rough_path_is_believed_when_the_data_are_sharp() -> None:
    generator = torch.Generator().manual_seed(1)
    rough_t2 = torch.randn(_FRAMES, 2, generator=generator, dtype=torch.float64)
    rough_t2 -= rough_t2.mean(dim=0)
    information_tt = _laplacian(1e4)
    posterior = smooth_path(information_tt @ rough_t2, information_tt, _EXPOSURE_T)
    assert _rms(posterior.path_t2 - rough_t2) < 0.05


def test_a_frame_that_jumped_keeps_its_jump_and_its_neighbours_their_path() -> None:
    generator = torch.Generator().manual_seed(4)
    precision, error = 6.0, []
    jump_t2 = torch.zeros(_FRAMES, 2, dtype=torch.float64)
    jump_t2[15] = torch.tensor([2.5, -1.7])
    true_t2 = _burst() + jump_t2 - jump_t2.mean(dim=0)
    for _ in range(6):
        noise_t2 = torch.randn(_FRAMES, 2, generator=generator, dtype=torch.float64) / math.sqrt(precision)
        information_tt = _laplacian(precision)
        posterior = smooth_path(information_tt @ (true_t2 + noise_t2), information_tt, _EXPOSURE_T)
        error.append(posterior.path_t2 - true_t2)
    error_nt2 = torch.stack(error)
    # A frame by itself is known to 0.58 px; smoothed with the others it would be 3 px off.
    assert _rms(error_nt2[:, 15]) < 1.0
    assert _rms(error_nt2[:, [13, 14, 16, 17]]) < 0.45


def test_frames_without_information_are_interpolated() -> None:
    weight_t = torch.ones(_FRAMES, dtype=torch.float64)
    weight_t[[0, 10, 11]] = 0
    coupling_tt = 100 * weight_t[:, None] * weight_t / weight_t.sum()
    information_tt = torch.diag(coupling_tt.sum(dim=1)) - coupling_tt
    posterior = smooth_path(information_tt @ _burst(), information_tt, _EXPOSURE_T)
    error_t = (posterior.path_t2 - _burst()).norm(dim=1)
    assert float(error_t[[10, 11]].max()) < 0.15
    assert float(posterior.variance_t[0]) > 5 * float(posterior.variance_t[5])


@pytest.mark.parametrize("frames", [2, 3, 5])
def test_short_movies(frames: int) -> None:
    path_t2 = torch.linspace(-1, 1, frames, dtype=torch.float64)[:, None] * torch.tensor([[2.0, -1.0]])
    information_tt = _laplacian(400.0, frames)
    posterior = smooth_path(information_tt @ path_t2, information_tt, _EXPOSURE_T[:frames])
    assert _rms(posterior.path_t2 - path_t2) < 0.05


def test_nothing_known_means_nothing_moves() -> None:
    posterior = smooth_path(torch.zeros(4, 2), torch.zeros(4, 4, dtype=torch.float64), _EXPOSURE_T[:4])
    assert float(posterior.path_t2.abs().max()) == 0


def test_groups_of_frames_that_jumped_share_a_path_beside_their_jumps() -> None:
    """Every second frame elsewhere: no smooth path, but one that is as well known as without jumps."""
    generator = torch.Generator().manual_seed(5)
    precision, errors = 6.0, []
    offset_t2 = (torch.arange(_FRAMES) % 2).double()[:, None] * torch.tensor([30.0, -12.0], dtype=torch.float64)
    true_t2 = _burst() + offset_t2
    # Coarse shifts are a pixel off.
    coarse_t2 = true_t2 + torch.randn(_FRAMES, 2, generator=generator, dtype=torch.float64)
    jumps = Jumps.of(coarse_t2, 12.0)
    assert jumps is not None
    assert jumps.share_tj.sum(dim=0).tolist() == [_FRAMES / 2, _FRAMES / 2]
    true_t2 -= true_t2.mean(dim=0)
    information_tt = _laplacian(precision)
    for _ in range(6):
        noise_t2 = torch.randn(_FRAMES, 2, generator=generator, dtype=torch.float64) / math.sqrt(precision)
        posterior = smooth_path(information_tt @ (true_t2 + noise_t2), information_tt, _EXPOSURE_T, jumps)
        errors.append(posterior.path_t2 - true_t2)
        assert float(posterior.path_t2.mean(dim=0).abs().max()) < 1e-9
    # Frame by frame 0.58 px.
    assert _rms(torch.stack(errors)) < 0.45


def test_a_path_is_no_jump_however_far_it_goes() -> None:
    assert Jumps.of(20 * _burst(), 30.0) is None
    assert float((20 * _burst()).diff(dim=0).norm(dim=1).max()) < 30.0 < float((20 * _burst()).norm(dim=1).max())


def test_jumps_of_averaged_frames_are_shared() -> None:
    offset_t2 = (torch.arange(6) >= 3).double()[:, None] * torch.tensor([4.0, 0.0], dtype=torch.float64)
    jumps = Jumps(offset_t2, torch.nn.functional.one_hot((torch.arange(6) >= 3).long()).double())
    paired = jumps.averaged(lambda values: values.reshape(3, 2, -1).mean(dim=1))
    assert paired.offset_t2[:, 0].tolist() == [0.0, 2.0, 4.0]
    assert paired.share_tj.tolist() == [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
