"""How near motion estimates come to what the data allow: `python benchmarks/motion_accuracy.py [MOVIES] [SIZE]`.

Simulated movies of SIZE² (2048) × 24 frames of 1.5 counts per pixel at 1 Å, with drift, a local field, damage, gain and
hot pixels. Errors are time-centred 2-D RMS over frames and field in px, beside the Cramér–Rao bounds of free
whole-frame shifts and of a field of six spatial by four temporal terms; a smooth prior may beat either.
Times are of this process, with the threads torch was given. Where `relion_run_motioncorr` is on the PATH it does the
same movies on as many threads; its time is from file to written sums, ours of estimating and summing alone.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from daemon.exchange.relion.motion import read_motion
from daemon.formats.mrc_writer import write_mrc
from daemon.formats.star import StarBlock, StarValue, read_star, write_star
from daemon.numerics.bounds import local_field_bound_px, movie_shift_information, whole_frame_bound_px
from daemon.numerics.detector import find_defects, mean_frame
from daemon.numerics.motion import LocalField, correct_motion, estimate_motion
from daemon.numerics.simulation import MovieTruth, SimulatedOptics, simulate_movie
from daemon.numerics.simulation_detector import draw_gain

FRAMES, COUNTS_PER_PX, PIXEL_ANG = 24, 1.5, 1.0
GRID_NODES = 17


@dataclass(frozen=True)
class Outcome:
    """Errors and bounds of one movie in px; seconds spent on estimating and on summing."""

    error_px: float
    whole_frame_error_px: float
    worst_px: float
    expected_px: float
    whole_frame_bound_px: float
    field_bound_px: float
    estimate_s: float
    correct_s: float
    note: str


def field_error_px(global_t2: Tensor, local_tyx2: Tensor | None, truth: MovieTruth) -> tuple[float, float]:
    """Time-centred RMS over frames and field, and the worst point, px."""
    estimated = global_t2[:, None, None].expand(-1, GRID_NODES, GRID_NODES, 2)
    if local_tyx2 is not None:
        estimated = estimated + local_tyx2
    error = estimated - truth.motion.on_grid(GRID_NODES, GRID_NODES)
    error = (error - error.mean(dim=0)).norm(dim=-1)
    return float(error.square().mean().sqrt()), float(error.max())


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
        whole_frame_bound_px(information),
        local_field_bound_px(information, spatial_terms=6, time_terms=4),
        middle - start,
        end - middle,
        "" if found.fallback_reason is None else "  whole-frame only",
    )


@dataclass(frozen=True)
class Peer:
    """RELION's errors in px, with and without its local model, and its seconds, from file to written sums."""

    error_px: float
    whole_frame_error_px: float
    total_s: float


def measure_relion(movie_tyx: Tensor, truth: MovieTruth) -> Peer:
    """Let RELION's own implementation align and weight the same movie, 5×5 patches."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_mrc(folder / "movie.mrc", movie_tyx.numpy(), pixel_size_ang=PIXEL_ANG)
        write_mrc(folder / "gain.mrc", truth.detector.gain_yx.numpy(), pixel_size_ang=PIXEL_ANG)
        optics: dict[str, list[StarValue]] = {
            "rlnOpticsGroupName": ["opticsGroup1"],
            "rlnOpticsGroup": [1],
            "rlnMicrographOriginalPixelSize": [PIXEL_ANG],
            "rlnVoltage": [300.0],
            "rlnSphericalAberration": [2.7],
            "rlnAmplitudeContrast": [0.1],
        }
        movies: dict[str, list[StarValue]] = {"rlnMicrographMovieName": ["movie.mrc"], "rlnOpticsGroup": [1]}
        write_star(folder / "movies.star", [StarBlock("optics", optics), StarBlock("movies", movies)])
        dose, threads = f"{truth.dose_per_frame_e_per_ang2:.4f}", str(torch.get_num_threads())
        command = "relion_run_motioncorr --i movies.star --o MC/ --use_own --gainref gain.mrc --patch_x 5 --patch_y 5"
        start = time.perf_counter()
        done = subprocess.run(
            [*command.split(), "--bfactor", "150", "--dose_per_frame", dose, "--dose_weighting", "--j", threads],
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
        )
        total_s = time.perf_counter() - start
        star = folder / "MC" / "movie.star"
        if not star.exists():
            raise SystemExit(f"RELION wrote no {star.name}: {done.stdout[-500:]}{done.stderr[-500:]}")
        found = read_motion(read_star(star))
    local = None if found.local_tyx2 is None else LocalField(torch.from_numpy(found.local_tyx2), truth.motion.shape_yx)
    on_grid = None if local is None else local.on_grid(GRID_NODES, GRID_NODES)
    global_t2 = torch.from_numpy(found.global_t2)
    errors = [field_error_px(global_t2, local_tyx2, truth)[0] for local_tyx2 in (on_grid, None)]
    return Peer(errors[0], errors[1], total_s)


def main(count: int, size: int) -> None:
    """Simulate, estimate and print."""
    has_relion = shutil.which("relion_run_motioncorr") is not None
    print(f"{torch.get_num_threads()} threads; errors and bounds in px")
    print(
        " #  error (whole) worst expected   bound: whole field   ratio  estimate  sum"
        + ("  RELION (whole)    time" if has_relion else "")
    )
    outcomes, peers = [], []
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
        peer = ""
        if has_relion:
            peers.append(measure_relion(movie_tyx, movie.truth))
            peer = f"  {peers[-1].error_px:.3f} ({peers[-1].whole_frame_error_px:.3f}) {peers[-1].total_s:6.1f} s"
        print(
            f"{seed:2d} {one.error_px:6.3f} ({one.whole_frame_error_px:.3f}) {one.worst_px:5.2f} {one.expected_px:8.3f}"
            f"   {one.whole_frame_bound_px:11.3f} {one.field_bound_px:.3f} {one.error_px / one.field_bound_px:7.2f}"
            f" {one.estimate_s:7.1f} s {one.correct_s:4.1f} s{peer}{one.note}",
            flush=True,
        )
    ratios = torch.tensor([one.error_px / one.field_bound_px for one in outcomes])
    print(f"error / field bound: median {float(ratios.median()):.2f}, largest {float(ratios.max()):.2f}")
    if peers:
        pairs = list(zip(outcomes, peers, strict=True))
        errors = torch.tensor([peer.error_px / one.error_px for one, peer in pairs])
        times = torch.tensor([peer.total_s / (one.estimate_s + one.correct_s) for one, peer in pairs])
        print(f"RELION / Elcano, median: error {float(errors.median()):.2f}, time {float(times.median()):.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10, int(sys.argv[2]) if len(sys.argv) > 2 else 2048)
