"""Rows that a frame lacks, frames that repeat another, and those that only look so."""

import pytest
import torch

from daemon.numerics.frame_faults import FrameWatch, empty_rows, find_lost_rows


def lost_rows(movie_tyx: torch.Tensor) -> dict[int, float]:
    return find_lost_rows({frame: empty_rows(raw_yx) for frame, raw_yx in enumerate(movie_tyx)})


def counts(rate: float, frames: int = 12, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.poisson(torch.full((frames, 480, 400), rate), generator=generator).to(dtype)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.float32])
@pytest.mark.parametrize("rate", [0.2, 1.0])
def test_strips_that_one_frame_lacks_are_found(rate: float, dtype: torch.dtype) -> None:
    movie_tyx = counts(rate, dtype=dtype)
    movie_tyx[3, 100:196] = 0
    for top in range(0, 480, 160):
        movie_tyx[7, top : top + 16] = 0
    movie_tyx[9, :16] = 0
    assert lost_rows(movie_tyx) == {3: pytest.approx(0.2), 7: pytest.approx(0.1)}


def test_what_all_frames_lack_is_the_cameras_or_the_specimens() -> None:
    movie_tyx = counts(1.0)
    movie_tyx[:, 100:300] = 0
    assert not lost_rows(movie_tyx)
    movie_tyx[5, 300:400] = 0
    assert lost_rows(movie_tyx) == {5: pytest.approx(100 / 480, abs=0.01)}


@pytest.mark.parametrize("rate", [0.0, 1e-4, 1e-3, 5e-3, 0.02])
def test_frames_that_hardly_hold_a_count_lack_nothing(rate: float) -> None:
    assert not lost_rows(counts(rate, frames=60))


def test_two_frames_do_not_tell_which_is_right() -> None:
    movie_tyx = counts(1.0, frames=2)
    movie_tyx[0, :100] = 0
    assert not lost_rows(movie_tyx)


def repeated(movie_tyx: torch.Tensor) -> tuple[int, ...]:
    watch = FrameWatch()
    for frame in reversed(range(len(movie_tyx))):
        watch.look(frame, movie_tyx[frame])
    return watch.conclude().repeated


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
@pytest.mark.parametrize("rate", [0.1, 1.0, 30.0])
def test_frames_that_repeat_the_one_before_are_found(rate: float, dtype: torch.dtype) -> None:
    movie_tyx = counts(rate, dtype=dtype)
    assert repeated(movie_tyx) == ()
    movie_tyx[6:9] = movie_tyx[5]
    # A frame counter in one corner.
    movie_tyx[6:9, 0, 0] = torch.tensor([1, 2, 3]).to(dtype)
    assert repeated(movie_tyx) == (6, 7, 8)


@pytest.mark.parametrize("rate", [0.0, 1e-4, 1e-3, 5e-3])
def test_frames_that_hardly_hold_a_count_repeat_nothing(rate: float) -> None:
    assert repeated(counts(rate, frames=60)) == ()
