"""Grey pictures of micrographs and spectra."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.numerics.pictures import render_spectrum, render_thumbnail, stretch
from daemon.numerics.spectrum import PowerSpectrum
from tests.numerics.thon_samples import make_spectrum


@settings(deadline=None, max_examples=25)
@given(st.integers(16, 300), st.integers(16, 300), st.integers(1, 200))
def test_thumbnails_have_the_height_and_keep_proportions(height_px: int, width_px: int, wanted_px: int) -> None:
    picture = render_thumbnail(torch.rand(height_px, width_px), wanted_px)
    assert picture.dtype == torch.uint8
    assert picture.shape == (wanted_px, max(1, round(wanted_px * width_px / height_px)))


def test_thumbnail_averages_areas_and_spends_its_grey_levels() -> None:
    image_yx = torch.zeros(400, 600)
    image_yx[100:200, 150:300] = 1.0
    picture = render_thumbnail(image_yx + 0.01 * torch.randn(400, 600, generator=torch.Generator().manual_seed(1)), 40)
    assert picture.shape == (40, 60)
    inside, outside = picture[10:20, 15:30].float(), picture[25:, 35:].float()
    assert float(inside.min()) > float(outside.max())


def test_hot_pixels_leave_contrast_for_the_rest() -> None:
    noise_yx = torch.randn(512, 512, generator=torch.Generator().manual_seed(1))
    hot_yx = noise_yx.clone()
    hot_yx[5, 7] = 1e6
    spread = float(render_thumbnail(hot_yx, 128).float().std())
    assert spread == pytest.approx(float(render_thumbnail(noise_yx, 128).float().std()), rel=0.1)
    assert spread > 25


@pytest.mark.parametrize("level", [0.0, 5.0, -3.0])
def test_constant_images_are_mid_grey(level: float) -> None:
    assert set(render_thumbnail(torch.full((64, 64), level), 32).flatten().tolist()) == {128}
    assert set(render_spectrum(PowerSpectrum(torch.zeros(64, 64), 1.4), 64).flatten().tolist()) == {128}


def test_spectrum_shows_rings_over_a_steep_background() -> None:
    picture = render_spectrum(make_spectrum(12000, 11900, 0, ring_contrast=1.0, box_px=512), 1024).float()
    assert picture.shape == (1024, 1024)
    centred = torch.arange(1024) - 512
    radius = torch.hypot(centred[:, None].float(), centred[None, :].float()).round().long().flatten()
    profile = torch.bincount(radius, picture.flatten())[:400] / torch.bincount(radius)[:400]
    rings = profile[60:300].numpy()
    turns = np.count_nonzero(np.diff(np.sign(np.diff(np.convolve(rings, np.ones(5) / 5, "valid")))))
    assert turns >= 10
    assert float(rings.max() - rings.min()) > 20
    assert 60 < float(picture.mean()) < 190


@settings(deadline=None, max_examples=40)
@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_stretch_maps_its_limits_to_black_and_white(low: float, width: float) -> None:
    values = torch.tensor([[low - width, low, low + width, low + 2 * width]], dtype=torch.float64)
    assert stretch(values, low, low + width).tolist() == [[0, 0, 255, 255]]


def test_what_is_no_picture_is_refused() -> None:
    image_yx = torch.zeros(64, 64)
    image_yx[0, 0] = math.inf
    with pytest.raises(ValueError, match="NaN"):
        render_thumbnail(image_yx, 32)
    with pytest.raises(ValueError, match="NaN"):
        render_spectrum(PowerSpectrum(image_yx, 1.0), 32)
    with pytest.raises(ValueError, match="height"):
        render_thumbnail(torch.zeros(64, 64), 0)
    with pytest.raises(ValueError, match="height"):
        render_spectrum(PowerSpectrum(torch.zeros(64, 64), 1.0), 0)
