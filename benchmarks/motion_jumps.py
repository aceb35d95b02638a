"""Stages that jump while a movie is taken: `python -m benchmarks.motion_jumps [--seeds N] [--size PX] [--dose D]`.

Simulated movies of SIZE² (768) pixels of 1.2 Å that drift by 4 px and jump, D (36) e⁻/Å² in all. Right: every frame
that is used lies within 2 px of the truth, time-centred; of more than 64 frames, which are averaged in groups, but
those of the group in which the jump falls. Silent is what must not happen: wrong without a doubt, so that the sum is
believed. Of movies without a jump none may be doubted, also where a sixth of the frames has 0.4 of the dose. In
`another place` the second half shows other particles: no path is right.
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

PIXEL_ANG, TOTAL_DOSE_E_PER_ANG2 = 1.2, 36.0
FRAMES = (2, 5, 12, 24, 40, 100)
MOST_FRAMES = 64
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


def simulate(size: int, path_t2: Tensor, dose_e_per_ang2: float, seed: int) -> Tensor:
    """A movie of counts along a path (t, 2) px."""
    frames = len(path_t2)
    optics = SimulatedOptics(PIXEL_ANG, 15_100, 14_900, 30)
    motion = whole_frame_motion((size, size), path_t2)
    generator = torch.Generator().manual_seed(seed)
    return simulate_movie((size, size), frames, optics, dose_e_per_ang2 / frames, generator, motion=motion).stack()


def dip(movie_tyx: Tensor, seed: int) -> Tensor:
    """The same movie with 0.4 of its counts in a sixth of its frames."""
    frames = len(movie_tyx)
    dipped_tyx = movie_tyx.clone()
    generator = torch.Generator().manual_seed(seed)
    for frame in range(frames // 3, frames // 2):
        counts_yx = movie_tyx[frame].float()
        kept_yx = torch.binomial(counts_yx, torch.full_like(counts_yx, 0.4), generator=generator)
        dipped_tyx[frame] = kept_yx.to(movie_tyx.dtype)
    return dipped_tyx


@dataclass
class Tally:
    """Movies of one kind: how many were right, how many doubted, and those that were neither."""

    dose_e_per_ang2: float
    right: int = 0
    doubted: int = 0
    silent: list[str] = field(default_factory=list)

    def add(self, movie_tyx: Tensor, path_t2: Tensor, jumps: bool = True) -> None:
        """Estimate one movie and judge the path found."""
        frames = len(path_t2)
        found = estimate_motion(
            movie_tyx, pixel_size_ang=PIXEL_ANG, dose_per_frame_e_per_ang2=self.dose_e_per_ang2 / frames
        )
        used = [frame for frame in range(frames) if frame not in found.unusable_frames]
        if frames > MOST_FRAMES and jumps:
            steps = path_t2.diff(dim=0).norm(dim=1)
            reach = -(-frames // MOST_FRAMES)
            torn = {int(at) + each for at in torch.nonzero(steps > RIGHT_PX) for each in range(1 - reach, 1 + reach)}
            used = [frame for frame in used if frame not in torn]
        error_t2 = (found.global_t2 - path_t2)[used]
        error_t = (error_t2 - error_t2.median(dim=0).values).norm(dim=1) if used else torch.full((1,), math.inf)
        # Where nothing was aligned at all the reason is told instead of a doubt.
        is_doubted = found.doubt is not None or math.isinf(found.expected_error_px)
        is_right = float(error_t.amax()) < RIGHT_PX
        self.right += is_right
        self.doubted += is_doubted
        if not is_right and not is_doubted:
            wrong = int((error_t >= RIGHT_PX).sum())
            self.silent.append(f"{wrong} of {frames} frames, {float(error_t.amax()):.0f} px")

    def print(self, kind: str, length: str) -> None:
        """One row."""
        told = "; ".join(self.silent)
        print(f"{kind:>16} {length:>6} {self.right:6d} {self.doubted:8d} {len(self.silent):6d}  {told}", flush=True)


def main(seeds: int, size: int, dose_e_per_ang2: float) -> None:
    """Simulate, estimate, print a row for each kind and length, and what was wrong without a doubt in all."""
    print(f"{seeds * len(FRAMES)} movies a row, of {', '.join(map(str, FRAMES))} frames, {dose_e_per_ang2:g} e⁻/Å²")
    print(f"{'jump':>16} {'length':>6} {'right':>6} {'doubted':>8} {'silent':>6}")
    movies = list(itertools.product(range(seeds), FRAMES))
    tallies = []
    for kind, jump in KINDS.items():
        for length_ang in LENGTHS_ANG:
            tally = Tally(dose_e_per_ang2)
            for seed, frames in movies:
                if kind == "to and fro" and frames > MOST_FRAMES:
                    continue  # nothing can be told of frames that are averaged
                angle = 2.4 * seed + 0.6
                way_2 = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
                path_t2 = drift(frames) + jump(frames, length_ang / PIXEL_ANG, way_2)
                tally.add(simulate(size, path_t2, dose_e_per_ang2, 11 + seed), path_t2)
            tally.print(kind, f"{length_ang:.0f} Å")
            tallies.append(tally)
    still, dipped, away = (Tally(dose_e_per_ang2) for _ in range(3))
    for seed, frames in movies:
        path_t2 = drift(frames)
        first, second = (simulate(size, path_t2, dose_e_per_ang2, each + seed) for each in (11, 1011))
        still.add(first, path_t2, jumps=False)
        dipped.add(dip(first, seed), path_t2, jumps=False)
        # No path is right: one that is a jump's length off is neither right nor, without a doubt, told.
        half = frames // 2
        away.add(torch.cat([first[:half], second[half:]]), path_t2 + in_the_middle(frames, 1e3, torch.ones(2)))
    still.print("none", "")
    dipped.print("none, beam dips", "")
    away.print("another place", "")
    silent, right = (sum(values) for values in zip(*((len(each.silent), each.right) for each in tallies), strict=True))
    print(f"movies that jumped: {right} right, {silent} wrong without a doubt")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--dose", type=float, default=TOTAL_DOSE_E_PER_ANG2)
    arguments = parser.parse_args()
    main(arguments.seeds, arguments.size, arguments.dose)
