"""Motion on a grid finer by a whole number: the same specimen points move by as much."""

import math

import pytest
import torch

from daemon.numerics.motion import LocalField, MotionEstimate
from daemon.numerics.motion_upsampling import refine_grid, repeat_pixels


def _estimate(shape_yx: tuple[int, int]) -> MotionEstimate:
    """A field of third degree in y and in x, which splines through any nodes have exactly."""
    generator = torch.Generator().manual_seed(0)
    powers = torch.arange(4)
    y, x = (torch.linspace(-1, 1, nodes, dtype=torch.float64)[:, None] ** powers for nodes in (6, 7))
    factors_tab2 = torch.randn(3, 4, 4, 2, generator=generator, dtype=torch.float64)
    grid_tyx2 = torch.einsum("ya,xb,tabc->tyxc", y, x, factors_tab2)
    path_t2 = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    return MotionEstimate(shape_yx, path_t2, LocalField(grid_tyx2, shape_yx), None, 0.1, torch.ones(3), 20.0)


@pytest.mark.parametrize("times", [1, 2, 4])
def test_centres_of_pixels_move_alike(times: int) -> None:
    shape_yx = (100, 130)
    coarse = _estimate(shape_yx)
    fine = refine_grid(coarse, times)
    assert fine.shape_yx == (times * 100, times * 130)
    assert (fine is coarse) == (times == 1)
    y = torch.linspace(0, 99, 23, dtype=torch.float64)
    x = torch.linspace(0, 129, 23, dtype=torch.float64)
    offset = (times - 1) / 2
    for frame in range(3):
        found_n2 = fine.at(frame, times * y + offset, times * x + offset)
        torch.testing.assert_close(found_n2, times * coarse.at(frame, y, x), atol=1e-9, rtol=0)
    assert fine.expected_error_px == pytest.approx(0.1 * times)
    assert float(fine.residual_t_px[0]) == times


def test_a_whole_frame_path_has_no_field() -> None:
    still = MotionEstimate((64, 64), torch.ones(2, 2).double(), None, "x", math.inf, torch.zeros(2), 1.0)
    fine = refine_grid(still, 2)
    assert fine.local is None
    assert torch.equal(fine.global_t2, 2 * still.global_t2)
    assert math.isinf(fine.expected_error_px)


def test_what_is_no_finer_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="whole number"):
        refine_grid(_estimate((64, 64)), 0)


def test_every_pixel_is_repeated() -> None:
    mask_yx = torch.tensor([[True, False], [False, False]])
    assert repeat_pixels(mask_yx, 2).tolist() == [[True, True, False, False]] * 2 + [[False] * 4] * 2
    assert repeat_pixels(mask_yx, 1) is mask_yx
