"""Power spectra: where bins lie, how high they are, and that rings survive."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.numerics.spectrum import (
    PartSpectra,
    spectrum_pixel_ang,
    tile_power_spectrum,
)
from tests.storage_count import StorageCount


def white_noise(shape_yx: tuple[int, int], seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape_yx, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("shape_yx", "pixel_size_ang"), [((700, 700), 1.0), ((401, 997), 2.1), ((300, 300), 1.4), ((1500, 800), 0.6)]
)
def test_white_noise_is_flat_at_its_variance(shape_yx: tuple[int, int], pixel_size_ang: float) -> None:
    spectrum_yx = tile_power_spectrum(3 * white_noise(shape_yx) + 100, pixel_size_ang, box_px=256).spectrum_yx
    assert spectrum_yx.shape == (256, 256)
    assert spectrum_yx.dtype == torch.float32
    assert float(spectrum_yx.mean()) == pytest.approx(9, rel=0.05)
    quarters = spectrum_yx.reshape(4, 64, 4, 64).mean(dim=(1, 3))
    assert float((quarters / 9 - 1).abs().max()) < 0.25


@settings(deadline=None, max_examples=15)
@given(st.integers(8, 100), st.integers(-100, 100), st.floats(0.7, 3.0))
def test_a_wave_appears_where_its_frequency_says(x_bin: int, y_bin: int, pixel_size_ang: float) -> None:
    effective_ang = spectrum_pixel_ang(pixel_size_ang, box_px=256)
    step = 1 / (256 * effective_ang)
    rows = torch.arange(600, dtype=torch.float64)[:, None] * pixel_size_ang
    columns = torch.arange(640, dtype=torch.float64)[None, :] * pixel_size_ang
    wave_yx = torch.cos(2 * math.pi * step * (x_bin * columns + y_bin * rows))
    spectrum = tile_power_spectrum(wave_yx, pixel_size_ang, box_px=256)
    assert spectrum.pixel_size_ang == pytest.approx(effective_ang)
    peak = int(spectrum.spectrum_yx[:, 129:].argmax())
    assert abs(peak // 127 - (128 + y_bin)) <= 1
    assert abs(peak % 127 - (x_bin - 1)) <= 1


@settings(deadline=None, max_examples=60)
@given(st.floats(0.2, 20.0))
def test_pixel_is_about_the_target_or_the_images_own(pixel_size_ang: float) -> None:
    effective_ang = spectrum_pixel_ang(pixel_size_ang)
    assert max(1.39, pixel_size_ang) <= effective_ang * 1.001
    assert effective_ang <= max(1.4, pixel_size_ang) * 1.051


def test_spectrum_is_the_same_at_opposite_frequencies() -> None:
    spectrum_yx = tile_power_spectrum(white_noise((500, 400)), 1.4, box_px=128).spectrum_yx
    inner = spectrum_yx[1:, 1:]
    torch.testing.assert_close(inner, inner.flip(0, 1), rtol=1e-4, atol=1e-4)


def test_fine_rings_keep_their_contrast() -> None:
    """At 4 µm and 4 Å rings are two bins apart: plain tiles of one box would show a tenth of them."""
    size, pixel_ang = 2048, 1.4
    k = torch.fft.fftfreq(size, pixel_ang, dtype=torch.float64)
    frequency = torch.hypot(k[:, None], k[None, : size // 2 + 1].abs())
    rings = 1 + torch.cos(2 * math.pi * 0.0197 * 40000 * frequency**2)
    noise = torch.fft.rfft2(white_noise((size, size)).double())
    image_yx = torch.fft.irfft2(noise * rings.sqrt(), s=(size, size))
    spectrum = tile_power_spectrum(image_yx, pixel_ang)
    centred = torch.arange(512, dtype=torch.float64) - 256
    radius = torch.hypot(centred[:, None], centred[None, :]) / (512 * pixel_ang)
    chosen = (radius > 1 / 5) & (radius < 1 / 4)
    wave = torch.cos(2 * math.pi * 0.0197 * 40000 * radius**2)[chosen]
    values = spectrum.spectrum_yx.double()[chosen]
    contrast = float((values * wave).mean() / wave.square().mean() / values.mean())
    assert contrast > 0.5


def test_every_part_of_an_image_counts_alike() -> None:
    """Tiles overlap: what two of them hold must not count twice."""
    columns = torch.arange(1500)
    wave_yx = torch.cos(2 * math.pi * 0.2 * columns)[None, :].expand(400, 1500)
    powers = []
    for first in (200, 686, 1100):
        inside = (columns >= first) & (columns < first + 128)
        powers.append(float(tile_power_spectrum(wave_yx * inside, 1.4).spectrum_yx[:, 300:].sum()))
    assert max(powers) < 1.05 * min(powers)


def test_what_is_kept_of_a_movie_is_its_parts_and_at_low_frequencies_the_whole() -> None:
    # Half of every part's power is the specimen's, which the whole has nine times, and its noise three times.
    parts = [white_noise((600, 600), seed) + white_noise((600, 600), 9) for seed in (1, 2, 3)]
    total = PartSpectra(1.4, box_px=64)
    for part_yx in parts:
        total.add(part_yx)
    movie, whole_yx = total.conclude(), parts[0] + parts[1] + parts[2]
    parts_myx = torch.stack([tile_power_spectrum(part_yx, 1.4, box_px=64).spectrum_yx for part_yx in parts])
    mean_yx = parts_myx.mean(dim=0)
    centred = torch.arange(64) - 32
    per_ang = torch.hypot(centred[:, None].float(), centred[None, :].float()) / (64 * movie.pixel_size_ang)
    fine, coarse = per_ang > 1 / 5, per_ang < 1 / 60
    torch.testing.assert_close(movie.spectrum_yx[fine], mean_yx[fine], rtol=0.1, atol=0)
    whole = tile_power_spectrum(whole_yx, 1.4, box_px=64).spectrum_yx
    expected_yx = torch.lerp(mean_yx, whole / 3, 0.74)
    torch.testing.assert_close(movie.spectrum_yx[coarse], expected_yx[coarse], rtol=0.05, atol=0)
    assert float((movie.spectrum_yx / mean_yx)[coarse].mean()) == pytest.approx(1 + 0.74, rel=0.15)
    assert torch.equal(movie.parts_myx, parts_myx)
    stack = movie.multiply(torch.full((64, 64), 2.0)).stack()
    assert torch.equal(stack, 2 * torch.cat([movie.spectrum_yx[None], movie.parts_myx]))


def test_a_movie_in_one_part_keeps_one_spectrum() -> None:
    part_yx = white_noise((600, 600))
    total = PartSpectra(1.4, box_px=64)
    total.add(part_yx)
    movie = total.conclude()
    assert torch.equal(movie.stack(), movie.spectrum_yx)
    assert torch.equal(movie.spectrum_yx, tile_power_spectrum(part_yx, 1.4, box_px=64).spectrum_yx)


@pytest.mark.parametrize("level", [0.0, 7.0])
def test_constant_images_give_zeros(level: float) -> None:
    assert float(tile_power_spectrum(torch.full((600, 500), level), 1.0).spectrum_yx.abs().max()) == 0.0


def test_level_does_not_matter_and_scale_is_squared() -> None:
    image_yx = white_noise((640, 640))
    one = tile_power_spectrum(image_yx, 1.2, box_px=128).spectrum_yx
    other = tile_power_spectrum(4 * image_yx + 1000, 1.2, box_px=128).spectrum_yx
    torch.testing.assert_close(other, 16 * one, rtol=2e-2, atol=0.05)


def test_same_image_gives_the_same_bytes() -> None:
    image_yx = white_noise((900, 700))
    one, other = (tile_power_spectrum(image_yx, 0.9).spectrum_yx.numpy().tobytes() for _ in range(2))
    assert one == other


def test_parts_that_do_not_belong_together_are_refused() -> None:
    total = PartSpectra(1.4, box_px=64)
    with pytest.raises(ValueError, match="no part"):
        total.conclude()
    total.add(white_noise((300, 300)))
    with pytest.raises(ValueError, match="share a shape"):
        total.add(white_noise((300, 310)))


def test_what_is_no_image_is_refused() -> None:
    broken_yx = white_noise((100, 100))
    broken_yx[3, 4] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        tile_power_spectrum(broken_yx, 1.0)
    with pytest.raises(ValueError, match="2-D"):
        tile_power_spectrum(torch.zeros(3, 100, 100), 1.0)
    with pytest.raises(ValueError, match="pixel_size_ang"):
        tile_power_spectrum(white_noise((100, 100)), 0.0)
    with pytest.raises(ValueError, match="box_px"):
        tile_power_spectrum(white_noise((100, 100)), 1.0, box_px=33)


def test_memory_does_not_grow_with_a_mistaken_pixel_size() -> None:
    image_yx = white_noise((600, 600))
    taken = {}
    for pixel_size_ang in (1.0, 0.05, 1e-4):
        with StorageCount(image_yx) as counted:
            spectrum = tile_power_spectrum(image_yx, pixel_size_ang)
        assert math.isclose(spectrum.pixel_size_ang, spectrum_pixel_ang(pixel_size_ang))
        taken[pixel_size_ang] = counted.peak_bytes
    assert taken[1e-4] == taken[0.05] < 4 * taken[1.0]
