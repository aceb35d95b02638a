"""Motion of simulated movies against their truth and its Cramér–Rao bound, and of movies that hold no motion at all."""

import math
from dataclasses import replace

import pytest
import torch

from daemon.numerics.bounds import local_field_bound_px, movie_shift_information, whole_frame_bound_px
from daemon.numerics.motion import MotionOptions, estimate_motion
from daemon.numerics.simulation import SimulatedOptics, simulate_movie
from daemon.numerics.simulation_motion import whole_frame_motion
from tests.numerics.motion_cases import MotionCase, simulate_case


@pytest.fixture(scope="module")
def drifting() -> MotionCase:
    """768² × 12 frames of 2 counts, drift only."""
    return simulate_case((768, 768), 12, 3, counts_per_px=2.0)


@pytest.fixture(scope="module")
def bending() -> MotionCase:
    """1024² × 16 frames of 2 counts, drift and a local field of up to 4 px that no quadratic polynomial follows."""
    return simulate_case((1024, 1024), 16, 1, counts_per_px=2.0, local_px=4.0)


def test_drift_is_found_to_within_its_bound(drifting: MotionCase) -> None:
    estimate = drifting.estimate()
    bound = whole_frame_bound_px(movie_shift_information(drifting.truth, drifting.truth.motion.shape_yx))
    error = drifting.error_px(estimate)
    # The bound (0.23 px) is for free shifts; a smooth path may beat it.
    assert error < 1.3 * bound
    assert 0.3 * estimate.expected_error_px < error < 2.5 * estimate.expected_error_px
    assert float(estimate.global_t2[0].abs().max()) == 0
    assert estimate.unusable_frames == ()
    assert estimate.fixed_pattern_share == 0


def test_a_local_field_is_found_to_within_its_bound(bending: MotionCase) -> None:
    estimate = bending.estimate()
    information = movie_shift_information(bending.truth, bending.truth.motion.shape_yx)
    bound = local_field_bound_px(information, spatial_terms=6, time_terms=4)
    assert estimate.local is not None
    assert estimate.fallback_reason is None
    error = bending.error_px(estimate)
    # Bound 0.30 px with six spatial and four temporal terms; whole-frame motion alone is 0.5 px off.
    assert error < 1.5 * bound
    assert error < 0.75 * bending.error_px(estimate, without_local=True)
    assert estimate.local.grid_tyx2.shape[1] >= 9
    assert float(estimate.local.grid_tyx2[0].abs().max()) < 1e-9
    y, x = torch.tensor([500.0]), torch.tensor([20.0])
    torch.testing.assert_close(estimate.at(3, y, x)[0], estimate.global_t2[3] + estimate.local.at(3, y, x)[0])


@pytest.mark.slow
def test_a_session_sized_movie_is_within_its_bound() -> None:
    case = simulate_case((2048, 2048), 24, 0, counts_per_px=1.5, pixel_size_ang=1.0, drift_px=9.0, local_px=1.7)
    information = movie_shift_information(case.truth, (2048, 2048))
    bound = local_field_bound_px(information, spatial_terms=6, time_terms=4)
    # Bound 0.19 px.
    assert case.error_px(case.estimate()) < 1.5 * bound


def test_a_local_field_is_not_imagined(drifting: MotionCase) -> None:
    estimate = drifting.estimate(options=MotionOptions(patches_yx=(3, 3)))
    assert estimate.local is None
    why = estimate.fallback_reason or ""
    assert why == "motion of single parts of the image is too weak to be measured: all of it was moved as one"


def test_an_unknown_gain_does_not_pin_the_alignment() -> None:
    case = simulate_case((896, 896), 16, 5, counts_per_px=2.0, pattern=0.08)
    flat_yx = torch.ones_like(case.gain_yx)
    estimate = case.estimate(gain_yx=flat_yx)
    bound = whole_frame_bound_px(movie_shift_information(case.truth, (896, 896)))
    assert estimate.fixed_pattern_share > 0.2
    # With the right gain the bound is 0.20 px; a pattern costs little beyond it.
    assert case.error_px(estimate) < 2 * bound
    assert case.estimate().fixed_pattern_share == 0


def test_the_same_movie_gives_the_same_numbers(bending: MotionCase) -> None:
    first, second = bending.estimate(), bending.estimate()
    assert torch.equal(first.global_t2, second.global_t2)
    assert first.local is not None
    assert second.local is not None
    assert torch.equal(first.local.grid_tyx2, second.local.grid_tyx2)


def test_the_number_of_threads_changes_nothing(bending: MotionCase) -> None:
    before, estimates = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            estimates.append(bending.estimate())
    finally:
        torch.set_num_threads(before)
    one, two = estimates
    assert torch.equal(one.global_t2, two.global_t2)
    assert one.local is not None
    assert two.local is not None
    assert torch.equal(one.local.grid_tyx2, two.local.grid_tyx2)
    assert one.expected_error_px == two.expected_error_px


