"""The simulated motion field, and images carried along by it."""

import math

import pytest
import torch
from torch import Tensor

from daemon.numerics.simulation_motion import (
    SpecimenMotion,
    random_motion,
    source_grid,
    spline_basis,
    still,
    whole_frame_motion,
)
from daemon.numerics.simulation_warp import good_size, move_image


def _motion(shape: tuple[int, int] = (160, 200), frames: int = 6, local: float = 3.0, seed: int = 3) -> SpecimenMotion:
    return random_motion(shape, frames, 1.5, torch.Generator().manual_seed(seed), drift_px=7.0, local_px=local)


def _positions(shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    rows, columns = (torch.arange(size, dtype=torch.float64) for size in shape)
    return rows[:, None].expand(shape), columns[None, :].expand(shape)


def _rest_positions(motion: SpecimenMotion, frame: int) -> tuple[Tensor, Tensor]:
    """Where each pixel of a frame was at rest, by plain iteration."""
    y, x = _positions(motion.shape_yx)
    y_rest, x_rest = y, x
    for _ in range(60):
        d = motion.at(frame, y_rest, x_rest)
        x_rest, y_rest = x - d[..., 0], y - d[..., 1]
    return y_rest, x_rest


def test_motion_has_the_lengths_asked_for_and_starts_at_rest() -> None:
    motion = _motion()
    grid = motion.on_grid(33, 33)
    assert grid.shape == (6, 33, 33, 2)
    assert float(grid[0].abs().max()) == 0.0
    assert float(motion.global_t2[-1].norm()) == pytest.approx(7.0)
    assert float((grid - motion.global_t2[:, None, None]).norm(dim=-1).max()) == pytest.approx(3.0)
    corner = motion.at(4, torch.tensor(159.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64))
    torch.testing.assert_close(grid[4, -1, 0], corner)


def test_the_local_field_slows_down_with_dose() -> None:
    motion = random_motion((512, 512), 40, 1.0, torch.Generator().manual_seed(1), drift_px=0.0, local_px=4.0)
    step = motion.on_grid(9, 9).diff(dim=0).norm(dim=-1).mean(dim=(1, 2))
    assert float(step[0]) > 3 * float(step[20]) > 9 * float(step[38])


@pytest.mark.parametrize("seed", range(5))
def test_no_second_order_polynomial_describes_the_local_field(seed: int) -> None:
    motion = _motion(frames=12, seed=seed)
    field = (motion.on_grid(21, 21)[-1] - motion.global_t2[-1]).reshape(-1, 2)
    y, x = torch.meshgrid(*[torch.linspace(-0.5, 0.5, 21, dtype=torch.float64)] * 2, indexing="ij")
    terms = torch.stack([torch.ones_like(x), x, y, x * x, y * y, x * y], dim=-1).view(-1, 6)
    rest = field - terms @ torch.linalg.lstsq(terms, field).solution
    assert float(rest.norm() / field.norm()) > 0.05


def test_splines_of_the_source_grid_follow_the_exact_inverse() -> None:
    motion = _motion()
    y_rest, x_rest = _rest_positions(motion, 5)
    drift_x, drift_y = motion.global_t2[5].tolist()
    for first, y_px, x_px in source_grid(motion, 5).bands(50):
        rows = slice(first, first + len(y_px))
        torch.testing.assert_close(y_px.double() - drift_y, y_rest[rows], rtol=0, atol=1e-3)
        torch.testing.assert_close(x_px.double() - drift_x, x_rest[rows], rtol=0, atol=1e-3)


def test_the_spline_basis_reproduces_straight_lines() -> None:
    nodes = torch.linspace(-3, 44, 11, dtype=torch.float64)
    torch.testing.assert_close(spline_basis(40, nodes) @ nodes, torch.arange(40, dtype=torch.float64))


@pytest.mark.parametrize(("frequency", "scatter_px"), [(0.1, 0.0005), (0.25, 0.003), (0.33, 0.008)])
def test_waves_are_carried_to_a_hundredth_of_a_pixel(frequency: float, scatter_px: float) -> None:
    motion = _motion()
    padded = (good_size(160 + 40), good_size(200 + 40))
    generator = torch.Generator().manual_seed(7)
    angle = 2 * math.pi * torch.rand(12, generator=generator, dtype=torch.float64)
    ky = (frequency * angle.sin() * padded[0]).round() / padded[0]
    kx = (frequency * angle.cos() * padded[1]).round() / padded[1]

    def waves(y: Tensor, x: Tensor) -> Tensor:
        turns = y[..., None] * ky + x[..., None] * kx
        return torch.cos(2 * math.pi * turns + angle).sum(dim=-1)

    image = waves(*_positions(padded)).to(torch.float32)
    moved = move_image(torch.fft.rfft2(image), padded, motion, 5).double()
    y_rest, x_rest = _rest_positions(motion, 5)
    expected = waves(y_rest, x_rest)
    slope = (waves(y_rest, x_rest + 1e-4) - waves(y_rest, x_rest - 1e-4)) / 2e-4
    error = moved - expected
    assert float(error.norm() / slope.norm()) < scatter_px
    assert abs(float((error * slope).sum() / slope.square().sum())) < 2e-4


def test_drift_moves_a_point_by_plus_d() -> None:
    motion = whole_frame_motion((64, 64), torch.tensor([[0.0, 0.0], [5.0, -3.0]]))
    image = torch.zeros(96, 96)
    image[30, 20] = 1.0
    for frame, (y, x) in enumerate([(30, 20), (27, 25)]):
        moved = move_image(torch.fft.rfft2(image), (96, 96), motion, frame)
        assert divmod(int(moved.argmax()), 64) == (y, x)
        assert float(moved.max()) == pytest.approx(1.0, abs=1e-4)


def test_content_enters_from_outside_the_frame() -> None:
    """A point at rest outside the frame becomes visible when it drifts in; none wraps around from the other edge."""
    motion = whole_frame_motion((64, 64), torch.tensor([[0.0, 0.0], [6.0, 0.0]]))
    image = torch.zeros(96, 96)
    image[10, -4] = 1.0  # four pixels left of the frame
    image[40, 62] = 1.0  # leaves to the right
    moved = [move_image(torch.fft.rfft2(image), (96, 96), motion, frame) for frame in (0, 1)]
    assert float(moved[0][10].abs().max()) < 1e-4
    assert float(moved[0][40, 62]) == pytest.approx(1.0, abs=1e-4)
    assert float(moved[1][10, 2]) == pytest.approx(1.0, abs=1e-4)
    assert float(moved[1][40].abs().max()) < 1e-4


def test_impossible_motion_is_refused() -> None:
    with pytest.raises(ValueError, match="frames"):
        random_motion((64, 64), 0, 1.0, torch.Generator(), drift_px=1.0, local_px=0.0)
    with pytest.raises(ValueError, match="negative"):
        random_motion((64, 64), 3, 1.0, torch.Generator(), drift_px=-1.0, local_px=0.0)
    folded = random_motion((64, 64), 4, 5.0, torch.Generator().manual_seed(1), drift_px=0.0, local_px=60.0)
    with pytest.raises(ValueError, match="folds"):
        source_grid(folded, 3)


def test_a_still_specimen_has_no_local_field_and_one_frame_no_drift() -> None:
    assert not still((64, 64), 3).has_local_field
    assert float(_motion(frames=1).on_grid(3, 3).abs().max()) == 0.0
    assert [good_size(size) for size in (1, 30, 31, 97, 2048)] == [2, 30, 32, 100, 2048]
