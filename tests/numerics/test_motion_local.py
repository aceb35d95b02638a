"""What a local field is believed by: patches that it has not seen."""

import torch

from daemon.numerics.detector import FrameCorrection, find_defects, mean_frame
from daemon.numerics.motion_local import LocalFit, fit_local_field
from daemon.numerics.motion_patches import cut_patches, group_by_exposure
from daemon.numerics.motion_reduction import group_frames, reduce_movie
from tests.numerics.motion_cases import simulate_case

SHAPE_YX, FRAMES = (768, 768), 10
LOWEST, HIGHEST = 1.2 / 100, 1.2 / 6


def fit_from(spoiled_px: float, local_px: float) -> LocalFit:
    """Fit patches of a movie that drifts, from a whole-frame path that is wrong in its middle frames."""
    case = simulate_case(SHAPE_YX, FRAMES, 5, counts_per_px=4.0, local_px=local_px)
    defects_yx = find_defects(mean_frame(case.movie_tyx), frames=FRAMES, gain_yx=case.gain_yx)
    reduced = reduce_movie(
        case.movie_tyx,
        FrameCorrection(SHAPE_YX, case.gain_yx, defects_yx),
        highest_frequency_per_px=HIGHEST,
        groups=group_frames(FRAMES, 64),
        on_group=lambda _: None,
    )
    frame = torch.arange(FRAMES, dtype=torch.float64)
    bump_t2 = torch.sin(frame / (FRAMES - 1) * torch.pi)[:, None] * torch.tensor([spoiled_px, -spoiled_px])
    path_t2 = case.truth.motion.on_grid(9, 9).mean(dim=(1, 2)) + bump_t2
    groups = group_by_exposure((frame + 0.5) * case.dose_per_frame_e_per_ang2, alone=True)
    patches = cut_patches(reduced, path_t2, groups, (4, 4), lowest=LOWEST, image_shape_yx=SHAPE_YX)
    return fit_local_field(
        patches,
        path_t2 - path_t2.mean(dim=0),
        0.0,
        groups.exposure_g,
        torch.zeros(1, 2, dtype=torch.float64),
        lowest=LOWEST,
        highest_levels=(HIGHEST,),
        iterations=8,
    )


def test_a_better_path_is_no_gain_of_the_field() -> None:
    """All patches refit the path, unseen ones among them: what that brings says nothing of local motion."""
    spoiled = fit_from(spoiled_px=0.7, local_px=0.0)
    assert spoiled.path_variance_t is not None
    # The refitted path alone is worth 24; a field of the little amplitude that the data allow makes up a part of it.
    assert spoiled.held_out_gain < 4


def test_a_field_gains_where_it_was_not_fitted() -> None:
    assert fit_from(spoiled_px=0.0, local_px=8.0).held_out_gain > 50


def test_frames_are_grouped_by_how_fast_motion_goes() -> None:
    exposure_t = (torch.arange(40, dtype=torch.float64) + 0.5) * 1.4
    groups = group_by_exposure(exposure_t)
    sizes = [len(each) for each in groups.members]
    assert [frame for each in groups.members for frame in each] == list(range(40))
    assert sizes[:3] == [1] * 3
    assert len(sizes) < 24
    assert max(sizes) == max(sizes[-2:]) > 2
    torch.testing.assert_close(groups.exposure_g, groups.mean(exposure_t))
    assert groups.spread(groups.exposure_g).shape == exposure_t.shape
    assert [len(each) for each in group_by_exposure(exposure_t, alone=True).members] == [1] * 40
