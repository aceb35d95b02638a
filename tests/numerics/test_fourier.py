"""Sizes, resampling and shifts in Fourier space."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.numerics.fourier import good_fft_size
from tests.numerics.fourier_reference import resample_image, shift_image


def _random_image(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(height, width, generator=torch.Generator().manual_seed(seed))


@given(st.integers(1, 10_000), st.sampled_from([1, 2, 4]))
@settings(deadline=None, max_examples=50)
def test_good_size_is_the_smallest_smooth_multiple(minimum: int, multiple_of: int) -> None:
    size = good_fft_size(minimum, multiple_of=multiple_of)
    assert size >= minimum
    assert size % multiple_of == 0
    rest = size // multiple_of
    for prime in (2, 3, 5, 7):
        while rest % prime == 0:
            rest //= prime
    assert rest == 1


def test_good_size_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="positive"):
        good_fft_size(0)


@given(st.integers(3, 24), st.integers(3, 24), st.integers(0, 9), st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_padding_then_cropping_gives_the_image_back(height: int, width: int, more_y: int, more_x: int) -> None:
    image_yx = _random_image(height, width)
    larger_yx = resample_image(image_yx, (height + more_y, width + more_x))
    torch.testing.assert_close(resample_image(larger_yx, (height, width)), image_yx, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("new_shape_yx", [(20, 31), (33, 20), (64, 48), (15, 15)])
def test_resampling_keeps_level_and_waves(new_shape_yx: tuple[int, int]) -> None:
    height, width = 40, 31

    def wave(shape_yx: tuple[int, int]) -> torch.Tensor:
        y = torch.arange(shape_yx[0])[:, None] / shape_yx[0]
        x = torch.arange(shape_yx[1])[None, :] / shape_yx[1]
        return 3 + torch.cos(2 * math.pi * (2 * y + 3 * x) + 0.4)

    torch.testing.assert_close(resample_image(wave((height, width)), new_shape_yx), wave(new_shape_yx))


def test_a_shift_by_whole_pixels_is_a_roll() -> None:
    image_yx = _random_image(17, 24)
    shifted_yx = shift_image(image_yx, (3.0, -2.0))
    torch.testing.assert_close(shifted_yx, image_yx.roll((-2, 3), dims=(0, 1)), atol=2e-6, rtol=1e-4)


def test_shifts_add_up() -> None:
    # An odd size has no Nyquist frequency, which no shift can be undone at.
    image_yx = _random_image(25, 21)
    there_yx = shift_image(shift_image(image_yx, (0.3, 1.7)), (2.2, -0.4))
    torch.testing.assert_close(there_yx, shift_image(image_yx, (2.5, 1.3)), atol=3e-6, rtol=1e-4)
