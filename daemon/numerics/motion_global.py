"""Whole-frame motion: Fisher scoring of the likelihood of a path."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from daemon.numerics.motion_path import Jumps, smooth_path
from daemon.numerics.motion_pattern import (
    FixedPattern,
    estimate_pattern,
    is_pattern_significant,
    pattern_gradient,
    weigh_without_pattern,
)
from daemon.numerics.motion_reduction import ReducedMovie
from daemon.numerics.motion_score import RadialBins, estimate_spectra, expand_stack, sum_power
from daemon.numerics.motion_stack import cut_packed

_LARGEST_STEP_PX = 4.0
_CONVERGED_PX = 0.02
# A copy of fewer frequencies pays when they are less than this share of all.
_WORTH_CUTTING = 0.7
# Rings of a whole frame are narrow beside the Thon rings that they must not blur.
_SMOOTHING_RINGS = 8


@dataclass(frozen=True)
class WholeFrameFit:
    """Whole-frame motion (t, 2) px of zero mean, its variance per axis and frame, the spectra it was judged by.

    information is the trace of the Fisher information per axis in px⁻²; raw_shift_t2 is
    what frames say without the prior of a smooth path.
    """

    shift_t2: Float[Tensor, "t 2"]
    raw_shift_t2: Float[Tensor, "t 2"]
    variance_t: Float[Tensor, "t"]
    information: float


def cut_band(reduced: ReducedMovie, highest: float) -> ReducedMovie:
    """Only what frequencies up to `highest` (cycles per px) need of a reduced movie; all of it where that is most."""
    extent_yx = [size * spacing for size, spacing in zip(reduced.shape_yx, reduced.spacing_yx_px, strict=True)]
    small = [
        min(size, 2 * math.ceil(highest * extent) + 2) for size, extent in zip(reduced.shape_yx, extent_yx, strict=True)
    ]
    if small[0] * small[1] > _WORTH_CUTTING * reduced.shape_yx[0] * reduced.shape_yx[1]:
        return reduced
    shape_yx, spacing_yx_px = (small[0], small[1]), (extent_yx[0] / small[0], extent_yx[1] / small[1])
    device = reduced.ky.device
    return replace(
        reduced,
        spectra_tyx2=cut_packed(reduced.spectra_tyx2, reduced.shape_yx, shape_yx),
        shape_yx=shape_yx,
        spacing_yx_px=spacing_yx_px,
        ky=torch.fft.fftfreq(small[0], d=spacing_yx_px[0], dtype=torch.float64, device=device)[:, None].float(),
        kx=torch.fft.rfftfreq(small[1], d=spacing_yx_px[1], dtype=torch.float64, device=device)[None, :].float(),
    )


def refine_frames(
    start_t2: Float[Tensor, "t 2"],
    likelihood: "FrameLikelihood",
    exposure_t: Float[Tensor, "t"],
    *,
    with_pattern: bool,
    reach_px: float,
    iterations: int,
    jumps: Jumps | None = None,
) -> WholeFrameFit:
    """Seek the most probable smooth path by Fisher scoring.

    with_pattern: a fixed pattern is estimated along with the path. Spectra are estimated anew at every step, without a
    pattern from where the step before began: steps become small before the iteration ends, and frames need not be
    turned twice for it. A step beyond a few pixels is cut, since the expansion says nothing about what lies there, and
    no frame goes farther than reach_px from where it started: what lies there was refused by the correlation that found
    the start.
    """
    start_t2 = start_t2 - start_t2.mean(dim=0)
    shift_t2 = start_t2.clone()
    expand = likelihood.expand_with_pattern if with_pattern else likelihood.expansion(shift_t2)
    for _ in range(max(1, iterations)):
        gradient_t2, information_tt = expand(shift_t2)
        linear_t2 = gradient_t2 + information_tt @ shift_t2
        posterior = smooth_path(linear_t2, information_tt, exposure_t, jumps)
        wanted_t2 = start_t2 + (posterior.path_t2 - start_t2).clamp(-reach_px, reach_px)
        step_t2 = wanted_t2 - shift_t2
        shift_t2 = shift_t2 + step_t2.clamp(-_LARGEST_STEP_PX, _LARGEST_STEP_PX)
        if float(step_t2.abs().max()) < _CONVERGED_PX:
            break
    return WholeFrameFit(
        shift_t2,
        _unsmoothed(linear_t2, information_tt),
        posterior.variance_t,
        float(information_tt.diagonal().sum()),
    )


class FrameLikelihood:
    """ℓ of motion_score for whole frames: what stays the same from step to step, and the spectra learnt last."""

    def __init__(self, reduced: ReducedMovie, bins: RadialBins) -> None:
        self._frames_tyx2 = reduced.spectra_tyx2
        self._ky, self._kx, self._bins = reduced.ky, reduced.kx, bins
        self._squared_t = reduced.amplitude_t.square()
        self._usable_t = (reduced.amplitude_t > 0).double()
        inverse_t = self._usable_t / self._squared_t.clamp_min(1e-12)
        weight_2t = torch.stack([torch.ones_like(inverse_t), inverse_t])
        self._incoherent_a, self._total_a = (bins.total(each_yx) for each_yx in sum_power(self._frames_tyx2, weight_2t))

    def expansion(self, start_t2: Tensor) -> Callable[[Tensor], tuple[Float[Tensor, "t 2"], Float[Tensor, "t t"]]]:
        """Gradient and information at a path, with spectra learnt from the path asked for before, at first start_t2."""
        nothing_a = torch.zeros(self._bins.rings)
        known_a = self._expand(start_t2, nothing_a, with_gradient=False)[0]

        def expand(shift_t2: Tensor) -> tuple[Tensor, Tensor]:
            nonlocal known_a
            model = estimate_spectra(
                known_a,
                self._incoherent_a,
                self._total_a,
                self._bins.count_a,
                self._squared_t,
                reach=_SMOOTHING_RINGS,
            )
            known_a, gradient_t2 = self._expand(shift_t2, model.weight(), with_gradient=True)
            return gradient_t2, model.information(self._bins)

        return expand

    def _expand(self, shift_t2: Tensor, weight_a: Tensor, *, with_gradient: bool) -> tuple[Tensor, Tensor]:
        return expand_stack(
            self._frames_tyx2, shift_t2, weight_a, self._ky, self._kx, self._bins, with_gradient=with_gradient
        )

    def expand_with_pattern(self, shift_t2: Tensor) -> tuple[Float[Tensor, "t 2"], Float[Tensor, "t t"]]:
        """Gradient and information at a path when a fixed pattern is there as well."""
        pattern = self.pattern(shift_t2)
        gradient_t2 = pattern_gradient(self._frames_tyx2, shift_t2, self._usable_t, pattern, self._ky, self._kx)
        return gradient_t2, pattern.model.information(self._bins)

    def shows_pattern(self, shift_t2: Tensor) -> bool:
        """Whether a fixed pattern appears beyond doubt given a path."""
        return is_pattern_significant(
            self._frames_tyx2, shift_t2, self._usable_t, self._incoherent_a, self._ky, self._kx, self._bins
        )

    def pattern(self, shift_t2: Tensor) -> FixedPattern:
        """Return the fixed pattern as it appears given a path."""
        return estimate_pattern(
            self._frames_tyx2, shift_t2, self._usable_t, self._incoherent_a, self._ky, self._kx, self._bins
        )

    def without_pattern(self, shift_t2: Tensor) -> tuple[float, float]:
        """Log likelihood of a path if there is no pattern, on the scale of that of `pattern`; the specimen's part."""
        return weigh_without_pattern(
            self._frames_tyx2, shift_t2, self._usable_t, self._incoherent_a, self._ky, self._kx, self._bins
        )


def _unsmoothed(linear_t2: Tensor, information_tt: Tensor) -> Tensor:
    """What each frame says by itself: the maximum of the likelihood without a prior, of zero mean."""
    solution: Tensor = torch.linalg.pinv(information_tt, hermitian=True, rtol=1e-10) @ linear_t2
    return solution - solution.mean(dim=0)
