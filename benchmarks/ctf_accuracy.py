"""How near CTF fits come to what the data allow: `python benchmarks/ctf_accuracy.py [MOVIES]`.

Simulated movies of 2048² × 24 frames, 40 e⁻/px in all, damaged but motionless (motion has its own
benchmark), 1–3 µm, astigmatism 0–1000 Å, every fourth with a phase plate. Each error stands beside its
Cramér–Rao bound; the goals are those of the design: |Δdefocus| ≤ 60 Å, astigmatism ≤ 100 Å, angle ≤ 8°
where astigmatism ≥ 500 Å, phase ≤ 6°, in the median.
"""

import math
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch

from daemon.numerics.bounds import ctf_bound
from daemon.numerics.ctf_fit import CtfFit, CtfOptions, fit_ctf
from daemon.numerics.simulation import SimulatedMovie, SimulatedOptics, simulate_movie
from daemon.numerics.simulation_motion import still
from daemon.numerics.spectrum import PowerSpectrum, SpectrumSum, tile_power_spectrum

SHAPE_YX, FRAMES, ELECTRONS_PER_PX = (2048, 2048), 24, 40.0
FRAMES_PER_SUM = 3
PIXEL_ANG = 1.0
CONTRAST = 0.1


@dataclass(frozen=True)
class Outcome:
    """Errors of one fit, their bounds, and the seconds it took; phase is NaN without a phase plate."""

    defocus_ang: float
    defocus_bound_ang: float
    astigmatism_ang: float
    astigmatism_bound_ang: float
    angle_deg: float
    phase_deg: float
    confident: bool
    fit_s: float


def draw_optics(generator: np.random.Generator, index: int) -> SimulatedOptics:
    """Draw one microscope setting."""
    defocus, astigmatism = generator.uniform(10_000, 30_000), generator.uniform(0, 1000)
    return SimulatedOptics(
        PIXEL_ANG,
        defocus + astigmatism / 2,
        defocus - astigmatism / 2,
        generator.uniform(-90, 90),
        amplitude_contrast=CONTRAST,
        phase_shift_deg=90.0 if index % 4 == 3 else 0.0,
    )


def average_partial_sums(movie: SimulatedMovie) -> PowerSpectrum:
    """Average the spectra of dose-limited partial sums, as motion correction does."""
    sums, partial = SpectrumSum(), torch.zeros(SHAPE_YX)
    for index, frame in enumerate(movie):
        partial += frame
        if index % FRAMES_PER_SUM == FRAMES_PER_SUM - 1:
            sums.add(tile_power_spectrum(partial, PIXEL_ANG))
            partial.zero_()
    return sums.mean()


def measure(movie: SimulatedMovie) -> Outcome:
    """Fit one movie's spectrum and compare with the truth."""
    optics = movie.truth.optics
    has_plate = optics.phase_shift_deg > 0
    spectrum = average_partial_sums(movie)
    start = time.perf_counter()
    found = fit_ctf(
        spectrum,
        voltage_kv=optics.voltage_kv,
        spherical_aberration_mm=optics.spherical_aberration_mm,
        amplitude_contrast=CONTRAST,
        options=CtfOptions(fit_phase=has_plate),
    )
    elapsed_s = time.perf_counter() - start
    assert isinstance(found, CtfFit), found.reason
    bound = ctf_bound(movie.truth, SHAPE_YX, fit_phase=has_plate)
    astigmatism = optics.defocus_u_ang - optics.defocus_v_ang
    mean = 0.5 * (found.defocus_u_ang + found.defocus_v_ang)
    turned = (found.astigmatism_angle_deg - optics.astigmatism_angle_deg + 90) % 180 - 90
    return Outcome(
        abs(mean - 0.5 * (optics.defocus_u_ang + optics.defocus_v_ang)),
        bound.defocus_ang,
        abs(found.defocus_u_ang - found.defocus_v_ang - astigmatism),
        bound.astigmatism_ang,
        abs(turned) if astigmatism >= 500 else math.nan,
        abs(found.phase_shift_deg - optics.phase_shift_deg) if has_plate else math.nan,
        found.confident,
        elapsed_s,
    )


def main(count: int) -> None:
    """Simulate, fit and print."""
    generator = np.random.default_rng(2024)
    print(" #   Δdefocus (bound)   Δastigmatism (bound)   Δangle   Δphase  sure     fit")
    outcomes = []
    for index in range(count):
        optics = draw_optics(generator, index)
        dose = ELECTRONS_PER_PX / FRAMES / PIXEL_ANG**2
        seed = torch.Generator().manual_seed(index)
        movie = simulate_movie(SHAPE_YX, FRAMES, optics, dose, seed, motion=still(SHAPE_YX, FRAMES))
        one = measure(movie)
        outcomes.append(one)
        print(
            f"{index:2d} {one.defocus_ang:8.1f} ({one.defocus_bound_ang:4.1f}) Å {one.astigmatism_ang:10.1f} "
            f"({one.astigmatism_bound_ang:5.1f}) Å {one.angle_deg:10.2f}° {one.phase_deg:6.2f}°  "
            f"{'yes' if one.confident else 'NO ':3s} {one.fit_s:6.2f} s",
            flush=True,
        )
    print("median of errors, and of the ratio to the bound (0.67 for a perfect fit):")
    for name in ("defocus", "astigmatism"):
        errors = np.array([getattr(one, f"{name}_ang") for one in outcomes])
        bounds = np.array([getattr(one, f"{name}_bound_ang") for one in outcomes])
        print(f"  {name:12s} {np.median(errors):6.1f} Å   ratio {np.median(errors / bounds):.2f}")
    print(f"  angle        {np.nanmedian([one.angle_deg for one in outcomes]):6.2f}°")
    print(f"  phase        {np.nanmedian([one.phase_deg for one in outcomes]):6.2f}°")
    print(f"  fit          {np.median([one.fit_s for one in outcomes]):6.2f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
