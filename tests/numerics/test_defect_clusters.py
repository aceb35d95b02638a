"""Clusters of defects against clusters put there, and against what only looks like them."""

import math

import pytest
import torch

from daemon.numerics import surroundings
from daemon.numerics.detector import find_defects, mean_frame
from tests.numerics.motion_cases import simulate_case

FRAMES = 24


def mean_of_counts(rate_yx: torch.Tensor, seed: int = 1) -> torch.Tensor:
    return torch.poisson(rate_yx * FRAMES, generator=torch.Generator().manual_seed(seed)) / FRAMES


def put_clusters(shape_yx: tuple[int, int], sides_px: tuple[int, ...], seed: int = 2) -> torch.Tensor:
    """Squares of these sides, far enough from each other; the first one in the corner."""
    generator = torch.Generator().manual_seed(seed)
    cells = [(y, x) for y in range(0, shape_yx[0] - 79, 80) for x in range(0, shape_yx[1] - 79, 80)]
    cells = [cells[index] for index in [0, *(1 + torch.randperm(len(cells) - 1, generator=generator))]]
    clusters_yx = torch.zeros(shape_yx, dtype=torch.bool)
    for (y, x), side in zip(cells, sides_px, strict=False):
        down, across = (0, 0) if (y, x) == (0, 0) else torch.randint(0, 60, (2,), generator=generator).tolist()
        clusters_yx[y + down : y + down + side, x + across : x + across + side] = True
    return clusters_yx


def widen(clusters_yx: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.max_pool2d(clusters_yx[None].float(), 3, stride=1, padding=1)[0].bool()


@pytest.mark.parametrize("factor", [0.0, 0.1, 6.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_every_pixel_of_a_cluster_is_found_and_none_beyond_its_rim(factor: float, seed: int) -> None:
    clusters_yx = put_clusters((481, 650), (9, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 15, 17, 19, 9, 15), seed)
    gain_yx = 0.9 + 0.2 * torch.rand(clusters_yx.shape, generator=torch.Generator().manual_seed(seed))
    rate_yx = torch.where(clusters_yx, 1.5 * factor, 1.5) / gain_yx
    found_yx = find_defects(mean_of_counts(rate_yx, seed), frames=FRAMES, gain_yx=gain_yx)
    assert bool(found_yx[clusters_yx].all())
    assert not bool((found_yx & ~widen(clusters_yx)).any())


def test_without_kernels_the_same_clusters_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rate_yx = torch.where(put_clusters((320, 320), (9, 15, 11)), 0.0, 2.0)
    found_yx = find_defects(mean_of_counts(rate_yx), frames=FRAMES)
    monkeypatch.setattr(surroundings, "has_kernels", lambda device: False)
    assert torch.equal(find_defects(mean_of_counts(rate_yx), frames=FRAMES), found_yx)


@pytest.mark.parametrize("radius_px", [7.0, 9.0, 12.0, 16.0])
@pytest.mark.parametrize("transmission", [0.02, 0.1, 0.3])
def test_a_gold_bead_is_no_cluster_even_where_nothing_blurs_it(radius_px: float, transmission: float) -> None:
    y, x = torch.arange(200)[:, None] - 99.7, torch.arange(200)[None, :] - 100.4
    path = (1 - (y.square() + x.square()) / radius_px**2).clamp(min=0).sqrt()
    rate_yx = 2 * torch.exp(math.log(transmission) * path)
    assert int(find_defects(mean_of_counts(rate_yx), frames=FRAMES).sum()) <= 4


def test_what_is_as_sharp_but_large_or_faint_is_left_alone() -> None:
    rate_yx = torch.full((300, 300), 2.0)
    rate_yx[:, 200:] = 0.2
    rate_yx[40:100, 40:100] = 0.1
    rate_yx[200:215, 100:115] = 1.5
    inside_yx = torch.zeros(300, 300, dtype=torch.bool)
    inside_yx[50:90, 50:90] = inside_yx[198:217, 98:117] = inside_yx[:, 210:] = True
    assert not bool(find_defects(mean_of_counts(rate_yx), frames=FRAMES)[inside_yx].any())


@pytest.mark.parametrize("factor", [0.0, 5.0])
def test_clusters_that_no_file_names_do_not_pin_the_motion(factor: float) -> None:
    case = simulate_case((768, 768), 12, 3, counts_per_px=2.0)
    clusters_yx = put_clusters((768, 768), (9, 15) * 6)
    movie_tyx = case.movie_tyx.clone()
    level = factor * float(movie_tyx.float().mean())
    drawn = torch.poisson(torch.full((12, int(clusters_yx.sum())), level), generator=torch.Generator().manual_seed(4))
    movie_tyx[:, clusters_yx] = drawn.to(movie_tyx.dtype)
    found_yx = find_defects(mean_frame(movie_tyx), frames=12, gain_yx=case.gain_yx)
    assert bool(found_yx[clusters_yx].all())
    error_px, clean_px = case.error_px(case.estimate(movie_tyx)), case.error_px(case.estimate())
    assert error_px < 1.3 * clean_px
