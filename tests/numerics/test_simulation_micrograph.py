"""Movies made from one micrograph."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from daemon.numerics.simulation_detector import build_detector, seed_generator
from daemon.numerics.simulation_micrograph import MicrographMovie, micrograph_margin_px, relative_intensity
from daemon.numerics.simulation_motion import random_motion, whole_frame_motion

RNG = np.random.default_rng(1)


def _smooth_micrograph(shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    y, x = np.indices(shape, dtype=np.float64)
    image: npt.NDArray[np.float64] = 500 + 60 * np.sin(x / 7.0) + 40 * np.cos(y / 5.0 + x / 11.0)
    return image


def test_each_frame_is_the_micrograph_moved_by_d() -> None:
    motion = whole_frame_motion((64, 80), torch.tensor([[0.0, 0.0], [2.5, -1.25], [4.0, 3.0]]))
    margin = micrograph_margin_px(motion)
    image = _smooth_micrograph((64 + 2 * margin, 80 + 2 * margin))
    movie = MicrographMovie(relative_intensity(image), motion, build_detector((64, 80), seed_generator(1)), 2.0, 5)
    y, x = np.indices((64, 80)) + margin
    for frame, (dx, dy) in zip(movie.intensities(), motion.global_t2.tolist(), strict=True):
        expected = 500 + 60 * np.sin((x - dx) / 7.0) + 40 * np.cos((y - dy) / 5.0 + (x - dx) / 11.0)
        # The image does not wrap, so a trace of its edges rings inside.
        np.testing.assert_allclose(frame.numpy(), expected / image.mean(), atol=0.01)
    expected_mean = 2.0 * float(torch.stack(list(movie.intensities())).mean())
    assert float(movie.stack().to(torch.float64).mean()) == pytest.approx(expected_mean, rel=0.02)
    assert torch.equal(movie.stack(), movie.stack())


def test_local_motion_is_allowed_too() -> None:
    motion = random_motion((64, 80), 3, 2.0, seed_generator(2), drift_px=3.0, local_px=1.0)
    margin = micrograph_margin_px(motion)
    image = RNG.poisson(30.0, (64 + 2 * margin, 80 + 2 * margin))
    movie = MicrographMovie(relative_intensity(image), motion, build_detector((64, 80), seed_generator(1)), 1.0, 5)
    assert movie.stack().shape == (3, 64, 80)


def test_contrast_is_kept_or_scaled() -> None:
    counts = RNG.poisson(100.0, (128, 128))
    assert float(relative_intensity(counts).std()) == pytest.approx(0.1, rel=0.03)
    scaled = relative_intensity(counts - 100.0, contrast=0.05)
    assert float(scaled.mean()) == pytest.approx(1.0, abs=1e-5)
    assert float(scaled.std()) == pytest.approx(0.05, rel=1e-3)


def test_unusable_micrographs_are_refused() -> None:
    with pytest.raises(ValueError, match="positive mean"):
        relative_intensity(np.full((8, 8), -1.0))
    with pytest.raises(ValueError, match="constant"):
        relative_intensity(np.ones((8, 8)), contrast=0.1)
    with pytest.raises(ValueError, match="finite"):
        relative_intensity(np.full((8, 8), np.nan))
    motion = whole_frame_motion((64, 64), torch.zeros(2, 2))
    detector = build_detector((64, 64), seed_generator(1))
    with pytest.raises(ValueError, match="at least"):
        MicrographMovie(torch.ones(70, 70), motion, detector, 1.0, 1)
    with pytest.raises(ValueError, match="detector has"):
        MicrographMovie(torch.ones(100, 100), motion, build_detector((64, 65), seed_generator(1)), 1.0, 1)
