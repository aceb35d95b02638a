"""Simulated movies for tests of motion, and how far an estimate is from the truth."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from daemon.numerics.detector import find_defects, mean_frame
from daemon.numerics.motion import CorrectedMovie, MotionEstimate, MotionOptions, correct_motion, estimate_motion
from daemon.numerics.simulation import MovieTruth, SimulatedOptics, simulate_movie
from daemon.numerics.simulation_detector import draw_gain
from daemon.numerics.simulation_motion import random_motion


@dataclass(frozen=True)
class MotionCase:
    """One movie, its truth, and the gain it is to be corrected by."""

    movie_tyx: Tensor
    truth: MovieTruth
    gain_yx: Tensor
    pixel_size_ang: float
    dose_per_frame_e_per_ang2: float

    def estimate(
        self,
        movie_tyx: Tensor | None = None,
        *,
        gain_yx: Tensor | None = None,
        options: MotionOptions | None = None,
    ) -> MotionEstimate:
        """Estimate as a stage would, defects included; another movie or gain of the same shape may stand in."""
        movie = self.movie_tyx if movie_tyx is None else movie_tyx
        gain = self.gain_yx if gain_yx is None else gain_yx
        return estimate_motion(
            movie,
            pixel_size_ang=self.pixel_size_ang,
            gain_yx=gain,
            defects_yx=find_defects(mean_frame(movie), frames=movie.shape[0], gain_yx=gain),
            dose_per_frame_e_per_ang2=self.dose_per_frame_e_per_ang2,
            options=options,
        )

    def correct(
        self, estimate: MotionEstimate, *, want_even_odd: bool = False, weighted: bool = True
    ) -> CorrectedMovie:
        """Sum along an estimate."""
        return correct_motion(
            self.movie_tyx,
            estimate,
            pixel_size_ang=self.pixel_size_ang,
            gain_yx=self.gain_yx,
            defects_yx=find_defects(mean_frame(self.movie_tyx), frames=len(self.movie_tyx), gain_yx=self.gain_yx),
            dose_per_frame_e_per_ang2=self.dose_per_frame_e_per_ang2 if weighted else None,
            want_even_odd=want_even_odd,
        )

    def error_px(self, estimate: MotionEstimate, *, without_local: bool = False) -> float:
        """Time-centred 2-D RMS error over frames and field."""
        estimated = estimate.global_t2[:, None, None].expand(-1, 9, 9, 2)
        if estimate.local is not None and not without_local:
            estimated = estimated + estimate.local.on_grid(9, 9)
        error = estimated - self.truth.motion.on_grid(9, 9)
        error = error - error.mean(dim=0)
        return math.sqrt(float(error.square().sum(dim=-1).mean()))


def simulate_case(
    shape_yx: tuple[int, int],
    frames: int,
    seed: int,
    *,
    counts_per_px: float,
    pixel_size_ang: float = 1.2,
    drift_px: float = 8.0,
    local_px: float = 0.0,
    pattern: float = 0.0,
) -> MotionCase:
    """Draw a movie with gain, hot pixels and motion; pattern: further spread of the gain from pixel to pixel."""
    generator = torch.Generator().manual_seed(seed)
    optics = SimulatedOptics(pixel_size_ang, 12_000.0, 11_500.0, astigmatism_angle_deg=30.0)
    dose = counts_per_px / pixel_size_ang**2
    gain_yx = draw_gain(shape_yx, generator)
    if pattern:
        gain_yx = (gain_yx + pattern * torch.randn(shape_yx, generator=generator)).clamp(0.6, 1.5)
    motion = random_motion(shape_yx, frames, dose, generator, drift_px=drift_px, local_px=local_px)
    movie = simulate_movie(
        shape_yx, frames, optics, dose, generator, motion=motion, gain_yx=gain_yx, hot_pixels=20, dead_pixels=10
    )
    return MotionCase(movie.stack(), movie.truth, movie.truth.detector.gain_yx, pixel_size_ang, dose)
