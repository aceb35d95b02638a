"""Defects found from a movie's own mean, and frames corrected for them."""

import pytest
import torch

from daemon.numerics.detector import FrameCorrection, find_defects, mean_frame


def _poisson_mean(rate_yx: torch.Tensor, frames: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.poisson(rate_yx * frames, generator=generator) / frames


def _particles(size: int) -> torch.Tensor:
    """Expected counts with dark particles of 20 px and a bright, sharp-edged hole."""
    y, x = torch.arange(size)[:, None], torch.arange(size)[None, :]
    rate_yx = torch.ones(size, size)
    for centre in range(40, size - 40, 70):
        rate_yx -= 0.25 * torch.exp(-((y - centre) ** 2 + (x - centre) ** 2) / (2 * 10.0**2))
    return torch.where((y - size // 2) ** 2 + (x - size // 4) ** 2 < 60**2, 4 * rate_yx, rate_yx)


def test_mean_of_integers_is_exact_for_every_type() -> None:
    frames_tyx = torch.randint(0, 200, (7, 9, 11), generator=torch.Generator().manual_seed(1))
    expected_yx = frames_tyx.double().mean(dim=0).float()
    for dtype in (torch.uint8, torch.int16, torch.uint16, torch.int32, torch.float32):
        torch.testing.assert_close(mean_frame(frames_tyx.to(dtype)), expected_yx)


@pytest.mark.parametrize(("rate", "frames"), [(0.3, 6), (1.0, 24), (1.5, 40), (20.0, 40)])
def test_clean_counts_have_no_defects_at_any_dose(rate: float, frames: int) -> None:
    mean_yx = _poisson_mean(rate * _particles(768), frames)
    assert int(find_defects(mean_yx, frames=frames).sum()) == 0


@pytest.mark.parametrize("frames", [6, 24])
def test_hot_and_dead_pixels_are_found_among_particles(frames: int) -> None:
    rate_yx = 3.0 * _particles(512)
    hot = [(50, 60), (200, 301), (200, 302), (0, 0), (511, 7), (256, 128)]
    dead = [(100, 100), (400, 33)]
    for y, x in hot:
        rate_yx[y, x] *= 20
    for y, x in dead:
        rate_yx[y, x] = 0
    defects_yx = find_defects(_poisson_mean(rate_yx, frames), frames=frames)
    found = {(int(y), int(x)) for y, x in torch.nonzero(defects_yx)}
    expected = set(hot) | (set(dead) if frames == 24 else set())
    # 18 counts on average: some six-frame movies can't tell a dead pixel from an unlucky one.
    assert expected <= found <= set(hot) | set(dead)


def test_double_columns_are_found() -> None:
    rate_yx = torch.full((300, 300), 2.0)
    rate_yx[:, 150:152] *= 3
    defects_yx = find_defects(_poisson_mean(rate_yx, 40), frames=40)
    assert bool(defects_yx[:, 150:152].float().mean() > 0.99)
    assert int(defects_yx.sum()) <= 600


def test_gain_zeros_are_defects_and_insensitive_pixels_are_not() -> None:
    gain_yx = torch.ones(256, 256)
    gain_yx[10, 20] = 0.0
    gain_yx[30, 40] = 4.0
    rate_yx = 5.0 / gain_yx.clamp_min(1e-3)
    rate_yx[10, 20] = 5.0
    mean_yx = _poisson_mean(rate_yx, 40)
    with_gain = find_defects(mean_yx, frames=40, gain_yx=gain_yx)
    assert [tuple(each) for each in torch.nonzero(with_gain).tolist()] == [(10, 20)]
    without = find_defects(mean_yx, frames=40)
    assert bool(without[30, 40])


def test_constant_blank_and_non_finite_means() -> None:
    assert int(find_defects(torch.zeros(64, 64), frames=5).sum()) == 0
    assert int(find_defects(torch.full((64, 64), 7.0), frames=5).sum()) == 0
    mean_yx = torch.ones(64, 64)
    mean_yx[3, 4] = float("nan")
    assert [tuple(each) for each in torch.nonzero(find_defects(mean_yx, frames=5)).tolist()] == [(3, 4)]


def test_defects_take_the_mean_of_their_good_neighbours() -> None:
    raw_yx = torch.arange(25, dtype=torch.uint8).view(5, 5)
    defects_yx = torch.zeros(5, 5, dtype=torch.bool)
    defects_yx[2, 2] = defects_yx[2, 3] = True
    corrected_yx = FrameCorrection((5, 5), None, defects_yx).apply(raw_yx)
    assert float(corrected_yx[2, 2]) == pytest.approx((6 + 7 + 8 + 11 + 16 + 17 + 18) / 7)
    corrected_yx[2, 2], corrected_yx[2, 3] = 12, 13
    torch.testing.assert_close(corrected_yx, raw_yx.float())


def test_wide_holes_and_wholly_defective_frames_stay_finite() -> None:
    raw_yx = torch.full((128, 128), 3, dtype=torch.uint16)
    defects_yx = torch.zeros(128, 128, dtype=torch.bool)
    defects_yx[20:100, 20:100] = True
    torch.testing.assert_close(FrameCorrection((128, 128), None, defects_yx).apply(raw_yx), torch.full((128, 128), 3.0))
    assert not FrameCorrection((128, 128), None, torch.ones(128, 128, dtype=torch.bool)).apply(raw_yx).any()


def test_gain_multiplies_and_the_raw_frame_is_left_alone() -> None:
    raw_yx = torch.full((8, 8), 5.0)
    gain_yx = torch.rand(8, 8, generator=torch.Generator().manual_seed(2)) + 0.5
    correction = FrameCorrection((8, 8), gain_yx, None)
    torch.testing.assert_close(correction.apply(raw_yx), 5 * gain_yx)
    assert bool((raw_yx == 5).all())


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="gain"):
        FrameCorrection((8, 8), torch.ones(8, 9), None)
    with pytest.raises(ValueError, match="the frame has shape"):
        FrameCorrection((8, 8), None, None).apply(torch.ones(9, 8))
    with pytest.raises(ValueError, match="gain"):
        find_defects(torch.ones(8, 8), frames=1, gain_yx=torch.ones(4, 4))
    with pytest.raises(ValueError, match="at least one frame"):
        find_defects(torch.ones(8, 8), frames=0)
    with pytest.raises(ValueError, match="axes"):
        mean_frame(torch.ones(8, 8))


def test_known_defects_are_added_and_do_not_spoil_the_search() -> None:
    known_yx = torch.zeros(64, 64, dtype=torch.bool)
    known_yx[10:14] = True
    mean_yx = _poisson_mean(torch.full((64, 64), 2.0), 40)
    mean_yx[10:14] = 200.0
    assert torch.equal(find_defects(mean_yx, frames=40, known_yx=known_yx), known_yx)
    with pytest.raises(ValueError, match="known defects"):
        find_defects(mean_yx, frames=40, known_yx=known_yx[:8])


def test_the_dark_is_subtracted_before_the_gain() -> None:
    dark_yx = torch.arange(64, dtype=torch.float32).reshape(8, 8)
    gain_yx = torch.full((8, 8), 2.0)
    raw_yx = (dark_yx + 3).to(torch.uint8)
    corrected_yx = FrameCorrection((8, 8), gain_yx, None, dark_yx).apply(raw_yx)
    torch.testing.assert_close(corrected_yx, torch.full((8, 8), 6.0))
    with pytest.raises(ValueError, match="the dark has shape"):
        FrameCorrection((8, 8), None, None, torch.ones(8, 9))
