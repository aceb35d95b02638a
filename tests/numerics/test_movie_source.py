"""Frames that come one by one: the same bytes as from memory, and no more of them alive than a batch."""

import threading
import weakref
from dataclasses import fields

import pytest
import torch
from torch import Tensor

from daemon.numerics.motion import CorrectedMovie, LocalField, MotionEstimate, correct_motion, estimate_motion
from daemon.numerics.motion_sum_local import FRAMES_AT_ONCE
from daemon.numerics.parallel import single_thread

SHAPE_YX = (160, 192)


class CountedFrames:
    """A movie whose frames are made when they are asked for; counts how many are alive."""

    def __init__(self, movie_tyx: Tensor) -> None:
        self._movie_tyx = movie_tyx
        self.shape, self.dtype, self.device = tuple(movie_tyx.shape), movie_tyx.dtype, movie_tyx.device
        self.alive = self.most_alive = 0
        self._lock = threading.Lock()

    def __getitem__(self, frame: int, /) -> Tensor:
        frame_yx = self._movie_tyx[frame].clone()
        with self._lock:
            self.alive += 1
            self.most_alive = max(self.most_alive, self.alive)
        weakref.finalize(frame_yx, self._let_go)
        return frame_yx

    def _let_go(self) -> None:
        with self._lock:
            self.alive -= 1


def _movie(frames: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    picture_yx = torch.rand(SHAPE_YX, generator=generator) * 4
    shifted = [torch.roll(picture_yx, (frame // 6, frame // 4), (0, 1)) for frame in range(frames)]
    return torch.poisson(torch.stack(shifted), generator=generator).to(torch.uint8)


def _estimate(frames: int, local: bool) -> MotionEstimate:
    path_t2 = torch.linspace(0, 3, frames, dtype=torch.float64)[:, None] * torch.tensor([1.0, 0.6], dtype=torch.float64)
    field = None
    if local:
        nodes = torch.linspace(-0.5, 0.5, 5, dtype=torch.float64)
        grid = torch.stack([nodes[None, :].expand(5, 5), nodes[:, None].expand(5, 5)], dim=-1)
        field = LocalField(torch.stack([grid * frame / frames for frame in range(frames)]), SHAPE_YX)
    return MotionEstimate(SHAPE_YX, path_t2, field, None, 0.0, torch.zeros(frames), 99.0)


def assert_same(one: CorrectedMovie, other: CorrectedMovie) -> None:
    for field in fields(CorrectedMovie):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if field.name == "spectrum":
            left, right = left.spectrum_yx, right.spectrum_yx
        assert torch.equal(left, right) if isinstance(left, Tensor) else left == right, field.name


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("frames", [12, 70])
def test_sums_are_the_same_and_few_frames_are_held(frames: int, local: bool, threads: int) -> None:
    movie_tyx, estimate = _movie(frames), _estimate(frames, local)
    source = CountedFrames(movie_tyx)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found, expected = (
            correct_motion(movie, estimate, pixel_size_ang=1.0, dose_per_frame_e_per_ang2=0.4, want_even_odd=True)
            for movie in (source, movie_tyx)
        )
    finally:
        torch.set_num_threads(before)
    assert_same(found, expected)
    # 20 frames make a partial sum here, and two are summed at once: the batch is what limits it.
    assert source.most_alive <= FRAMES_AT_ONCE + threads + 1
    assert source.alive == 0


def test_frames_in_groups_are_seen_one_at_a_time() -> None:
    movie_tyx = _movie(200)
    source = CountedFrames(movie_tyx)
    with single_thread():
        found, expected = (estimate_motion(movie, pixel_size_ang=3.0) for movie in (source, movie_tyx))
    assert torch.equal(found.global_t2, expected.global_t2)
    assert found.signal_sigma == expected.signal_sigma
    assert source.most_alive <= 2
    assert source.alive == 0
