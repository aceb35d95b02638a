"""The same movie on CPU and GPU: how far paths and sums lie apart, beside the tolerances that are stated."""

from collections.abc import Callable

import torch

from benchmarks.gpu_movies import draw_movie

SHIFT_TOLERANCE_PX = 0.02
SUM_TOLERANCE = 1e-3


def measure_agreement(device: torch.device, tell: Callable[[str], None], *, small: bool) -> bool:
    """Estimate and sum on both, the sums along one path; whether they agree."""
    try:
        from daemon.numerics.motion import correct_motion, estimate_motion  # scipy may be missing
    except ImportError as missing:
        tell(f"agreement: unproven, {missing}")
        return True
    side_px, frames = (384, 8) if small else (1024, 20)
    movie_tyx, _ = draw_movie((side_px, side_px), frames, torch.device("cpu"), seed=3)
    first = estimate_motion(movie_tyx, pixel_size_ang=1.0, dose_per_frame_e_per_ang2=1.0)
    second = estimate_motion(movie_tyx.to(device), pixel_size_ang=1.0, dose_per_frame_e_per_ang2=1.0)
    apart_px = float((first.global_t2.cpu() - second.global_t2.cpu()).norm(dim=1).max())
    sums = [
        correct_motion(there, first, pixel_size_ang=1.0, dose_per_frame_e_per_ang2=1.0).unweighted_yx.cpu().double()
        for there in (movie_tyx, movie_tyx.to(device))
    ]
    differ = float((sums[0] - sums[1]).square().mean().sqrt() / sums[0].std())
    again = estimate_motion(movie_tyx.to(device), pixel_size_ang=1.0, dose_per_frame_e_per_ang2=1.0)
    is_same = torch.equal(again.global_t2.cpu(), second.global_t2.cpu())
    tell(
        f"agreement: paths {apart_px:.5f} px apart (tolerance {SHIFT_TOLERANCE_PX}), sums along one path differ by "
        f"{differ:.1e} of their spread (tolerance {SUM_TOLERANCE:.0e}); the device gives the same path twice: {is_same}"
    )
    return apart_px <= SHIFT_TOLERANCE_PX and differ <= SUM_TOLERANCE
