"""Whether CTF fits of faint rings know how sure they are: `python -m benchmarks.ctf_faint`.

Simulated micrographs of 512² at 9 to 16 e⁻/px, whose rings rise five to ten standard deviations above noise: how many
fits Elcano trusts, and how many of those are farther than five of their own standard deviations from the truth; and how
many right and wrong ones it doubts for a rival, another CTF that fits nearly as well.
"""

import argparse
import cmath
import math
from collections import Counter

import numpy as np
import torch

from daemon.numerics.ctf_fit import CtfFit, CtfOptions, fit_ctf
from daemon.numerics.simulation import SimulatedOptics, simulate_movie
from daemon.numerics.simulation_motion import still
from daemon.numerics.spectrum import tile_power_spectrum

SHAPE_YX = (512, 512)
ELECTRONS_PER_PX = (9.0, 11.0, 13.0, 16.0)
FAR_SIGMAS = 5.0
RIVAL = "another CTF"


def draw_optics(generator: np.random.Generator) -> SimulatedOptics:
    """Draw 0.8 to 2.5 µm, and an astigmatism of up to 600 Å."""
    defocus, astigmatism = generator.uniform(8000, 25000), float(generator.choice([0, 100, 300, 600]))
    angle = generator.uniform(-90, 90)
    return SimulatedOptics(1.0, defocus + astigmatism / 2, defocus - astigmatism / 2, angle)


def fit_one(optics: SimulatedOptics, electrons_per_px: float, seed: int, options: CtfOptions) -> CtfFit:
    """Simulate one image and fit it."""
    generator, motion = torch.Generator().manual_seed(seed), still(SHAPE_YX, 1)
    movie = simulate_movie(SHAPE_YX, 1, optics, electrons_per_px, generator, motion=motion, damage=False)
    fit = fit_ctf(
        tile_power_spectrum(next(iter(movie)).float(), optics.pixel_size_ang),
        voltage_kv=optics.voltage_kv,
        spherical_aberration_mm=optics.spherical_aberration_mm,
        amplitude_contrast=optics.amplitude_contrast,
        options=options,
    )
    assert isinstance(fit, CtfFit), fit.reason
    return fit


def is_far(fit: CtfFit, optics: SimulatedOptics) -> bool:
    """Whether defocus or astigmatism, a vector of the doubled angle, is farther off than it claims to be."""

    def mean_and_difference(u: float, v: float, angle_deg: float) -> tuple[float, complex]:
        return 0.5 * (u + v), cmath.rect(u - v, 2 * math.radians(angle_deg))

    mean, difference = mean_and_difference(fit.defocus_u_ang, fit.defocus_v_ang, fit.astigmatism_angle_deg)
    true_mean, true_difference = mean_and_difference(
        optics.defocus_u_ang, optics.defocus_v_ang, optics.astigmatism_angle_deg
    )
    sigma = fit.uncertainty
    return (
        abs(mean - true_mean) > FAR_SIGMAS * sigma.defocus_ang
        or abs(difference - true_difference) > FAR_SIGMAS * sigma.astigmatism_ang
    )


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--micrographs", type=int, default=40, help="how many of each dose")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--fast", action="store_true", help="as gates do")
    wish = parser.parse_args()
    options = CtfOptions(is_fast=wish.fast)
    generator = np.random.default_rng(wish.seed)
    counts: Counter[tuple[str, bool]] = Counter()
    for electrons in ELECTRONS_PER_PX:
        for number in range(wish.micrographs):
            optics = draw_optics(generator)
            fit = fit_one(optics, electrons, number + round(10_000 * electrons) + 1_000_000 * wish.seed, options)
            verdict = "trusted" if fit.confident else "doubted for a rival" if RIVAL in fit.reason else "not trusted"
            counts[verdict, is_far(fit, optics)] += 1
    print(
        f"{counts.total()} micrographs of {SHAPE_YX[0]}², {ELECTRONS_PER_PX[0]:g} to {ELECTRONS_PER_PX[-1]:g} e⁻/px, "
        f"seed {wish.seed}{', fast' if wish.fast else ''}; far: more than {FAR_SIGMAS:g} of its own sigma off"
    )
    for verdict in ("trusted", "doubted for a rival", "not trusted"):
        far, near = counts[verdict, True], counts[verdict, False]
        print(f"{verdict:20s} {far + near:4d}, of them far {far:3d}")


if __name__ == "__main__":
    main()
