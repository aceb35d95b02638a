"""Whole-frame motion, with or without a fixed pattern of the camera: which of both, the likelihood decides.

A specimen that stands still is the hard case. With a pattern that stands still, any path explains it nearly as well:
what does not move is taken for the pattern, and what changes, frames being less alike the farther they are apart, for
what moves. A pattern and the path that it allows are therefore believed only where they are more probable than a path
without one by what their freedom gives them, a nat for each power of the pattern and the logarithm of the number of
paths that were tried; and where the frames by themselves stand still, by twice as much, and by more than the changes of
specimens make up for. The mistake of standing still costs what the specimen moved; the other has no limit.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from daemon.numerics.motion_coarse import CorrelationBand
from daemon.numerics.motion_correlation import moving_path
from daemon.numerics.motion_global import FrameLikelihood, WholeFrameFit, cut_band, refine_frames
from daemon.numerics.motion_path import Jumps
from daemon.numerics.motion_pattern import SMOOTHING_RINGS, FixedPattern
from daemon.numerics.motion_reduction import ReducedMovie
from daemon.numerics.motion_score import RadialBins
from daemon.numerics.motion_stack import pack, unpack

# A path within this share of a reduced pixel stands still, or is held by a pattern.
_PINNED = 0.3
_LOG_PATHS_TRIED = math.log(1000.0)
# Changes of a specimen that stands still have passed for motion by half a hundredth of what it explains itself.
_HELD_STRICTER, _CHANGING_SHARE = 2.0, 0.01
# Short movies hold little that tells a pattern from a specimen, and much that only looks so.
_FEW_FRAMES, _STRICTER = 8, 1.5
# Of two frames less their mean, one is the other's negative.
_FEWEST_FRAMES = 3
# A motion that is not believed is a doubt from this share of what it needs elsewhere: doubts are cheap.
_UNDECIDED = 0.5


@dataclass(frozen=True)
class WholeMotion:
    """Whole-frame fit, and the fixed pattern that was subtracted; doubt: why this should not be believed.

    jumps: which its path was given.
    """

    fit: WholeFrameFit
    pattern: FixedPattern | None
    doubt: str | None
    jumps: Jumps | None = None


def fit_whole_frame(
    reduced: ReducedMovie,
    start_t2: Float[Tensor, "t 2"],
    exposure_t: Float[Tensor, "t"],
    jumps: Jumps | None,
    *,
    coarse: CorrelationBand,
    lowest: float,
    highest: float,
    iterations: int,
) -> WholeMotion:
    """Most probable whole-frame path; a fixed pattern, where there is one, is taken out of the reduced movie.

    Frequencies lowest … highest are in cycles per px.
    """
    search = _Search(reduced, exposure_t, jumps, coarse, (lowest, highest), iterations)
    found = search.settle(start_t2)
    if found.pattern is not None:
        for index in reduced.usable:
            own_yx = unpack(reduced.spectra_tyx2[index])
            reduced.spectra_tyx2[index] = pack(own_yx - found.pattern.pattern_yx)
    return replace(found, jumps=jumps)


class _Search:
    """Paths refined from where they start, and weighed against one another."""

    def __init__(
        self,
        reduced: ReducedMovie,
        exposure_t: Tensor,
        jumps: Jumps | None,
        coarse: CorrelationBand,
        band_per_px: tuple[float, float],
        iterations: int,
    ) -> None:
        lowest, highest = band_per_px
        self._reduced, self._exposure_t, self._jumps, self._coarse = reduced, exposure_t, jumps, coarse
        self._lowest, self._middle_per_px = lowest, math.sqrt(coarse.highest * highest)
        self._iterations = iterations
        self._bins = RadialBins(reduced.ky, reduced.kx, low=lowest, high=highest)
        self._likelihood = FrameLikelihood(reduced, self._bins)

    def settle(self, start_t2: Tensor) -> WholeMotion:
        """Refine the start, with a pattern only if that is more probable by a margin."""
        is_pinned = _spread_px(start_t2) < _PINNED * min(self._reduced.spacing_yx_px)
        starts = [start_t2] if self._likelihood.shows_pattern(start_t2) else []
        if is_pinned and self._usable >= _FEWEST_FRAMES:
            # What moves shows without the mean of all frames.
            moving_t2 = moving_path(self._reduced, self._coarse, self._exposure_t)
            starts += [moving_t2] if self._likelihood.shows_pattern(moving_t2) else []
        plain = self._refine(start_t2, with_pattern=False)
        if not starts:
            return WholeMotion(plain, None, None)
        plain, plain_log, explained = self._or_still(plain)
        fits = [self._refine(each_t2, with_pattern=True) for each_t2 in starts]
        patterns = [self._likelihood.pattern(each.shift_t2) for each in fits]
        pattern, fit = max(zip(patterns, fits, strict=True), key=lambda pair: pair[0].log_likelihood)
        gain, needed = pattern.log_likelihood - plain_log, self._margin
        if is_pinned:
            needed = max(_HELD_STRICTER * needed, _CHANGING_SHARE * explained)
        if gain > needed:
            return WholeMotion(fit, pattern, _held(gain) if is_pinned else None)
        return WholeMotion(plain, None, _undecided(gain, needed) if gain > _UNDECIDED * self._margin else None)

    @property
    def _usable(self) -> int:
        return len(self._reduced.usable)

    @property
    def _margin(self) -> float:
        """Log likelihood that a pattern of any power in every group of rings, and the best of all paths, cost."""
        freedom = self._bins.rings / SMOOTHING_RINGS + _LOG_PATHS_TRIED
        return freedom * (_STRICTER if self._usable < _FEW_FRAMES else 1.0)

    def _or_still(self, plain: WholeFrameFit) -> tuple[WholeFrameFit, float, float]:
        """The fit without a pattern, begun anew where standing still is more probable; likelihood, specimen's part."""
        still_t2 = torch.zeros_like(plain.shift_t2)
        weighed, of_still = (self._likelihood.without_pattern(each) for each in (plain.shift_t2, still_t2))
        if of_still <= weighed:
            return plain, *weighed
        still = self._refine(still_t2, with_pattern=False)
        return still, *max(of_still, self._likelihood.without_pattern(still.shift_t2))

    def _refine(self, path_t2: Tensor, *, with_pattern: bool) -> WholeFrameFit:
        """Most probable path near one; most of the way is gone with a third of the frequencies."""
        middle = cut_band(self._reduced, self._middle_per_px)
        if middle is not self._reduced:
            bins = RadialBins(middle.ky, middle.kx, low=self._lowest, high=self._middle_per_px)
            path_t2 = self._approach(FrameLikelihood(middle, bins), path_t2, with_pattern=with_pattern).shift_t2
        del middle
        return self._approach(self._likelihood, path_t2, with_pattern=with_pattern)

    def _approach(self, likelihood: FrameLikelihood, path_t2: Tensor, *, with_pattern: bool) -> WholeFrameFit:
        return refine_frames(
            path_t2,
            likelihood,
            self._exposure_t,
            with_pattern=with_pattern,
            reach_px=0.5 / self._coarse.highest,
            iterations=self._iterations,
            jumps=self._jumps,
        )


def _spread_px(path_t2: Tensor) -> float:
    return float(path_t2.square().sum(dim=1).mean().sqrt())


def _held(gain: float) -> str:
    seeming = "frames seem to stand still, and moved only if what they share is a fixed pattern of the camera"
    return f"{seeming} (log evidence {gain:.0f})"


def _undecided(gain: float, needed: float) -> str:
    unknown = "whether a fixed pattern of the camera hides motion can't be told"
    return f"{unknown} (log evidence {gain:.0f}, {needed:.0f} needed)"
