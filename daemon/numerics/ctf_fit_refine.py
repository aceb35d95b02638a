"""Maximum-likelihood end of a CTF fit: ring positions, background and envelope refined together.

A bin of an averaged periodogram is Γ-distributed about its expectation S, with a variance that is a
fixed multiple v of S². Its log-likelihood is −(log S + I/S)/v (Whittle 1953), which Fisher scoring climbs
with weights 1/(v S²). S = B(k) (1 + ρ(k) sin²(χ(k, θ) + φ + asin w)): log B and log ρ are splines in √k.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from daemon.numerics.ctf_background import spline_basis
from daemon.numerics.ctf_fit_search import Candidate
from daemon.numerics.thon import Optics, ThonBins, phase_rad

BACKGROUND_SPLINES = 8
ENVELOPE_SPLINES = 6
_DEFOCUS_SCALE_ANG = 100.0
_ITERATIONS = 14
_LONGEST_STEP_RAD = 0.8
_TETHER = 1e-3
_HUBER = 4.0
_ENVELOPE_SPREAD = 3.0
"""Standard deviation of the weak prior on log ρ: it only decides where no rings are left to be measured."""


@dataclass(frozen=True)
class RingModel:
    """Everything that predicts a spectrum: (U + V)/2, (U − V)/2 as a vector of 2α, phase shift, spline coefficients."""

    defocus_ang: float
    cosine_ang: float
    sine_ang: float
    phase_shift_rad: float
    background: Float[Tensor, " spline"]
    envelope: Float[Tensor, " spline"]

    def defocus_along(self, angle_rad: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Defocus in Å along directions."""
        return self.defocus_ang + self.cosine_ang * (2 * angle_rad).cos() + self.sine_ang * (2 * angle_rad).sin()


@dataclass(frozen=True)
class Refinement:
    """The refined model and the covariance of (defocus, cosine, sine[, phase shift]) in Å and rad.

    log_likelihood: with every bin of one weight, so that models of one spectrum can be compared. clumping: how many
    times less bins tell than if neighbours were independent; the covariance knows of it, the log-likelihood does not.
    """

    model: RingModel
    covariance: Float[Tensor, "parameter parameter"]
    log_likelihood: float
    clumping: float


