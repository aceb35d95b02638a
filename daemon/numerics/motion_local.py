"""Local motion: one smooth field in space and time, fitted to the likelihoods of all patches at once.

No patch is tracked by itself. At every step the likelihood of all patches is expanded about the present field and
maximised together with a Gaussian-process prior (motion_prior) whose amplitude and correlation lengths have the
greatest evidence, so that patches with little signal follow their neighbours. Whether the field is believed is decided
by patches it has not seen.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from daemon.numerics.motion_patches import PatchLikelihood, PatchSet
from daemon.numerics.motion_path import Jumps, smooth_path
from daemon.numerics.motion_pattern import PatternPower
from daemon.numerics.motion_prior import FieldHypothesis, FieldPrior

_LARGEST_STEP_PX = 2.0
# Largest change of a step after which a level is done, at the finest and at those before it.
_CONVERGED_PX, _NEARLY_PX = 0.03, 0.1
# χ² per degree of freedom beyond which a patch contradicts every smooth field and loses weight.
_OUTLIER_CHI2 = 2.0


@dataclass(frozen=True)
class LocalFit:
    """Whole-frame path and local field at the targets, px; variances per axis about the time mean.

    path_variance_t is None when the path is still the whole frame's. unevenness_px2 is that of FieldPosterior.
    held_out_gain: by how much ℓ of patches rises by a field fitted to the other patches only, against whole-frame
    motion alone.
    """

    path_t2: Float[Tensor, "t 2"]
    field_mt2: Float[Tensor, "m t 2"]
    path_variance_t: Float[Tensor, "t"] | None
    field_variance_mt: Float[Tensor, "m t"]
    unevenness_px2: float
    held_out_gain: float
    log_evidence: float
    hypotheses: tuple[FieldHypothesis, ...]


@dataclass
class _State:
    """Where the iteration stands: path, field at the patches, and the quadratic expansion about them."""

    path_t2: Tensor
    field_pt2: Tensor
    linear_pt2: Tensor
    strength_p: Tensor
    information_tt: Tensor
    weight_p: Tensor
    path_variance_t: Tensor | None = None


def fit_local_field(
    patches: PatchSet,
    start_t2: Float[Tensor, "t 2"],
    start_information: float,
    exposure_t: Float[Tensor, "t"],
    target_m2: Float[Tensor, "m 2"],
    *,
    lowest: float,
    highest_levels: tuple[float, ...],
    iterations: int,
    jumps: Jumps | None = None,
    pattern: PatternPower | None = None,
) -> LocalFit:
    """Fit path and field from coarse to fine; highest_levels are the bands' upper limits in cycles per px, ascending.

    start_information is the trace of the information that the whole frame gave about start_t2. Patches blur Thon
    rings, so the path is only refitted where, with the field in place, they know more: where local motion had blurred
    the whole. target_m2: positions (x, y), fractions of the longer image side, where the field is wanted. jumps: of the
    path. pattern: power of a fixed pattern that was subtracted.
    """
    prior = FieldPrior(patches.sample_ps2, exposure_t)
    frames = start_t2.shape[0]
    state = _State(
        start_t2.clone(),
        torch.zeros(patches.count, frames, 2, dtype=torch.float64),
        torch.zeros(patches.count, frames, 2, dtype=torch.float64),
        torch.ones(patches.count, dtype=torch.float64),
        torch.zeros(frames, frames, dtype=torch.float64),
        torch.ones(patches.count, dtype=torch.float64),
    )
    likelihood = None
    for highest in highest_levels:
        likelihood = PatchLikelihood(patches, lowest=lowest, highest=highest, pattern=pattern)
        is_finest = highest == highest_levels[-1]
        known, small = (start_information, _CONVERGED_PX) if is_finest else (math.inf, _NEARLY_PX)
        for iteration in range(iterations):
            if _advance(state, likelihood, prior, exposure_t, jumps, known, robust=iteration > 0) < small:
                break
    assert likelihood is not None
    _expand(state, likelihood)
    fit = prior.fit(
        state.linear_pt2 * state.weight_p[:, None, None],
        state.strength_p * state.weight_p,
        state.information_tt,
        target_ms2=target_m2[:, None, :],
    )
    gain = _held_out_gain(state, likelihood, prior, patches, start_t2, fit.hypotheses)
    return LocalFit(
        state.path_t2,
        fit.field_pt2,
        state.path_variance_t,
        fit.variance_pt,
        fit.unevenness_px2,
        gain,
        fit.log_evidence,
        fit.hypotheses,
    )


def _expand(state: _State, likelihood: PatchLikelihood) -> Tensor:
    """Expand ℓ about the present motion; returns the gradient."""
    gradient_pt2 = likelihood.update(state.path_t2 + state.field_pt2)
    state.strength_p, state.information_tt = likelihood.information()
    curvature_pt2 = torch.einsum("tu,puc->ptc", state.information_tt, state.field_pt2)
    state.linear_pt2 = gradient_pt2 + state.strength_p[:, None, None] * curvature_pt2
    return gradient_pt2


def _advance(
    state: _State,
    likelihood: PatchLikelihood,
    prior: FieldPrior,
    exposure_t: Tensor,
    jumps: Jumps | None,
    known: float,
    *,
    robust: bool,
) -> float:
    """One step of path and field; returns the largest change in px."""
    gradient_pt2 = _expand(state, likelihood)
    if robust:
        state.weight_p = _patch_weights(gradient_pt2, state.strength_p, state.information_tt)
    weighted_p = state.strength_p * state.weight_p
    total_tt = state.information_tt * weighted_p.sum()
    path_step_t2 = torch.zeros_like(state.path_t2)
    if float(total_tt.diagonal().sum()) > known:
        total_t2 = (gradient_pt2 * state.weight_p[:, None, None]).sum(dim=0)
        path = smooth_path(total_t2 + total_tt @ state.path_t2, total_tt, exposure_t, jumps)
        state.path_variance_t = path.variance_t
        path_step_t2 = (path.path_t2 - state.path_t2).clamp(-_LARGEST_STEP_PX, _LARGEST_STEP_PX)
    # What the path takes up is no longer there for the field.
    taken_pt2 = weighted_p[:, None, None] * (state.information_tt @ path_step_t2)
    linear_pt2 = state.linear_pt2 * state.weight_p[:, None, None] - taken_pt2
    expected_pt2 = prior.expect(linear_pt2, weighted_p, state.information_tt)
    field_step_pt2 = (expected_pt2 - state.field_pt2).clamp(-_LARGEST_STEP_PX, _LARGEST_STEP_PX)
    state.path_t2 = state.path_t2 + path_step_t2
    state.field_pt2 = state.field_pt2 + field_step_pt2
    change_pt2 = field_step_pt2 + path_step_t2
    return float((change_pt2 - change_pt2.mean(dim=1, keepdim=True)).abs().max())


def _patch_weights(gradient_pt2: Tensor, strength_p: Tensor, information_tt: Tensor) -> Tensor:
    """1 for patches whose gradient is explained by noise, less the more it is not."""
    inverse_tt = torch.linalg.pinv(information_tt, hermitian=True, rtol=1e-10)
    chi2_p = torch.einsum("ptc,tu,puc->p", gradient_pt2, inverse_tt, gradient_pt2) / strength_p.clamp_min(1e-6)
    reduced_p = chi2_p / max(1, 2 * (information_tt.shape[0] - 1))
    return (_OUTLIER_CHI2 / reduced_p.clamp_min(1e-12)).clamp(max=1.0)


def _held_out_gain(
    state: _State,
    likelihood: PatchLikelihood,
    prior: FieldPrior,
    patches: PatchSet,
    start_t2: Tensor,
    hypotheses: tuple[FieldHypothesis, ...],
) -> float:
    """Gain of ℓ by a field on top of whole-frame motion, in patches it was not fitted to, a quarter of them at a time.

    The path that all patches were refitted to would bring what it knows of the unseen ones: the field is fitted anew
    relative to the whole frame's own path, and that path stands on both sides of the comparison.
    """
    fold_p = patches.cell_p2[:, 0] % 2 * 2 + patches.cell_p2[:, 1] % 2
    # ℓ is quadratic about the state's motion, the sum of its path and field: the same expansion, from another path.
    moved_t2 = state.information_tt @ (state.path_t2 - start_t2)
    linear_pt2 = state.linear_pt2 + state.strength_p[:, None, None] * moved_t2
    unseen_pt2 = torch.empty_like(state.field_pt2)
    for fold in range(4):
        used_p = (fold_p != fold) * state.weight_p
        expected_pt2 = prior.expect(
            linear_pt2 * used_p[:, None, None], state.strength_p * used_p, state.information_tt, hypotheses=hypotheses
        )
        unseen_pt2[fold_p == fold] = expected_pt2[fold_p == fold]
    raised_p = likelihood.values(start_t2 + unseen_pt2) - likelihood.values(start_t2.expand_as(unseen_pt2))
    return float((state.weight_p * raised_p).sum())