def test_a_frame_that_jumps_is_followed(drifting: MotionCase) -> None:
    movie_tyx = drifting.movie_tyx.clone()
    movie_tyx[6] = movie_tyx[6].roll((-2, 3), dims=(0, 1))
    jumped_2 = drifting.estimate(movie_tyx).global_t2[6] - drifting.truth.motion.global_t2[6]
    assert float((jumped_2 - torch.tensor([3.0, -2.0])).norm()) < 1.2


def test_integer_types_agree(drifting: MotionCase) -> None:
    reference_t2 = drifting.estimate().global_t2
    for dtype in (torch.int16, torch.uint16, torch.float32):
        assert torch.equal(drifting.estimate(drifting.movie_tyx.to(dtype)).global_t2, reference_t2)


def test_odd_and_prime_sizes(drifting: MotionCase) -> None:
    cut = (slice(None), slice(0, 761), slice(3, 640))
    part = replace(
        drifting, movie_tyx=drifting.movie_tyx[cut].contiguous(), gain_yx=drifting.gain_yx[cut[1:]].contiguous()
    )
    assert drifting.error_px(part.estimate()) < 0.6


def test_bad_frames_are_left_out_and_bridged(drifting: MotionCase) -> None:
    movie_tyx = drifting.movie_tyx.clone()
    movie_tyx[4] = 255
    movie_tyx[8] = 0
    estimate = drifting.estimate(movie_tyx)
    assert estimate.unusable_frames == (4, 8)
    assert float(estimate.residual_t_px[[4, 8]].abs().max()) == 0
    assert drifting.error_px(estimate) < 0.6


def test_many_short_frames_are_seen_in_groups(drifting: MotionCase) -> None:
    options = MotionOptions(most_frames=8)
    estimate = drifting.estimate(options=options)
    assert estimate.frame_count == 12
    assert drifting.error_px(estimate) < 0.8


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("noise", "nothing to align"),
        ("zeros", "fewer than two"),
        ("constant", "fewer than two"),
        ("one frame", "one frame"),
    ],
)
def test_movies_without_anything_to_align_do_not_move(name: str, reason: str) -> None:
    generator = torch.Generator().manual_seed(7)
    movie_tyx = {
        "noise": torch.poisson(torch.ones(24, 300, 277), generator=generator).to(torch.uint8),
        "zeros": torch.zeros(6, 128, 128, dtype=torch.uint8),
        "constant": torch.full((6, 128, 128), 9, dtype=torch.uint16),
        "one frame": torch.poisson(torch.ones(1, 128, 128), generator=generator).to(torch.uint8),
    }[name]
    estimate = estimate_motion(movie_tyx, pixel_size_ang=1.0)
    assert reason in (estimate.fallback_reason or "")
    assert float(estimate.global_t2.abs().max()) == 0
    assert estimate.local is None
    assert not math.isnan(estimate.expected_error_px)


@pytest.mark.parametrize("frames", [2, 3, 6])
def test_few_frames_never_run_wild(drifting: MotionCase, frames: int) -> None:
    part = replace(drifting, movie_tyx=drifting.movie_tyx[:frames].contiguous())
    estimate = part.estimate()
    assert estimate.frame_count == frames
    truth_t2 = drifting.truth.motion.global_t2[:frames]
    assert float((estimate.global_t2 - truth_t2).norm(dim=1).max()) < 4


def test_ever_weaker_movies_fail_gracefully() -> None:
    errors = []
    for counts in (2.0, 0.7, 0.25):
        case = simulate_case((512, 512), 12, 9, counts_per_px=counts)
        errors.append(case.error_px(case.estimate()))
    still = math.sqrt(
        float((case.truth.motion.global_t2 - case.truth.motion.global_t2.mean(dim=0)).square().sum(1).mean())
    )
    assert errors[0] < 0.6
    assert max(errors) < 1.2 * still


def test_progress_counts_to_its_total(drifting: MotionCase) -> None:
    told: list[tuple[int, int]] = []
    estimate_motion(
        drifting.movie_tyx[:5], pixel_size_ang=1.2, on_progress=lambda done, total: told.append((done, total))
    )
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1]


def test_what_cannot_be_is_refused(drifting: MotionCase) -> None:
    with pytest.raises(ValueError, match="pixel_size_ang"):
        estimate_motion(drifting.movie_tyx, pixel_size_ang=0.0)
    with pytest.raises(ValueError, match="64×64"):
        estimate_motion(torch.zeros(3, 32, 32), pixel_size_ang=1.0)
    with pytest.raises(ValueError, match="gain"):
        estimate_motion(drifting.movie_tyx, pixel_size_ang=1.0, gain_yx=torch.ones(5, 5))
    with pytest.raises(ValueError, match="finite"):
        estimate_motion(torch.full((3, 64, 64), float("nan")), pixel_size_ang=1.0)
    with pytest.raises(ValueError, match="patches_yx"):
        MotionOptions(patches_yx=(1, 4))
    with pytest.raises(ValueError, match="resolution_limit_ang"):
        MotionOptions(resolution_limit_ang=0.0)


