"""Movies of a specimen that stands still, and of one that moves behind a pattern that does."""

import math

import pytest
import torch

from daemon.numerics import motion_whole
from daemon.numerics.motion import MotionEstimate, MotionOptions, estimate_motion
from daemon.numerics.simulation import SimulatedOptics, simulate_movie
from daemon.numerics.simulation_detector import seed_generator
from daemon.numerics.simulation_motion import still
from tests.numerics.motion_cases import MotionCase, simulate_case

_WHOLE_FRAME = MotionOptions(local=False)


def _moved_px(estimate: MotionEstimate) -> float:
    path_t2 = estimate.global_t2 - estimate.global_t2.mean(dim=0)
    return math.sqrt(float(path_t2.square().sum(dim=1).mean()))


@pytest.mark.parametrize(
    ("frames", "dose_per_frame", "seed"),
    [(2, 10.0, 1), (3, 10.0, 1), (3, 10.0, 2), (3, 3.0, 1), (6, 5.0, 2), (12, 3.0, 2), (24, 1.5, 1), (40, 1.0, 1)],
)
def test_a_specimen_that_stands_still_is_not_moved(frames: int, dose_per_frame: float, seed: int) -> None:
    shape_yx, optics = (512, 576), SimulatedOptics(1.5, 16000.0, 14000.0, 35.0, envelope_b_ang2=60.0)
    movie = simulate_movie(
        shape_yx, frames, optics, dose_per_frame, seed_generator(seed), motion=still(shape_yx, frames)
    )
    found = estimate_motion(
        movie.stack(), pixel_size_ang=1.5, dose_per_frame_e_per_ang2=dose_per_frame, options=_WHOLE_FRAME
    )
    assert found.fixed_pattern_share == 0
    assert _moved_px(found) < 0.2
    assert _moved_px(found) < 2 * found.expected_error_px


@pytest.fixture(scope="module")
def uncorrected() -> MotionCase:
    """512² × 16 frames of 2 counts that drift 8 px; the gain varies by 15 % from pixel to pixel."""
    return simulate_case((512, 512), 16, 5, counts_per_px=2.0, pattern=0.15)


@pytest.mark.parametrize("frames", [8, 16])
def test_what_moves_behind_a_pattern_is_found(uncorrected: MotionCase, frames: int) -> None:
    flat_yx = torch.ones_like(uncorrected.gain_yx)
    found = uncorrected.estimate(uncorrected.movie_tyx[:frames], gain_yx=flat_yx, options=_WHOLE_FRAME)
    truth_t2 = uncorrected.truth.motion.global_t2[:frames]
    error_t2 = found.global_t2 - truth_t2
    assert found.fixed_pattern_share > 0.2
    assert float((error_t2 - error_t2.mean(dim=0)).square().sum(dim=1).mean().sqrt()) < 0.6
    assert found.doubt is None


def test_few_frames_behind_a_pattern_do_not_run_away(uncorrected: MotionCase) -> None:
    """Of three frames with a pattern the best path once was 13 px off."""
    flat_yx = torch.ones_like(uncorrected.gain_yx)
    found = uncorrected.estimate(uncorrected.movie_tyx[:3], gain_yx=flat_yx, options=_WHOLE_FRAME)
    assert _moved_px(found) < 1


def test_a_motion_that_only_a_pattern_explains_is_a_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    case = simulate_case((512, 512), 16, 5, counts_per_px=2.0, pattern=0.3)
    flat_yx = torch.ones_like(case.gain_yx)
    held = case.estimate(gain_yx=flat_yx, options=_WHOLE_FRAME)
    assert held.fixed_pattern_share == 0
    assert "can't be told" in (held.doubt or "")
    monkeypatch.setattr(motion_whole, "_HELD_STRICTER", 1.0)
    monkeypatch.setattr(motion_whole, "_CHANGING_SHARE", 0.0)
    moved = case.estimate(gain_yx=flat_yx, options=_WHOLE_FRAME)
    assert moved.fixed_pattern_share > 0.2
    assert "seem to stand still" in (moved.doubt or "")
