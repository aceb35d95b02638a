"""Resampling along a displacement field against waves whose warped values are known exactly."""

import math
from collections.abc import Callable

import pytest
import torch

from daemon.numerics.fourier import fourier_shift
from daemon.numerics.warp import (
    MARGIN_PX,
    DisplacementNodes,
    kept_amplitude,
    node_axis,
    spline_prefilter,
    warp_image,
)

Field = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
_ROOM = MARGIN_PX + 4


def _smooth(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    along_x = 3 * torch.sin(2 * math.pi * (x / 900 + y / 1100))
    along_y = 2.5 * torch.cos(2 * math.pi * (x / 1000 - y / 800))
    return torch.stack([along_x, along_y], dim=-1)


def _coefficients(image_yx: torch.Tensor) -> torch.Tensor:
    shape_yx = (image_yx.shape[0], image_yx.shape[1])
    factor_y, factor_x = spline_prefilter(shape_yx)
    coefficients_yx: torch.Tensor = torch.fft.irfft2(torch.fft.rfft2(image_yx) * factor_y * factor_x, s=shape_yx)
    return coefficients_yx


def _nodes(shape_yx: tuple[int, int], field: Field) -> DisplacementNodes:
    y, x = node_axis(shape_yx[0], 8), node_axis(shape_yx[1])
    return DisplacementNodes(y, x, field(y[:, None], x[None, :]).float())


def _warp_wave(
    shape_yx: tuple[int, int], wave_xy: tuple[float, float], field: Field
) -> tuple[torch.Tensor, torch.Tensor]:
    """Warped samples of a wave of about wave_xy cycles per px, and what they should be."""
    padded = [size + 2 * _ROOM for size in shape_yx]
    kx, ky = (round(k * size) / size for k, size in zip(wave_xy, reversed(padded), strict=True))

    def value(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.cos(2 * math.pi * (kx * x + ky * y) + 0.3)

    y, x = (torch.arange(size, dtype=torch.float64) - _ROOM for size in padded)
    coefficients_yx = _coefficients(value(y[:, None], x[None, :]).float())
    warped_yx = warp_image(coefficients_yx, (_ROOM, _ROOM), shape_yx, _nodes(shape_yx, field))
    y, x = (torch.arange(size, dtype=torch.float64) for size in shape_yx)
    moved_yx2 = field(y[:, None], x[None, :])
    return warped_yx, value(y[:, None] + moved_yx2[..., 1], x[None, :] + moved_yx2[..., 0])


@pytest.mark.parametrize("wave_xy", [(0.05, 0.02), (0.15, 0.0), (0.1, -0.12)])
def test_waves_of_low_frequency_arrive_where_they_should(wave_xy: tuple[float, float]) -> None:
    warped_yx, expected_yx = _warp_wave((301, 343), wave_xy, _smooth)
    # 0.015 of an amplitude is 0.012 px at the highest of these frequencies.
    assert float((warped_yx - expected_yx).abs().max()) < 0.016
    assert float((warped_yx - expected_yx).square().mean().sqrt()) < 0.005


@pytest.mark.parametrize("wave_xy", [(0.25, 0.0), (0.0, 0.3), (0.4, 0.0)])
def test_attenuation_is_as_stated(wave_xy: tuple[float, float]) -> None:
    def every_fraction(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        # One pixel from edge to edge along either axis: all sub-pixel positions alike.
        return torch.stack([x / 330 + 0 * y, y / 330 + 0 * x], dim=-1)

    warped_yx, expected_yx = _warp_wave((331, 331), wave_xy, every_fraction)
    kept = float((warped_yx * expected_yx).sum() / expected_yx.square().sum())
    assert kept == pytest.approx(float(kept_amplitude(torch.tensor(max(wave_xy)))), abs=0.01)


def test_stated_attenuation() -> None:
    kept = kept_amplitude(torch.tensor([0.15, 0.25, 0.3, 0.4, 0.5]))
    torch.testing.assert_close(kept, torch.tensor([0.9999, 0.9986, 0.994, 0.919, 0.5]), atol=1e-3, rtol=0)


def test_a_constant_displacement_equals_a_fourier_shift() -> None:
    generator = torch.Generator().manual_seed(3)
    noise_yx = torch.randn(120, 110, generator=generator)
    frequency = torch.hypot(torch.fft.fftfreq(120)[:, None], torch.fft.rfftfreq(110)[None, :])
    smooth_yx = torch.fft.irfft2(torch.fft.rfft2(noise_yx) * (frequency < 0.15), s=(120, 110))
    shape_yx = (120 - 2 * _ROOM, 110 - 2 * _ROOM)

    def constant(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([0 * (x + y) + 0.37, 0 * (x + y) - 2.6], dim=-1)

    warped_yx = warp_image(_coefficients(smooth_yx), (_ROOM, _ROOM), shape_yx, _nodes(shape_yx, constant))
    expected_yx = fourier_shift(smooth_yx, (-0.37, 2.6))[_ROOM : _ROOM + shape_yx[0], _ROOM : _ROOM + shape_yx[1]]
    assert float((warped_yx - expected_yx).abs().max()) < 3e-3 * float(expected_yx.abs().max())


def test_steep_fields_are_followed_row_by_row() -> None:
    def steep(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        wave = 3 * torch.sin(2 * math.pi * (x + y) / 500)
        return torch.stack([wave, wave], dim=-1)

    warped_yx, expected_yx = _warp_wave((200, 200), (0.1, 0.1), steep)
    assert float((warped_yx - expected_yx).square().mean().sqrt()) < 0.02


def test_the_same_call_gives_the_same_bytes() -> None:
    first_yx, _ = _warp_wave((150, 170), (0.2, 0.1), _smooth)
    second_yx, _ = _warp_wave((150, 170), (0.2, 0.1), _smooth)
    assert torch.equal(first_yx, second_yx)


def test_too_small_a_margin_is_refused() -> None:
    shape_yx = (64, 64)
    with pytest.raises(ValueError, match="margin"):
        warp_image(torch.zeros(80, 80), (8, 8), shape_yx, _nodes(shape_yx, _smooth))
    nodes = _nodes((32, 32), lambda y, x: torch.zeros(y.shape[0], x.shape[1], 2))
    with pytest.raises(ValueError, match="do not cover"):
        warp_image(torch.zeros(120, 120), (24, 24), (72, 72), nodes)
