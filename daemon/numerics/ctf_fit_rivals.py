"""Where rings are faint, more than one CTF may fit them: which is the most likely, and whether another comes near.

Noise lends a few rings to defocus and astigmatism that are not there. Above all an astigmatism found in the search can
be its work, so the best without one is refined as well, in every band of the search.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from daemon.numerics.ctf_fit_refine import Refinement, RingFit, RingModel
from daemon.numerics.ctf_fit_search import Candidate

LEAST_SIGNIFICANCE = 7.0
"""The search looks at some 10⁶ sets of rings: noise alone reaches 5 σ in one of them as a rule, 7 σ never."""
_CLEAR_SIGNIFICANCE = 12.0
"""Rings that rise so many standard deviations above noise have one CTF, but for few. Of fainter ones that were trusted
every fourth was wrong as long as the first candidate was taken at its word (benchmarks.ctf_faint)."""
_NEAR_LOG_LIKELIHOOD = 7.0
"""There, two of three wrong fits have a rival within it, and one of six right ones."""
_DISTINCT_SIGMAS = 5.0
_BEYOND = 1.4
"""Rings are refined this much beyond the frequency at which the search found them, before all bins count."""


@dataclass(frozen=True)
class Choice:
    """The most likely fit, and a model of other numbers that is hardly less likely; None without such a rival."""

    refinement: Refinement
    significance: float
    rival: RingModel | None


def choose_fit(fit: RingFit, candidates: Sequence[Candidate], background: Tensor, *, is_fast: bool) -> Choice:
    """Refine the first candidate, where there are rings but faint ones also those that lead elsewhere, and choose."""
    significance = candidates[0].significance
    is_faint = LEAST_SIGNIFICANCE <= significance < _CLEAR_SIGNIFICANCE
    refined: list[Refinement] = []
    for candidate in candidates if is_faint else candidates[:1]:
        start = fit.start(candidate, background)
        if all(_is_distinct(start, other) for other in refined):
            highest_per_ang = _BEYOND * candidate.highest_per_ang
            refine = fit.refine_once if is_fast else fit.refine
            refined.append(refine(start, highest_per_ang))
    best = max(refined, key=lambda one: one.log_likelihood)
    near = best.log_likelihood - _NEAR_LOG_LIKELIHOOD
    rivals = [one for one in refined if one.log_likelihood > near and _is_distinct(one.model, best)]
    rival = max(rivals, key=lambda one: one.log_likelihood, default=None)
    return Choice(best, significance, None if rival is None else rival.model)


def _is_distinct(model: RingModel, best: Refinement) -> bool:
    """Whether defocus and astigmatism differ by more than the best fit's own uncertainty explains."""
    other = best.model
    away = torch.tensor(
        [
            model.defocus_ang - other.defocus_ang,
            model.cosine_ang - other.cosine_ang,
            model.sine_ang - other.sine_ang,
        ],
        dtype=best.covariance.dtype,
        device=best.covariance.device,
    )
    return float(away @ torch.linalg.solve(best.covariance[:3, :3], away)) > _DISTINCT_SIGMAS**2
