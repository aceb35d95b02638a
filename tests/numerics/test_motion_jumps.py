"""Frames that show the specimen elsewhere: told apart by their likeness, and brought together."""

import math

import pytest
import torch

from daemon.numerics.motion_jumps import alike


def _likeness(groups: list[list[int]], strength: float, seed: int = 0) -> torch.Tensor:
    """Of frames that are alike within their groups, beside noise of one standard deviation."""
    frames = sum(len(group) for group in groups)
    noise_ff = torch.randn(frames, frames, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    likeness_ff = (noise_ff + noise_ff.T) / math.sqrt(2)
    for group in groups:
        index = torch.tensor(group)
        likeness_ff[index[:, None], index] += strength
    return likeness_ff.fill_diagonal_(0.0)


def _alike(likeness_ff: torch.Tensor) -> list[list[int]]:
    return alike(likeness_ff, torch.ones(len(likeness_ff), dtype=torch.float64))


@pytest.mark.parametrize(
    "groups",
    [
        [list(range(40))],
        [list(range(0, 40, 2)), list(range(1, 40, 2))],
        [list(range(8, 40)), list(range(8))],
        [[*range(14), *range(26, 40)], list(range(14, 26))],
        [list(range(16)), list(range(16, 28)), list(range(28, 40))],
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_groups_are_told_apart(groups: list[list[int]], seed: int) -> None:
    found = _alike(_likeness(groups, 3.0, seed))
    assert sorted(found) == sorted(groups)
    assert len(found[0]) == max(len(group) for group in groups)


def test_a_frame_unlike_all_others_is_alone() -> None:
    found = _alike(_likeness([[*range(17), *range(18, 40)], [17]], 3.0))
    assert found[1:] == [[17]]


@pytest.mark.parametrize("seed", range(20))
def test_noise_makes_no_groups(seed: int) -> None:
    assert len(_alike(_likeness([list(range(40))], 0.0, seed))) == 1
    assert len(_alike(_likeness([list(range(40))], 0.7, seed))) == 1


def test_five_frames_are_enough() -> None:
    assert _alike(_likeness([[0, 1, 2], [3, 4]], 12.0)) == [[0, 1, 2], [3, 4]]


@pytest.mark.parametrize("seed", range(4))
def test_a_short_stretch_of_faint_frames_is_known_by_what_it_lacks(seed: int) -> None:
    """Its own likeness, 6 frames of 1.3 standard deviations a pair, drowns in noise."""
    found = _alike(_likeness([[*range(6, 40)], list(range(6))], 1.3, seed))
    assert found == [list(range(6, 40)), list(range(6))]


def test_two_stretches_apart_are_two_groups() -> None:
    found = _alike(_likeness([[*range(4, 20), *range(24, 40)], list(range(4)), list(range(20, 24))], 1.5))
    assert sorted(found) == sorted([[*range(4, 20), *range(24, 40)], list(range(4)), list(range(20, 24))])


def test_frames_of_less_dose_are_no_strangers() -> None:
    """A dip of the beam: pairs are as much alike as the product of their amplitudes makes them."""
    amplitude_f = torch.ones(24, dtype=torch.float64)
    amplitude_f[8:12] = 0.5
    likeness_ff = _likeness([list(range(24))], 0.0) + 6 * torch.outer(amplitude_f, amplitude_f).fill_diagonal_(0.0)
    assert len(_alike(likeness_ff)) == 2
    assert len(alike(likeness_ff, amplitude_f)) == 1
