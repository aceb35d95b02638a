"""Where rings are faint, more than one CTF may fit them: which is the most likely, and whether another comes near.

Noise lends a few rings to defocus and astigmatism that are not there. Above all an astigmatism found in the search can
be its work, so the best without one is refined as well, in every band of the search.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from daemon.numerics.ctf_fit_refine import Refinement, RingFit, RingModel
from daemon.numerics.ctf_fit_search import Candidate

LEAST_SIGNIFICANCE = 7.0
"""The search looks at some 10⁶ sets of rings: noise alone reaches 5 σ in one of them as a rule, and hardly ever 7 σ."""
_CLEAR_SIGNIFICANCE, _CLEAR_WITH_PHASE = 12.0, 16.0
"""Rings that rise so many standard deviations above noise have one CTF, but for few. Of fainter ones that were trusted
every fourth was wrong as long as the first candidate was taken at its word (benchmarks.ctf_faint)."""
_NEAR_LOG_LIKELIHOOD = 3.0
"""Nats of independent bins. There, of those doubted for a rival alone four in ten are wrong, of the others 2 of 78."""
_USUAL_CLUMPING = 3.0
_DISTINCT_SIGMAS = 5.0
_BEYOND = 1.4
"""Rings are refined this much beyond the frequency at which the search found them, before all bins count."""


@dataclass(frozen=True)
class Choice:
    """The most likely fit, how far its rings stood out of the search, and a model of other numbers that is hardly less
    likely; None without such a rival.
    """

    refinement: Refinement
    significance: float
    rival: RingModel | None


def choose_fit(fit: RingFit, candidates: Sequence[Candidate], background: Tensor, *, is_fast: bool) -> Choice:
    """Refine the first candidate, where there are rings but faint ones also those that lead elsewhere, and choose.

    Faint ones are refined with all bins, also if `is_fast`: only so can likelihoods be compared.
    """
    first = candidates[0]
    clear = _CLEAR_WITH_PHASE if fit.fit_phase else _CLEAR_SIGNIFICANCE
    if not LEAST_SIGNIFICANCE <= first.significance < clear:
        refine = fit.refine_once if is_fast else fit.refine
        refined = refine(fit.start(first, background), _BEYOND * first.highest_per_ang)
        return Choice(refined, _deflate(first.significance, refined), None)
    found: list[tuple[Refinement, float]] = []
    for candidate in candidates:
        start = fit.start(candidate, background)
        if all(_is_distinct(start, other) for other, _ in found):
            found.append((fit.refine(start, _BEYOND * candidate.highest_per_ang), candidate.significance))
    best, significance = max(found, key=lambda one: one[0].log_likelihood)
    near = best.log_likelihood - _NEAR_LOG_LIKELIHOOD * best.clumping
    rivals = [one for one, _ in found if one.log_likelihood > near and _is_distinct(one.model, best)]
    rival = max(rivals, key=lambda one: one.log_likelihood, default=None)
    return Choice(best, _deflate(significance, best), None if rival is None else rival.model)


def _deflate(significance: float, refinement: Refinement) -> float:
    """Significance as of bins that are no more alike than those of images as large as a tile of the spectrum.

    Bins of smaller images are interpolated: many tell what one does, and noise stands out of them as rings do.
    """
    return significance / math.sqrt(max(1.0, refinement.clumping / _USUAL_CLUMPING))


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
