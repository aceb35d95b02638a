"""Stages that jump while a movie is taken: `python -m benchmarks.motion_jumps [--seeds N] [--size PX]`.

Simulated movies of SIZE² (768) pixels of 1.2 Å that drift by 4 px and jump, 36 e⁻/Å² in all. Right: every frame lies
within 2 px of the truth, time-centred. Silent is what must not happen: wrong without a doubt, so that the sum is
believed. In `another place` the second half shows other particles: no path is right.
"""

import argparse
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from daemon.numerics.motion import estimate_motion
from daemon.numerics.simulation import SimulatedOptics, simulate_movie
from daemon.numerics.simulation_motion import whole_frame_motion

PIXEL_ANG, TOTAL_DOSE = 1.2, 36.0
FRAMES = (5, 12, 24, 40)
RIGHT_PX = 2.0

Jump = Callable[[int, float, Tensor], Tensor]


def in_the_middle(frames: int, length_px: float, way_2: Tensor) -> Tensor:
    """All frames of the second half elsewhere."""
    return (torch.arange(frames) >= frames // 2).double()[:, None] * way_2 * length_px


def early(frames: int, length_px: float, way_2: Tensor) -> Tensor:
    """All frames but the first fifth elsewhere."""
    return (torch.arange(frames) >= max(1, frames // 5)).double()[:, None] * way_2 * length_px


def there_and_back(frames: int, length_px: float, way_2: Tensor) -> Tensor:
    """The middle third elsewhere."""
    time_t = torch.arange(frames)
    return ((time_t >= frames // 3) & (time_t < 2 * frames // 3)).double()[:, None] * way_2 * length_px


def to_and_fro(frames: int, length_px: float, way_2: Tensor) -> Tensor:
    """Every second frame elsewhere."""
    return (torch.arange(frames) % 2).double()[:, None] * way_2 * length_px


KINDS: dict[str, Jump] = {
    "in the middle": in_the_middle,
    "early": early,
    "there and back": there_and_back,
    "to and fro": to_and_fro,
}
LENGTHS_ANG = (29.0, 72.0, 160.0)


def drift(frames: int) -> Tensor:
    """A path (t, 2) px without jumps."""
    return torch.linspace(0, 4, frames, dtype=torch.float64)[:, None] * torch.tensor([1.0, 0.0], dtype=torch.float64)


def simulate(size: int, path_t2: Tensor, seed: int) -> Tensor:
    """A movie of counts along a path (t, 2) px."""
    frames = len(path_t2)
    optics = SimulatedOptics(PIXEL_ANG, 15_100, 14_900, 30)
    motion = whole_frame_motion((size, size), path_t2)
    generator = torch.Generator().manual_seed(seed)
    return simulate_movie((size, size), frames, optics, TOTAL_DOSE / frames, generator, motion=motion).stack()


@dataclass
class Tally:
    """Movies of one kind: how many were right, how many doubted, and those that were neither."""

    right: int = 0
    doubted: int = 0
    silent: list[str] = field(default_factory=list)

    def add(self, movie_tyx: Tensor, path_t2: Tensor) -> None:
        """Estimate one movie and judge the path found."""
        frames = len(path_t2)
        found = estimate_motion(movie_tyx, pixel_size_ang=PIXEL_ANG, dose_per_frame_e_per_ang2=TOTAL_DOSE / frames)
        error_t2 = found.global_t2 - path_t2
        error_px = float((error_t2 - error_t2.mean(dim=0)).norm(dim=1).amax())
        # Where nothing was aligned at all the reason is told instead of a doubt.
        is_doubted = found.doubt is not None or math.isinf(found.expected_error_px)
        self.right += error_px < RIGHT_PX
        self.doubted += is_doubted
        if error_px >= RIGHT_PX and not is_doubted:
            self.silent.append(f"{frames} frames, {error_px:.0f} px")

    def print(self, kind: str, length: str) -> None:
        """One row."""
        told = "; ".join(self.silent)
        print(f"{kind:>16} {length:>6} {self.right:6d} {self.doubted:8d} {len(self.silent):6d}  {told}", flush=True)


def main(seeds: int, size: int) -> None:
    """Simulate, estimate, print a row for each kind and length, and what was wrong without a doubt in all."""
    print(f"{seeds * len(FRAMES)} movies a row, of {', '.join(map(str, FRAMES))} frames")
    print(f"{'jump':>16} {'length':>6} {'right':>6} {'doubted':>8} {'silent':>6}")
    movies = list(itertools.product(range(seeds), FRAMES))
    tallies = []
    for kind, jump in KINDS.items():
        for length_ang in LENGTHS_ANG:
            tally = Tally()
            for seed, frames in movies:
                angle = 2.4 * seed + 0.6
                way_2 = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
                path_t2 = drift(frames) + jump(frames, length_ang / PIXEL_ANG, way_2)
                tally.add(simulate(size, path_t2, 11 + seed), path_t2)
            tally.print(kind, f"{length_ang:.0f} Å")
            tallies.append(tally)
    still, away = Tally(), Tally()
    for seed, frames in movies:
        path_t2 = drift(frames)
        still.add(simulate(size, path_t2, 11 + seed), path_t2)
        first, second = (simulate(size, path_t2, each + seed) for each in (11, 1011))
        # No path is right: one that is a jump's length off is neither right nor, without a doubt, told.
        half = frames // 2
        away.add(torch.cat([first[:half], second[half:]]), path_t2 + in_the_middle(frames, 1e3, torch.ones(2)))
    still.print("none", "")
    away.print("another place", "")
    count = len(tallies) * len(movies)
    print(f"silent: {sum(len(each.silent) for each in tallies)} of {count} movies that jumped, wrong without a doubt")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--size", type=int, default=768)
    arguments = parser.parse_args()
    main(arguments.seeds, arguments.size)
