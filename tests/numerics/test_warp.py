"""Resampling along a displacement field against waves whose warped values are known exactly."""

import math
from collections.abc import Callable

import pytest
import torch

from daemon.numerics.warp import BandWarp, DisplacementNodes, node_axis, pixels_per_group, whitening
from tests.numerics.fourier_reference import shift_image

Field = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
_ROOM = 24


def _smooth(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    along_x = 3 * torch.sin(2 * math.pi * (x / 900 + y / 1100))
    along_y = 2.5 * torch.cos(2 * math.pi * (x / 1000 - y / 800))
    return torch.stack([along_x, along_y], dim=-1)


def _nodes(shape_yx: tuple[int, int], field: Field) -> DisplacementNodes:
    y, x = node_axis(shape_yx[0], 48), node_axis(shape_yx[1], 16)
    return DisplacementNodes(y, x, field(y[:, None], x[None, :]).float())


def _warp(image_yx: torch.Tensor, shape_yx: tuple[int, int], field: Field) -> torch.Tensor:
    """Warp and whiten an image that has _ROOM px around it on every side, bands of rows and blocks at a time."""
    nodes = _nodes(shape_yx, field)
    group_px = pixels_per_group(nodes.displacement_yx2)
    size_y, size_x = (16 * math.ceil(size / 16) for size in shape_yx)
    padded_yx = torch.nn.functional.pad(image_yx, (0, 32, 0, 32))

    def window(top: int, bottom: int, left: int, right: int) -> torch.Tensor:
        return padded_yx[top + _ROOM : bottom + _ROOM, left + _ROOM : right + _ROOM]

    warped_yx = torch.zeros(size_y, size_x)
    for top in range(0, size_y, 64):
        rows = min(64, size_y - top)
        band = BandWarp(nodes, (top, 0), (rows, size_x), group_px=group_px)
        for left in range(0, size_x, 112):
            columns = min(112, size_x - left)
            warped_yx[top : top + rows, left : left + columns] = band.block(window, left, columns)
    return warped_yx[: shape_yx[0], : shape_yx[1]]


def _warp_wave(
    shape_yx: tuple[int, int], wave_xy: tuple[float, float], field: Field
) -> tuple[torch.Tensor, torch.Tensor]:
    """Warped and whitened samples of a wave of wave_xy cycles per px, and what they should be."""
    kx, ky = wave_xy

    def value(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.cos(2 * math.pi * (kx * x + ky * y) + 0.3)

    y, x = (torch.arange(size + 2 * _ROOM, dtype=torch.float64) - _ROOM for size in shape_yx)
    warped_yx = _warp(value(y[:, None], x[None, :]).float(), shape_yx, field)
    y, x = (torch.arange(size, dtype=torch.float64) for size in shape_yx)
    moved_yx2 = field(y[:, None], x[None, :])
    given_back = 1.0
    for axis, frequency in ((0, kx), (1, ky)):
        given_back *= float(whitening(moved_yx2[..., axis].flatten(), torch.tensor([frequency]))[0])
    expected_yx = value(y[:, None] + moved_yx2[..., 1], x[None, :] + moved_yx2[..., 0])
    return warped_yx * given_back, expected_yx


@pytest.mark.parametrize("wave_xy", [(0.05, 0.02), (0.15, 0.0), (0.1, -0.12)])
def test_waves_of_low_frequency_arrive_where_they_should(wave_xy: tuple[float, float]) -> None:
    warped_yx, expected_yx = _warp_wave((301, 343), wave_xy, _smooth)
    # 0.015 of an amplitude is 0.012 px at the highest of these frequencies.
    assert float((warped_yx - expected_yx).abs().max()) < 0.016
    assert float((warped_yx - expected_yx).square().mean().sqrt()) < 0.005


@pytest.mark.parametrize(("wave_xy", "stated"), [((0.25, 0.0), 1.0), ((0.0, 0.3), 1.0), ((0.4, 0.0), 0.9992)])
def test_attenuation_is_as_stated(wave_xy: tuple[float, float], stated: float) -> None:
    """What a spline of degree 7 keeps, whitened: sinc(k)^8 / √Σ sinc(k + n)^16."""

    def every_fraction(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        # Three pixels from edge to edge along either axis: all sub-pixel positions alike.
        return torch.stack([x / 110 + 0 * y, y / 110 + 0 * x], dim=-1)

    warped_yx, expected_yx = _warp_wave((331, 331), wave_xy, every_fraction)
    kept = float((warped_yx * expected_yx).sum() / expected_yx.square().sum())
    assert kept == pytest.approx(stated, abs=0.01)


def test_a_constant_displacement_equals_a_fourier_shift() -> None:
    generator = torch.Generator().manual_seed(3)
    noise_yx = torch.randn(120, 110, generator=generator)
    frequency = torch.hypot(torch.fft.fftfreq(120)[:, None], torch.fft.rfftfreq(110)[None, :])
    smooth_yx = torch.fft.irfft2(torch.fft.rfft2(noise_yx) * (frequency < 0.15), s=(120, 110))
    shape_yx = (120 - 2 * _ROOM, 110 - 2 * _ROOM)

    def constant(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([0 * (x + y) + 0.37, 0 * (x + y) - 2.6], dim=-1)

    warped_yx = _warp(smooth_yx, shape_yx, constant)
    along_y = whitening(torch.tensor([-2.6]), torch.fft.fftfreq(120))[:, None]
    along_x = whitening(torch.tensor([0.37]), torch.fft.rfftfreq(110))[None, :]
    sharpened_yx = torch.fft.irfft2(torch.fft.rfft2(smooth_yx) * (along_y * along_x).float(), s=(120, 110))
    warped_yx = _warp(sharpened_yx, shape_yx, constant)
    expected_yx = shift_image(smooth_yx, (-0.37, 2.6))[_ROOM : _ROOM + shape_yx[0], _ROOM : _ROOM + shape_yx[1]]
    assert float((warped_yx - expected_yx).abs().max()) < 3e-3 * float(expected_yx.abs().max())


def test_white_noise_stays_white() -> None:
    generator = torch.Generator().manual_seed(5)
    shape_yx = (512, 480)
    noise_yx = torch.randn(shape_yx[0] + 2 * _ROOM, shape_yx[1] + 2 * _ROOM, generator=generator)

    def gentle(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x / 1600 + 0 * y, y / 1600 + 0 * x], dim=-1)

    # What the splines took is small where noise is strong, and the image's edges are not: they are tapered.
    taper_yx = torch.hann_window(512)[:, None] * torch.hann_window(480)[None, :]
    warped_yx = _warp(noise_yx, shape_yx, gentle) * taper_yx
    fractions = torch.arange(512) / 1600
    along_y = whitening(fractions, torch.fft.fftfreq(512))[:, None]
    along_x = whitening(fractions[:480], torch.fft.rfftfreq(480))[None, :]
    power_yx = (torch.fft.rfft2(warped_yx) * along_y * along_x).abs().square() / taper_yx.square().sum()
    radius_yx = torch.hypot(torch.fft.fftfreq(512)[:, None], torch.fft.rfftfreq(480)[None, :])
    for low, high in ((0.0, 0.1), (0.2, 0.25), (0.35, 0.4), (0.45, 0.5)):
        assert float(power_yx[(radius_yx >= low) & (radius_yx < high)].mean()) == pytest.approx(1.0, abs=0.08)


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


def test_what_the_nodes_do_not_cover_is_refused() -> None:
    nodes = _nodes((32, 32), lambda y, x: torch.zeros(y.shape[0], x.shape[1], 2))
    with pytest.raises(ValueError, match="do not cover"):
        BandWarp(nodes, (0, 0), (32, 160), group_px=16)
    with pytest.raises(ValueError, match="squares of 16"):
        BandWarp(nodes, (8, 0), (32, 32), group_px=16)