def _simulate_drifting(path_t2: torch.Tensor, dose: float, seed: int = 3) -> torch.Tensor:
    """512² pixels of 1.2 Å along a path."""
    shape_yx, optics = (512, 512), SimulatedOptics(1.2, 15100, 14900, 30)
    motion = whole_frame_motion(shape_yx, path_t2)
    generator = torch.Generator().manual_seed(seed)
    return simulate_movie(shape_yx, len(path_t2), optics, dose, generator, motion=motion).stack(torch.uint8)


def _drift(frames: int) -> torch.Tensor:
    path_t2 = torch.zeros(frames, 2, dtype=torch.float64)
    path_t2[:, 0] = torch.linspace(0, 4, frames)
    return path_t2


@pytest.mark.parametrize(
    ("frames", "dose", "jump_px"),
    [
        (24, 1.5, (25.0, 10.0)),
        (24, 1.5, (40.0, -30.0)),
        (5, 6.0, (30.0, 20.0)),
        (2, 15.0, (30.0, 20.0)),
        (12, 3.0, (-70.0, 90.0)),
    ],
)
@pytest.mark.parametrize("elsewhere", ["second half", "every second"])
def test_frames_that_lie_elsewhere_are_followed(
    frames: int, dose: float, jump_px: tuple[float, float], elsewhere: str
) -> None:
    """Either half is aligned by itself, and half the others lie where a frame does: no single frame shows it."""
    path_t2, frame_t = _drift(frames), torch.arange(frames)
    jumped = frame_t >= frames // 2 if elsewhere == "second half" else frame_t % 2 == 1
    path_t2[jumped] += torch.tensor(jump_px, dtype=torch.float64)
    found = estimate_motion(_simulate_drifting(path_t2, dose), pixel_size_ang=1.2, dose_per_frame_e_per_ang2=dose)
    error_t2 = found.global_t2 - path_t2
    assert float((error_t2 - error_t2.mean(dim=0)).norm(dim=1).max()) < 2.0
    assert found.doubt is None


def test_steady_drift_however_fast_is_followed() -> None:
    """No two frames lie within a search of one another."""
    frames, dose = 12, 3.0
    path_t2 = torch.linspace(0, 110, frames, dtype=torch.float64)[:, None] * torch.tensor([0.8, -0.6])
    found = estimate_motion(_simulate_drifting(path_t2, dose), pixel_size_ang=1.2, dose_per_frame_e_per_ang2=dose)
    error_t2 = found.global_t2 - path_t2
    assert float((error_t2 - error_t2.mean(dim=0)).norm(dim=1).max()) < 2.0
    assert found.doubt is None


def test_a_jump_between_averaged_frames_is_a_step() -> None:
    """100 frames are seen in 64 groups; nothing of the jump is left in the frames about it."""
    path_t2 = _drift(100)
    path_t2[50:] += torch.tensor([50.0, -35.0], dtype=torch.float64)
    found = estimate_motion(_simulate_drifting(path_t2, 0.4), pixel_size_ang=1.2, dose_per_frame_e_per_ang2=0.4)
    error_t = (found.global_t2 - path_t2 - (found.global_t2 - path_t2).median(dim=0).values).norm(dim=1)
    assert float(error_t[[*range(49), *range(51, 100)]].max()) < 2.0


def test_a_frame_that_shows_another_specimen_is_left_out() -> None:
    path_t2 = _drift(24)
    movie_tyx = _simulate_drifting(path_t2, 1.5)
    movie_tyx[7] = _simulate_drifting(path_t2, 1.5, seed=4)[7]
    found = estimate_motion(movie_tyx, pixel_size_ang=1.2, dose_per_frame_e_per_ang2=1.5)
    assert found.unusable_frames == (7,)
    assert found.doubt is None
    error_t2 = found.global_t2 - path_t2
    assert float((error_t2 - error_t2.mean(dim=0)).norm(dim=1).max()) < 2.0


def test_frames_that_show_another_specimen_are_a_doubt() -> None:
    path_t2 = _drift(24)
    first, second = (_simulate_drifting(path_t2, 1.5, seed) for seed in (3, 4))
    found = estimate_motion(torch.cat([first[:14], second[14:]]), pixel_size_ang=1.2, dose_per_frame_e_per_ang2=1.5)
    assert found.doubt is not None
    assert found.doubt.startswith("42 % of the frames")
