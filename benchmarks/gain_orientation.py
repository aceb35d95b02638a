"""How often the orientation of a gain is found, left open or mistaken: `python benchmarks/gain_orientation.py`.

Simulated sums of raw frames: a gain of ± 4 % (waves, columns, pixels) with hot and dead pixels, a grainy specimen, a
hole and an uneven beam, in each of the eight orientations, multiplying and dividing. Beside it the plain correlation
of counts and gain, which takes the largest of sixteen coefficients and cannot be silent. The last rows have no right
answer: a gain with a symmetry, one of another camera, and movies that the camera has corrected already.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter

from daemon.numerics.gain_orientation import gain_pattern, weigh_orientations
from daemon.numerics.simulation_detector import build_detector, draw_counts, draw_gain, seed_generator

Image: TypeAlias = npt.NDArray[Any]
Answer: TypeAlias = tuple[str, bool] | None
Judge: TypeAlias = Callable[[Image, Image], Answer]

TURNS: Mapping[str, Callable[[Image], Image]] = {
    "as is": lambda image: image,
    "turned 90°": lambda image: np.rot90(image, -1),
    "turned 180°": lambda image: np.rot90(image, 2),
    "turned 270°": lambda image: np.rot90(image, 1),
    "mirrored": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1],
    "transposed": lambda image: image.T,
    "transposed back": lambda image: np.rot90(image, 2).T,
}
UNDOING = {"turned 90°": "turned 270°", "turned 270°": "turned 90°"}


def judge_ours(counts_yx: Image, stored_yx: Image) -> Answer:
    """Answer as Elcano does."""
    pattern_yx = gain_pattern(stored_yx)
    evidence = weigh_orientations(counts_yx, {name: turn(pattern_yx) for name, turn in TURNS.items()})
    return None if evidence.doubt is not None else (evidence.best, evidence.divides)


def judge_plain(counts_yx: Image, stored_yx: Image) -> Answer:
    """Answer with the largest coefficient of correlation."""
    counts = counts_yx.ravel() - counts_yx.mean()
    found = {name: float(counts @ (turn(stored_yx).ravel() - stored_yx.mean())) for name, turn in TURNS.items()}
    name = max(found, key=lambda key: abs(found[key]))
    return name, found[name] > 0


def draw_case(seed: int, size_px: int, counts_per_px: float) -> tuple[Image, Image]:
    """Return the gain that fits the frames and the sum of raw frames."""
    generator = seed_generator(seed)
    shape_yx = (size_px, size_px)
    bad = size_px * size_px // 20000
    camera = build_detector(
        shape_yx, generator, gain_yx=draw_gain(shape_yx, generator), hot_pixels=bad, dead_pixels=bad
    )
    return camera.gain_yx.numpy(), expose(camera.response_yx, generator, counts_per_px)


def expose(response_yx: torch.Tensor, generator: torch.Generator, counts_per_px: float) -> Image:
    """Return counts of a grainy specimen with a hole under an uneven beam."""
    shape_yx = (int(response_yx.shape[0]), int(response_yx.shape[1]))
    grain_yx = gaussian_filter(torch.randn(shape_yx, generator=generator).numpy(), 3.0)
    y, x = np.mgrid[: shape_yx[0], : shape_yx[1]] / max(shape_yx)
    centre_y, centre_x = torch.rand(2, generator=generator).tolist()
    beam_yx = 1 + 0.3 * x + 0.1 * grain_yx / grain_yx.std()
    beam_yx[(y - centre_y) ** 2 + (x - centre_x) ** 2 < 0.15**2] = 1.6
    mean_yx = torch.from_numpy(beam_yx.clip(0.05).astype(np.float32)) * response_yx * counts_per_px
    counts_yx: Image = draw_counts(mean_yx, generator, torch.int16).numpy().astype(np.float32)
    return counts_yx


def tally(judge: Judge, cases: list[tuple[Image, Image, Answer]]) -> str:
    """Count right, open and wrong answers."""
    outcome: Counter[Literal["right", "open", "wrong"]] = Counter()
    for counts_yx, stored_yx, truth in cases:
        answer = judge(counts_yx, stored_yx)
        is_right = answer == truth
        outcome["right" if is_right and answer is not None else "open" if answer is None else "wrong"] += 1
    return f"{outcome['right']:4d} right {outcome['open']:4d} open {outcome['wrong']:4d} wrong"


def show(name: str, cases: list[tuple[Image, Image, Answer]]) -> None:
    """Print one row."""
    print(f"{name:34s} ours {tally(judge_ours, cases)}   plain {tally(judge_plain, cases)}", flush=True)


def measure_orientations(seeds: int, size_px: int, counts_per_px: float) -> None:
    """Every orientation and operation, all seeds."""
    print(f"\n{size_px}² px, {counts_per_px:g} counts a pixel in all")
    drawn = [draw_case(seed, size_px, counts_per_px) for seed in range(seeds)]
    for name in TURNS:
        for divides in (False, True):
            cases: list[tuple[Image, Image, Answer]] = []
            for gain_yx, counts_yx in drawn:
                stored_yx = TURNS[UNDOING.get(name, name)](gain_yx)
                if divides:
                    stored_yx = np.divide(1, stored_yx, out=np.zeros_like(stored_yx), where=stored_yx > 0)
                cases.append((counts_yx, stored_yx, (name, divides)))
            show(f"{name}, {'divides' if divides else 'multiplies'}", cases)


def measure_undecidable(seeds: int, size_px: int, counts_per_px: float) -> None:
    """Cases without a right answer: every answer is a guess."""
    drawn = [draw_case(seed, size_px, counts_per_px) for seed in range(seeds)]
    symmetric: list[tuple[Image, Image, Answer]] = []
    for seed, (gain_yx, _) in enumerate(drawn):
        even_yx = (gain_yx + gain_yx[:, ::-1]) / 2
        response_yx = torch.from_numpy(np.divide(1, even_yx, out=np.zeros_like(even_yx), where=even_yx > 0))
        symmetric.append((expose(response_yx, seed_generator(seed + 7), counts_per_px), even_yx, None))
    show("a gain with a mirror plane", symmetric)
    show("the gain of another camera", [(drawn[i][1], drawn[i - 1][0], None) for i in range(len(drawn))])
    show("corrected by the camera", [(counts_yx * gain_yx, gain_yx, None) for gain_yx, counts_yx in drawn])


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, help="cameras for each row")
    parser.add_argument("--size", type=int, default=512, help="width and height of the sensor in px")
    parser.add_argument("--counts", type=float, nargs="+", default=[40.0, 4.0], help="counts a pixel in all frames")
    wish = parser.parse_args()
    for counts_per_px in wish.counts:
        measure_orientations(wish.seeds, wish.size, counts_per_px)
        measure_undecidable(wish.seeds, wish.size, counts_per_px)


if __name__ == "__main__":
    main()
