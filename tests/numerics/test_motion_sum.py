"""Sums along a known motion: levels, noise, sharpness, halves."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from daemon.numerics.motion import CorrectedMovie, LocalField, MotionEstimate, correct_motion
from daemon.numerics.motion_canvas import bin_image
from daemon.numerics.motion_field import grid_axis
from daemon.numerics.motion_plan import partial_sums
from daemon.numerics.spectrum import spectrum_pixel_ang


def _estimate(shape_yx: tuple[int, int], global_t2: Tensor, local: LocalField | None = None) -> MotionEstimate:
    return MotionEstimate(shape_yx, global_t2.double(), local, None, 0.0, torch.zeros(len(global_t2)), 99.0)


def _sum(
    movie_tyx: Tensor, estimate: MotionEstimate, *, dose: float | None = None, halves: bool = False
) -> CorrectedMovie:
    return correct_motion(movie_tyx, estimate, pixel_size_ang=1.0, dose_per_frame_e_per_ang2=dose, want_even_odd=halves)


def _texture(y: Tensor, x: Tensor, highest: float = 1.0) -> Tensor:
    """A pattern of five waves, evaluated anywhere, less those with more than `highest` cycles per pixel in y or x."""
    total = 10.0 + 0 * (y + x)
    for index, (ky, kx) in enumerate(((0.05, 0.02), (-0.07, 0.11), (0.13, 0.04), (0.02, -0.16), (0.09, 0.09))):
        if max(abs(ky), abs(kx)) <= highest:
            total = total + torch.cos(2 * math.pi * (ky * y + kx * x) + index)
    return total


def _moving_texture(shape_yx: tuple[int, int], estimate: MotionEstimate) -> Tensor:
    """Frames that show at p + d(p) what the texture has at p; d varies slowly, so that p ≈ q − d(q)."""
    y, x = torch.arange(shape_yx[0], dtype=torch.float64), torch.arange(shape_yx[1], dtype=torch.float64)
    frames = []
    for frame in range(estimate.frame_count):
        offset = torch.zeros(*shape_yx, 2, dtype=torch.float64)
        for _ in range(6):
            at_y, at_x = (y[:, None] - offset[..., 1]).flatten(), (x[None, :] - offset[..., 0]).flatten()
            offset = estimate.at(frame, at_y, at_x).view(*shape_yx, 2)
        frames.append(_texture(y[:, None] - offset[..., 1], x[None, :] - offset[..., 0]))
    return torch.stack(frames).float()


def _local_field(shape_yx: tuple[int, int], frames: int) -> LocalField:
    y, x = grid_axis(shape_yx[0], 9)[:, None], grid_axis(shape_yx[1], 9)[None, :]
    # Steeper than any specimen: up to 1 px in 160.
    wave = torch.sin(2 * math.pi * (x / 400 + y / 600))
    shape = torch.stack([0.4 * wave, -0.3 * wave + 0 * y], dim=-1)
    return LocalField(torch.stack([shape * frame / frames for frame in range(frames)]), shape_yx)


@pytest.mark.parametrize("local", [False, True])
def test_a_moving_texture_comes_to_rest_where_the_first_frame_has_it(local: bool) -> None:
    shape_yx = (150, 172)
    global_t2 = torch.tensor([[0.0, 0.0], [2.3, -1.2], [4.9, -2.5], [6.0, -4.4]])
    estimate = _estimate(shape_yx, global_t2, _local_field(shape_yx, 4) if local else None)
    result = _sum(_moving_texture(shape_yx, estimate), estimate)
    y, x = torch.arange(150, dtype=torch.float64)[:, None], torch.arange(172, dtype=torch.float64)[None, :]
    expected_yx = 4 * _texture(y, x).float()
    inner = (slice(12, -12), slice(12, -12))
    # Amplitude 4 a wave; edges of the canvas ring a little into the picture.
    assert float((result.unweighted_yx - expected_yx)[inner].square().mean().sqrt()) < 0.08
    assert bool(torch.isfinite(result.unweighted_yx).all())
    unaligned_yx = _moving_texture(shape_yx, estimate).sum(dim=0)
    assert float((unaligned_yx - expected_yx)[inner].square().mean().sqrt()) > 2


def test_sums_keep_level_and_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    movie_tyx = torch.poisson(torch.full((20, 256, 256), 2.0), generator=generator).to(torch.uint8)
    shifts_t2 = torch.linspace(0, 3.7, 20)[:, None] * torch.tensor([1.0, -0.5])
    result = _sum(movie_tyx, _estimate((256, 256), shifts_t2), dose=2.0)
    assert result.weighted_yx is not None
    for image_yx in (result.unweighted_yx, result.weighted_yx):
        assert float(image_yx.mean()) == pytest.approx(40.0, rel=2e-3)
        # White noise stays as strong as in the plain sum: variance 40.
        assert float(image_yx.var()) == pytest.approx(40.0, rel=0.04)
    # 40 e⁻/Å² make five partial sums, and white noise has the same power at all frequencies in their spectrum.
    box = result.spectrum.spectrum_yx
    assert float(box[box.shape[0] // 2 + 40 :, :].mean()) == pytest.approx(40 / 5, rel=0.03)


@pytest.mark.parametrize("dose", [None, 2.0])
def test_sums_along_a_field_are_those_along_the_path_it_follows(dose: float | None) -> None:
    """A field of nothing: splines and Fourier shifts must agree, filtered or not, wherever splines keep everything."""
    generator = torch.Generator().manual_seed(4)
    shape_yx = (300, 420)
    movie_tyx = torch.poisson(torch.full((20, *shape_yx), 2.0), generator=generator).to(torch.uint8)
    path_t2 = torch.linspace(0, 5.3, 20)[:, None] * torch.tensor([1.0, -0.7])
    nothing = LocalField(torch.zeros(20, 5, 5, 2, dtype=torch.float64), shape_yx)
    along_path, along_field = (
        _sum(movie_tyx, _estimate(shape_yx, path_t2, local), dose=dose, halves=True) for local in (None, nothing)
    )
    frequency = torch.hypot(torch.fft.fftfreq(300)[:, None], torch.fft.rfftfreq(420)[None, :])
    for name in ("unweighted_yx", "weighted_yx", "even_yx", "odd_yx"):
        one, other = getattr(along_path, name), getattr(along_field, name)
        if one is None:
            assert other is None
            continue
        if name == "unweighted_yx":  # some of the frames, or early ones, have fractions of a pixel of their own
            assert float(other.var()) == pytest.approx(float(one.var()), rel=0.02)
        kept = [torch.fft.rfft2(image_yx - image_yx.mean()) * (frequency < 0.4) for image_yx in (one, other)]
        inner = (slice(16, -16), slice(16, -16))
        images = [torch.fft.irfft2(each, s=shape_yx)[inner] for each in kept]
        assert float((images[0] - images[1]).std()) < 0.03 * float(images[0].std())
    bins = (along_path.spectrum.spectrum_yx, along_field.spectrum.spectrum_yx)
    assert float((bins[0] - bins[1]).abs().mean() / bins[0].mean()) < 0.02


@pytest.mark.parametrize("local", [False, True])
def test_any_number_of_threads_gives_the_same_bytes(local: bool) -> None:
    generator = torch.Generator().manual_seed(6)
    shape_yx = (530, 300)
    movie_tyx = torch.poisson(torch.full((6, *shape_yx), 2.0), generator=generator).to(torch.uint8)
    path_t2 = torch.linspace(0, 4.1, 6)[:, None] * torch.tensor([1.0, 0.5])
    estimate = _estimate(shape_yx, path_t2, _local_field(shape_yx, 6) if local else None)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(_sum(movie_tyx, estimate, dose=2.0))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    one, other = results
    assert torch.equal(one.unweighted_yx, other.unweighted_yx)
    assert one.weighted_yx is not None
    assert other.weighted_yx is not None
    assert torch.equal(one.weighted_yx, other.weighted_yx)
    assert torch.equal(one.spectrum.spectrum_yx, other.spectrum.spectrum_yx)


def test_weighting_prefers_early_frames_at_high_frequency() -> None:
    y = torch.arange(192.0)
    fine_yx = torch.cos(2 * math.pi * y / 4)[None, :].expand(192, 192)
    coarse_yx = torch.cos(2 * math.pi * y / 32)[:, None].expand(192, 192)
    early_tyx, late_tyx = torch.full((16, 192, 192), 5.0), torch.full((16, 192, 192), 5.0)
    early_tyx[:8] += fine_yx + coarse_yx
    late_tyx[8:] += fine_yx + coarse_yx
    still = _estimate((192, 192), torch.zeros(16, 2))
    sums = [_sum(tyx, still, dose=3.0).weighted_yx for tyx in (early_tyx, late_tyx)]
    fine, coarse = (
        [float((image_yx * wave_yx)[16:-16, 16:-16].sum()) for image_yx in sums if image_yx is not None]
        for wave_yx in (fine_yx, coarse_yx)
    )
    # At 4 Å the early eight frames keep e^(−24/2·5.3) over the late ones' e^(−…): a factor of about 10; at 32 Å little.
    assert fine[0] > 5 * fine[1]
    assert coarse[0] < 1.7 * coarse[1]


@pytest.mark.parametrize("dose", [None, 1.5])
@pytest.mark.parametrize("local", [False, True])
def test_halves_add_up(dose: float | None, local: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    shape_yx = (128, 144)
    movie_tyx = torch.poisson(torch.full((7, *shape_yx), 2.0), generator=generator).to(torch.uint8)
    estimate = _estimate(shape_yx, torch.zeros(7, 2), _local_field(shape_yx, 7) if local else None)
    result = _sum(movie_tyx, estimate, dose=dose, halves=True)
    whole_yx = result.unweighted_yx if dose is None else result.weighted_yx
    assert whole_yx is not None
    assert result.even_yx is not None
    assert result.odd_yx is not None
    torch.testing.assert_close(result.even_yx + result.odd_yx, whole_yx, atol=2e-4, rtol=1e-4)
    assert float(result.even_yx.mean()) == pytest.approx(4 / 7 * float(whole_yx.mean()), rel=0.01)
    # Halves share no noise.
    even_yx, odd_yx = (half_yx - half_yx.mean() for half_yx in (result.even_yx, result.odd_yx))
    correlation = float((even_yx * odd_yx).mean() / (even_yx.std() * odd_yx.std()))
    assert abs(correlation) < 0.05


def test_no_motion_is_a_plain_sum() -> None:
    generator = torch.Generator().manual_seed(2)
    movie_tyx = torch.randint(0, 9, (5, 97, 101), generator=generator, dtype=torch.int16)
    result = _sum(movie_tyx, _estimate((97, 101), torch.zeros(5, 2)))
    torch.testing.assert_close(result.unweighted_yx, movie_tyx.sum(dim=0).float(), atol=1e-3, rtol=1e-5)
    assert result.weighted_yx is None


def test_unusable_frames_stay_out_of_every_sum() -> None:
    movie_tyx = torch.ones(6, 96, 96, dtype=torch.uint8)
    movie_tyx[2] = 255
    estimate = replace(_estimate((96, 96), torch.zeros(6, 2)), unusable_frames=(2,))
    result = _sum(movie_tyx, estimate, dose=1.0)
    assert result.weighted_yx is not None
    torch.testing.assert_close(result.unweighted_yx, torch.full((96, 96), 5.0), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(result.weighted_yx, torch.full((96, 96), 5.0), atol=1e-3, rtol=1e-4)


def test_drift_as_long_as_a_small_image_stays_finite() -> None:
    movie_tyx = torch.ones(3, 64, 64, dtype=torch.uint8)
    estimate = _estimate((64, 64), torch.tensor([[0.0, 0.0], [60.0, -60.0], [120.0, -120.0]]))
    assert float((_sum(movie_tyx, estimate).unweighted_yx - 3).abs().max()) < 1e-4


@pytest.mark.parametrize("local", [False, True])
def test_the_same_sum_has_the_same_bytes(local: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    shape_yx = (160, 130)
    movie_tyx = torch.poisson(torch.full((4, *shape_yx), 2.0), generator=generator).to(torch.uint8)
    shifts_t2 = torch.tensor([[0.0, 0.0], [1.3, 0.4], [2.0, 0.9], [2.4, 1.1]])
    estimate = _estimate(shape_yx, shifts_t2, _local_field(shape_yx, 4) if local else None)
    first, second = (_sum(movie_tyx, estimate, dose=1.0) for _ in range(2))
    assert first.weighted_yx is not None
    assert second.weighted_yx is not None
    assert torch.equal(first.weighted_yx, second.weighted_yx)
    assert torch.equal(first.unweighted_yx, second.unweighted_yx)
    assert torch.equal(first.spectrum.spectrum_yx, second.spectrum.spectrum_yx)


def test_partial_sums_hold_every_frame_once_at_about_the_wanted_dose() -> None:
    parts = list(partial_sums(list(range(24)), 1.5))
    assert [frame for part in parts for frame in part] == list(range(24))
    assert {len(part) for part in parts} == {6}
    assert [len(part) for part in partial_sums([0, 1, 2], 40.0)] == [1, 1, 1]
    assert [len(part) for part in partial_sums([4], 0.01)] == [1]
    assert len(list(partial_sums(list(range(40)), None))) == 6


def test_a_motion_of_another_movie_is_refused() -> None:
    with pytest.raises(ValueError, match="the motion is of"):
        _sum(torch.ones(3, 64, 64), _estimate((64, 64), torch.zeros(4, 2)))
    with pytest.raises(ValueError, match="80 to 400 kV"):
        correct_motion(
            torch.ones(2, 64, 64),
            _estimate((64, 64), torch.zeros(2, 2)),
            pixel_size_ang=1.0,
            dose_per_frame_e_per_ang2=1.0,
            voltage_kv=10.0,
        )


def _binned(movie_tyx: Tensor, estimate: MotionEstimate, binning: int, dose: float | None = None) -> CorrectedMovie:
    return correct_motion(
        movie_tyx,
        estimate,
        pixel_size_ang=0.7,
        dose_per_frame_e_per_ang2=dose,
        want_even_odd=True,
        binning=binning,
    )


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize(("binning", "shape_yx"), [(2, (150, 172)), (2, (157, 163)), (4, (153, 174))])
def test_binned_sums_show_the_texture_at_the_places_of_larger_pixels(
    local: bool, binning: int, shape_yx: tuple[int, int]
) -> None:
    """Larger pixel i lies where pixel binning·i does, exactly, whatever is left over at the far edge."""
    global_t2 = torch.tensor([[0.0, 0.0], [2.3, -1.2], [4.9, -2.5], [6.0, -4.4]])
    estimate = _estimate(shape_yx, global_t2, _local_field(shape_yx, 4) if local else None)
    result = _binned(_moving_texture(shape_yx, estimate), estimate, binning)
    height, width = (size // binning for size in shape_yx)
    assert result.even_yx is not None
    assert result.odd_yx is not None
    y = binning * torch.arange(height, dtype=torch.float64)[:, None]
    x = binning * torch.arange(width, dtype=torch.float64)[None, :]
    # What larger pixels cannot show is not there: of the five waves, those beyond their Nyquist frequency.
    expected_yx = 4 * _texture(y, x, highest=0.45 / binning).float()
    assert result.unweighted_yx.shape == expected_yx.shape
    margin = max(6, 16 // binning)
    inner = (slice(margin, -margin), slice(margin, -margin))
    # Of an amplitude of 4 a wave; mirrored edges ring more where a wave is close to the Nyquist frequency.
    assert float((result.unweighted_yx - expected_yx)[inner].square().mean().sqrt()) < (0.12 if binning == 2 else 0.5)
    torch.testing.assert_close(result.even_yx + result.odd_yx, result.unweighted_yx)


@pytest.mark.parametrize("local", [False, True])
def test_binned_sums_keep_level_and_whiteness_and_the_spectrum_its_bins(local: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    movie_tyx = torch.poisson(torch.full((20, 512, 512), 2.0), generator=generator).to(torch.uint8)
    shifts_t2 = torch.linspace(0, 3.7, 20)[:, None] * torch.tensor([1.0, -0.5])
    estimate = _estimate((512, 512), shifts_t2, _local_field((512, 512), 20) if local else None)
    result = _binned(movie_tyx, estimate, 2, dose=2.0)
    assert result.weighted_yx is not None
    for image_yx in (result.unweighted_yx, result.weighted_yx):
        assert image_yx.shape == (256, 256)
        assert float(image_yx.mean()) == pytest.approx(40.0, rel=2e-3)
        # The mean of four pixels, each of variance 40; white up to the new Nyquist frequency.
        assert float(image_yx.var()) == pytest.approx(10.0, rel=0.06)
    assert result.spectrum.pixel_size_ang == spectrum_pixel_ang(1.4)
    unbinned = _binned(movie_tyx, estimate, 1, dose=2.0).spectrum
    assert result.spectrum.pixel_size_ang == pytest.approx(unbinned.pixel_size_ang, rel=0.01)
    ratio = float(result.spectrum.spectrum_yx.mean() / unbinned.spectrum_yx.mean())
    assert ratio == pytest.approx(0.25, rel=0.05)


def test_a_binning_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="binned by one of"):
        _binned(torch.ones(2, 64, 64), _estimate((64, 64), torch.zeros(2, 2)), 3)


def test_an_image_binned_alone_keeps_its_first_pixel_and_its_level() -> None:
    y, x = torch.arange(90, dtype=torch.float64)[:, None], torch.arange(97, dtype=torch.float64)[None, :]
    image_yx = _texture(y, x, highest=0.2).float()
    found_yx = bin_image(image_yx, 2)
    assert found_yx.shape == (45, 48)
    inner = (slice(8, -8), slice(8, -8))
    torch.testing.assert_close(found_yx[inner], image_yx[::2, :96:2][inner], atol=0.1, rtol=0)
    assert bin_image(image_yx, 1) is image_yx


@pytest.mark.parametrize("width", [1031, 1056, 2100])
def test_any_width_is_cut_into_blocks_that_the_field_covers(width: int) -> None:
    shape_yx = (64, width)
    estimate = _estimate(shape_yx, torch.zeros(2, 2), _local_field(shape_yx, 2))
    result = _sum(torch.ones(2, *shape_yx), estimate)
    torch.testing.assert_close(result.unweighted_yx, torch.full(shape_yx, 2.0), atol=1e-2, rtol=0)