class RingFit:
    """The bins of one spectrum with the curves they are described by; refines models of it."""

    def __init__(self, bins: ThonBins, optics: Optics, variance: float, *, fit_phase: bool) -> None:
        self.bins = bins
        self.variance = variance
        self.fit_phase = fit_phase
        self._shape_count = 4 if fit_phase else 3
        self.optics = optics
        self._contrast_rad = math.asin(optics.amplitude_contrast)
        self._squared = bins.frequency_per_ang.square()
        self._slope = math.pi * optics.wavelength_ang * self._squared
        rings = torch.arange(bins.ring_count, device=bins.power.device).double() * bins.ring_width_per_ang
        self._ends = float(bins.frequency_per_ang.min()) ** 0.5, float(bins.frequency_per_ang.max()) ** 0.5
        self._background_rings = spline_basis(rings.sqrt(), *self._ends, BACKGROUND_SPLINES)
        self._envelope_rings = spline_basis(rings.sqrt(), *self._ends, ENVELOPE_SPLINES)
        self._cosine, self._sine = (2 * bins.angle_rad).cos(), (2 * bins.angle_rad).sin()

    def start(self, candidate: Candidate, background: Tensor) -> RingModel:
        """Model at a candidate: given log background through the middle of rings, moderate contrast."""
        contrast = 0.3
        return RingModel(
            candidate.defocus_ang,
            candidate.half_difference_ang * math.cos(2 * candidate.angle_rad),
            candidate.half_difference_ang * math.sin(2 * candidate.angle_rad),
            candidate.phase_shift_rad,
            background - math.log(1 + contrast / 2),
            torch.full((ENVELOPE_SPLINES,), math.log(contrast), dtype=torch.float64, device=background.device),
        )

    @property
    def background_bins(self) -> Tensor:
        """Background basis at each bin."""
        return self._background_rings[self.bins.ring]

    def curves(self, model: RingModel) -> tuple[Tensor, Tensor]:
        """Background B and ring contrast ρ on whole rings."""
        return (self._background_rings @ model.background).exp(), (self._envelope_rings @ model.envelope).exp()

    def curves_at(self, model: RingModel, frequency_per_ang: Tensor) -> tuple[Tensor, Tensor]:
        """Background B and ring contrast ρ at any frequencies; constant beyond the limits of the fit."""
        root = frequency_per_ang.sqrt()
        background = spline_basis(root, *self._ends, BACKGROUND_SPLINES) @ model.background
        return background.exp(), (spline_basis(root, *self._ends, ENVELOPE_SPLINES) @ model.envelope).exp()

    def constant_phase_rad(self, model: RingModel) -> float:
        """Part of the phase that does not depend on frequency: phase shift and amplitude contrast."""
        return model.phase_shift_rad + self._contrast_rad

    def rings(self, model: RingModel) -> Tensor:
        """CTF² at each bin."""
        return self._phase(model).sin().square()

    def rings_at(self, model: RingModel, frequency_per_ang: Tensor, angle_rad: Tensor) -> Tensor:
        """CTF² at any frequencies and directions."""
        phase = phase_rad(frequency_per_ang.square(), model.defocus_along(angle_rad), self.optics)
        return (phase + self.constant_phase_rad(model)).sin().square()

    def expectation(self, model: RingModel) -> Tensor:
        """S at each bin."""
        background, contrast = self.curves(model)
        return background[self.bins.ring] * (1 + contrast[self.bins.ring] * self.rings(model))

    def refine(self, model: RingModel, highest_per_ang: float) -> Refinement:
        """Climb to the nearest maximum: curves alone, all up to a frequency, with all bins, with misfits weighed."""
        everywhere = torch.full_like(self.bins.power, 1 / self.variance)
        model = self._climb(model, everywhere, holds_rings=True)
        model = self._climb(model, self._tether(highest_per_ang))
        model = self._climb(model, everywhere)
        weight = self._weigh(model)
        model = self._climb(model, weight)
        return self._conclude(model, weight)

    def refine_once(self, model: RingModel, highest_per_ang: float) -> Refinement:
        """Climb with the bins up to a frequency alone, in two rounds: near the maximum, where `refine` goes on."""
        everywhere = torch.full_like(self.bins.power, 1 / self.variance)
        model = self._climb(model, everywhere, holds_rings=True)
        weight = self._tether(highest_per_ang)
        return self._conclude(self._climb(model, weight), weight)

    def _tether(self, highest_per_ang: float) -> Tensor:
        """1/variance of bins up to a frequency; a little beyond, which holds the curves there and moves no ring."""
        everywhere = torch.full_like(self.bins.power, 1 / self.variance)
        return torch.where(self.bins.frequency_per_ang > highest_per_ang, _TETHER * everywhere, everywhere)

    def settle(self, model: RingModel) -> Refinement:
        """Fit the curves alone; the rings stay where the model has them."""
        everywhere = torch.full_like(self.bins.power, 1 / self.variance)
        model = self._climb(model, everywhere, holds_rings=True)
        return self._conclude(model, everywhere)

    def _phase(self, model: RingModel) -> Tensor:
        defocus = model.defocus_ang + model.cosine_ang * self._cosine + model.sine_ang * self._sine
        phase = phase_rad(self._squared, defocus, self.optics)
        return phase + self.constant_phase_rad(model)

    def _weigh(self, model: RingModel) -> Tensor:
        """1/variance of each bin, raised where whole rings miss the smooth model and for outlying bins."""
        residual = self.bins.power / self.expectation(model) - 1
        mean, count = self.bins.average_rings(residual)
        excess = (mean.square() * count / self.variance).clamp(min=1)
        padded = torch.nn.functional.pad(excess[None, None], (3, 3), mode="replicate")
        inflation = torch.nn.functional.avg_pool1d(padded, 7, 1)[0, 0]
        outlying = (_HUBER * math.sqrt(self.variance) / residual.abs().clamp(min=1e-12)).clamp(max=1)
        return outlying / (self.variance * inflation[self.bins.ring])

    def _climb(self, model: RingModel, weight: Tensor, *, holds_rings: bool = False) -> RingModel:
        """Levenberg–Marquardt on the penalised log-likelihood; optionally with the rings held in their places."""
        damping = 1e-3
        score = self._objective(model, weight)
        normal, gradient = self._linearise(model, weight)
        for _ in range(_ITERATIONS):
            damped = normal + torch.diag(normal.diagonal() * damping + 1e-9)
            step = self._solve(damped, gradient, holds_rings=holds_rings)
            trial = self._advance(model, step)
            trial_score = self._objective(trial, weight)
            if trial_score > score or not math.isfinite(trial_score):
                damping *= 8
                if damping > 1e6:
                    break
                continue
            gained, model, score = score - trial_score, trial, trial_score
            damping = max(damping / 6, 1e-9)
            if gained < 1e-3:
                break
            normal, gradient = self._linearise(model, weight)
        return model

    def _solve(self, normal: Tensor, gradient: Tensor, *, holds_rings: bool) -> Tensor:
        """Step that moves no ring by more than a part of its width: the likelihood has many maxima."""
        if holds_rings:
            free = self._shape_count
            curves = torch.linalg.solve(normal[free:, free:], gradient[free:])
            return torch.cat([torch.zeros_like(gradient[:free]), curves])
        step: Tensor = torch.linalg.solve(normal, gradient)
        moved_rad = float(step[:3].abs().sum()) * _DEFOCUS_SCALE_ANG * float(self._slope.max())
        return step * min(1.0, _LONGEST_STEP_RAD / max(moved_rad, 1e-12))

    def _objective(self, model: RingModel, weight: Tensor) -> float:
        expected = self.expectation(model)
        misfit = (weight * (expected.log() + self.bins.power / expected)).sum()
        return float(misfit + 0.5 * self._prior_pull(model).square().sum())

    def _prior_pull(self, model: RingModel) -> Tensor:
        return (model.envelope - math.log(0.1)) / _ENVELOPE_SPREAD

    def _linearise(self, model: RingModel, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Fisher information and gradient over defocus, cosine, sine[, phase], background, envelope.

        The curves are constant along a ring, so that sums over rings replace the Jacobian of all bins.
        """
        background, contrast = (curve[self.bins.ring] for curve in self.curves(model))
        phase = self._phase(model)
        relative = 1 + contrast * phase.sin().square()
        shape = self._shape_columns(contrast * (2 * phase).sin() / relative)
        share = 1 - 1 / relative
        weighted_residual = weight * (self.bins.power / (background * relative) - 1)
        weighted_shape = shape * weight
        columns = [weight, weight * share, weight * share**2, weighted_residual, weighted_residual * share]
        sums = self._sum_rings(torch.cat([torch.stack(columns), weighted_shape, weighted_shape * share]))
        plain, shared, twice, pull, pull_shared = sums[:5]
        of_shape, of_shape_shared = sums[5 : 5 + self._shape_count], sums[5 + self._shape_count :]
        base, above = self._background_rings, self._envelope_rings
        crossed = base.T @ (shared[:, None] * above)
        rows = [
            torch.cat([shape @ weighted_shape.T, of_shape @ base, of_shape_shared @ above], dim=1),
            torch.cat([(of_shape @ base).T, base.T @ (plain[:, None] * base), crossed], dim=1),
            torch.cat([(of_shape_shared @ above).T, crossed.T, above.T @ (twice[:, None] * above)], dim=1),
        ]
        normal = torch.cat(rows)
        normal[-ENVELOPE_SPLINES:, -ENVELOPE_SPLINES:].diagonal().add_(1 / _ENVELOPE_SPREAD**2)
        gradient = torch.cat([shape @ weighted_residual, base.T @ pull, above.T @ pull_shared])
        gradient[-ENVELOPE_SPLINES:] -= self._prior_pull(model) / _ENVELOPE_SPREAD
        return normal, gradient

    def _shape_columns(self, turn: Tensor) -> Tensor:
        """Derivatives of log S by defocus, cosine, sine (in units of the scale) and phase shift, (parameter, bin)."""
        along = _DEFOCUS_SCALE_ANG * self._slope * turn
        columns = [along, along * self._cosine, along * self._sine]
        return torch.stack([*columns, turn] if self.fit_phase else columns)

    def _sum_rings(self, values: Tensor) -> Tensor:
        """Sum (quantity, bin) over the bins of each ring."""
        total = torch.zeros((len(values), self.bins.ring_count), dtype=values.dtype, device=values.device)
        return total.index_add_(1, self.bins.ring, values)

    def _advance(self, model: RingModel, step: Tensor) -> RingModel:
        shape = step[:4].tolist()
        first = self._shape_count
        return RingModel(
            model.defocus_ang + _DEFOCUS_SCALE_ANG * shape[0],
            model.cosine_ang + _DEFOCUS_SCALE_ANG * shape[1],
            model.sine_ang + _DEFOCUS_SCALE_ANG * shape[2],
            model.phase_shift_rad + (shape[3] if self.fit_phase else 0.0),
            model.background + step[first : first + BACKGROUND_SPLINES],
            (model.envelope + step[first + BACKGROUND_SPLINES :]).clamp(-9.0, 5.0),
        )

    def _conclude(self, model: RingModel, weight: Tensor) -> Refinement:
        """Covariance from the curvature, with the noise that cells of many bins really show."""
        normal, _ = self._linearise(model, weight)
        count = self._shape_count
        scale = torch.full((count,), _DEFOCUS_SCALE_ANG, dtype=normal.dtype, device=normal.device)
        if self.fit_phase:
            scale[3] = 1.0
        inverse = torch.linalg.inv(normal + 1e-9 * torch.diag(normal.diagonal() + 1e-9))
        clumping = self._clumping(model)
        covariance = inverse[:count, :count] * scale[:, None] * scale[None, :] * clumping
        everywhere = torch.full_like(self.bins.power, 1 / self.variance)
        return Refinement(model, covariance, -self._objective(model, everywhere), clumping)

    def _clumping(self, model: RingModel) -> float:
        """How many times the noise of a cell's mean exceeds that of independent bins: neighbours are correlated."""
        residual = self.bins.power / self.expectation(model) - 1
        sector = ((self.bins.angle_rad / math.pi + 0.5) * 12).long().clamp(0, 11)
        cell = self.bins.ring // 6 * 12 + sector
        size = int(cell.max()) + 1
        count = torch.zeros(size, dtype=torch.float64, device=cell.device).index_add_(
            0, cell, torch.ones_like(residual)
        )
        total = torch.zeros_like(count).index_add_(0, cell, residual)
        full = count >= 20
        if not bool(full.any()):
            return 1.0
        mean = total[full] / count[full]
        return max(1.0, float((mean.square() * count[full]).median() / 0.455 / self.variance))
