"""How near motion estimates come to what the data allow: `python -m benchmarks.motion_accuracy [MOVIES] [SIZE]`.

Simulated movies of SIZE² (2048) × 24 frames of 1.5 counts per pixel at 1 Å, with drift, a local field, damage, gain and
hot pixels. Errors are time-centred 2-D RMS over frames and field in px, beside the Cramér–Rao bounds of free
whole-frame shifts and of a field of six spatial by four temporal terms; a smooth prior may beat either.
Times are of this process, of estimating and summing alone, with the threads torch was given. Peers, files and memory:
`benchmarks.motion_ctf`.
"""

import sys
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.motion.judgement import GRID_NODES, Bounds
from benchmarks.motion.judgement import field_error_px as grid_error_px
from daemon.numerics.bounds import movie_shift_information
from daemon.numerics.detector import find_defects, mean_frame
from daemon.numerics.motion import correct_motion, estimate_motion
from daemon.numerics.simulation import MovieTruth, SimulatedOptics, simulate_movie
from daemon.numerics.simulation_detector import draw_gain

FRAMES, COUNTS_PER_PX, PIXEL_ANG = 24, 1.5, 1.0


@dataclass(frozen=True)
class Outcome:
    """Errors and bounds of one movie in px; seconds spent on estimating and on summing."""

    error_px: float
    whole_frame_error_px: float
    worst_px: float
    expected_px: float
    bounds: Bounds
    estimate_s: float
    correct_s: float
    note: str


def field_error_px(global_t2: Tensor, local_tyx2: Tensor | None, truth: MovieTruth) -> tuple[float, float]:
    """Time-centred RMS over frames and field, and the worst point, px."""
    estimated = global_t2[:, None, None].expand(-1, GRID_NODES, GRID_NODES, 2)
    if local_tyx2 is not None:
        estimated = estimated + local_tyx2
    return grid_error_px(estimated, truth.motion.on_grid(GRID_NODES, GRID_NODES))


def measure(movie_tyx: Tensor, truth: MovieTruth) -> Outcome:
    """Estimate and sum one movie."""
    gain_yx, dose = truth.detector.gain_yx, truth.dose_per_frame_e_per_ang2
    start = time.perf_counter()
    defects_yx = find_defects(mean_frame(movie_tyx), frames=FRAMES, gain_yx=gain_yx)
    found = estimate_motion(
        movie_tyx,
        pixel_size_ang=PIXEL_ANG,
        gain_yx=gain_yx,
        defects_yx=defects_yx,
        dose_per_frame_e_per_ang2=dose,
    )
    middle = time.perf_counter()
    correct_motion(
        movie_tyx,
        found,
        pixel_size_ang=PIXEL_ANG,
        gain_yx=gain_yx,
        defects_yx=defects_yx,
        dose_per_frame_e_per_ang2=dose,
    )
    end = time.perf_counter()
    information = movie_shift_information(truth, truth.motion.shape_yx)
    local = None if found.local is None else found.local.on_grid(GRID_NODES, GRID_NODES)
    error, worst = field_error_px(found.global_t2, local, truth)
    return Outcome(
        error,
        field_error_px(found.global_t2, None, truth)[0],
        worst,
        found.expected_error_px,
        Bounds.of(information),
        middle - start,
        end - middle,
        "" if found.fallback_reason is None else "  whole-frame only",
    )


def main(count: int, size: int) -> None:
    """Simulate, estimate and print."""
    print(f"{torch.get_num_threads()} threads; errors and bounds in px")
    print(" #  error (whole) worst expected   bound: whole field   ratio  estimate  sum")
    outcomes = []
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        optics = SimulatedOptics(PIXEL_ANG, 12_000.0, 11_500.0, astigmatism_angle_deg=30.0)
        gain_yx = draw_gain((size, size), generator)
        movie = simulate_movie(
            (size, size), FRAMES, optics, COUNTS_PER_PX / PIXEL_ANG**2, generator, gain_yx=gain_yx, hot_pixels=50
        )
        movie_tyx = movie.stack()
        one = measure(movie_tyx, movie.truth)
        outcomes.append(one)
        print(
            f"{seed:2d} {one.error_px:6.3f} ({one.whole_frame_error_px:.3f}) {one.worst_px:5.2f} {one.expected_px:8.3f}"
            f"   {one.bounds.whole_frame_px:11.3f} {one.bounds.field_px:.3f} {one.error_px / one.bounds.field_px:7.2f}"
            f" {one.estimate_s:7.1f} s {one.correct_s:4.1f} s{one.note}",
            flush=True,
        )
    ratios = torch.tensor([one.error_px / one.bounds.field_px for one in outcomes])
    print(f"error / field bound: median {float(ratios.median()):.2f}, largest {float(ratios.max()):.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10, int(sys.argv[2]) if len(sys.argv) > 2 else 2048)
