"""First correlations: only those shifts are looked at that a search may reach."""

import math

import pytest
import torch

from daemon.numerics.motion_coarse import CorrelationBand
from daemon.numerics.motion_correlation import correlate_frames
from daemon.numerics.motion_reduction import ReducedMovie
from daemon.numerics.motion_stack import pack

_FRAMES, _HEIGHT, _WIDTH, _SPACING_PX = 12, 96, 120, 2.0
_BAND = CorrelationBand(lowest=0.01, highest=0.08, b_factor_px2=0.0, largest_shift_px=30.0, largest_jump_px=8.0)


def _reduced(path_t2: torch.Tensor, noise: float) -> ReducedMovie:
    """Frames that show one white specimen along a path (x, y), unbinned px."""
    generator = torch.Generator().manual_seed(0)
    ky = torch.fft.fftfreq(_HEIGHT, d=_SPACING_PX)[:, None]
    kx = torch.fft.rfftfreq(_WIDTH, d=_SPACING_PX)[None, :]
    specimen_yx = torch.fft.rfft2(torch.randn(_HEIGHT, _WIDTH, generator=generator))
    turn_tyx = -2 * math.pi * (kx * path_t2[:, 0, None, None] + ky * path_t2[:, 1, None, None]).float()
    noise_tyx = noise * torch.fft.rfft2(torch.randn(_FRAMES, _HEIGHT, _WIDTH, generator=generator))
    frames_tyx = specimen_yx * torch.polar(torch.ones_like(turn_tyx), turn_tyx) + noise_tyx
    ones_t = torch.ones(_FRAMES, dtype=torch.float64)
    return ReducedMovie(
        pack(frames_tyx),
        (_HEIGHT, _WIDTH),
        (_SPACING_PX, _SPACING_PX),
        ky,
        kx,
        ones_t,
        torch.arange(_FRAMES, dtype=torch.float64),
    )


@pytest.mark.parametrize("reach_px", [4.0, 11.0, 15.0])
def test_shifts_as_far_as_a_search_may_reach_are_found(reach_px: float) -> None:
    """Also beyond the largest jump, where each frame is sought about its neighbours."""
    course_t = torch.linspace(-1, 1, _FRAMES, dtype=torch.float64)
    path_t2 = reach_px * torch.stack([course_t, -0.6 * course_t], dim=1)
    found = correlate_frames(_reduced(path_t2, noise=0.5), _BAND, torch.arange(1.0, _FRAMES + 1))
    assert found.signal_sigma > 8
    assert float((found.shift_t2 - path_t2).norm(dim=1).max()) < 0.75 * _SPACING_PX
