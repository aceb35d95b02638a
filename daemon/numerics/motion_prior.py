"""What local motion is likely to look like, and how strongly to believe it: priors whose strength the data choose.

The likelihood is quadratic near its maximum: ℓ(d) ≈ bᵀd − ½ dᵀHd with b = gradient + H·d at the point of
expansion. With a normal prior of covariance σ²C the posterior is normal as well, and the evidence (MacKay 1992,
Neural Computation 4, 415) is known in closed form; hyperparameters maximise it on a fixed grid.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from daemon.numerics.motion_path import AMPLITUDES_PX, warped_time
from daemon.numerics.parallel import map_in_order

R = TypeVar("R")

_SPATIAL_LENGTHS = (0.16, 0.22, 0.3, 0.4, 0.6)
_TEMPORAL_LENGTHS = (0.5, 1.0, 2.0)
DECAY = 0.0
"""Temporal length that stands for motion which dies out exponentially with exposure, nobody knows how fast."""
# Exposures over which motion dies out to 1/e, evenly in their logarithm: all that has been seen on films of ice.
_DECAYS_E_PER_ANG2 = tuple(1.5 * 2 ** (step / 2) for step in range(9))
# Some local motion there is on every film of ice, seen or not: least amplitude where there is no evidence for any.
_LEAST_AMPLITUDE_PX = 0.15


@dataclass(frozen=True)
class FieldHypothesis:
    """Correlation lengths (fraction of the longer image side; warped time), amplitude per axis, and its probability.

    temporal_length is DECAY for motion that dies out.
    """

    spatial_length: float
    temporal_length: float
    amplitude_px: float
    probability: float


@dataclass(frozen=True)
class FieldPosterior:
    """Local motion at the places asked for and its variance per axis about its time mean.

    log_evidence is that of the average of all hypotheses, relative to no local motion at all. unevenness_px2: expected
    square per axis of the field less its means over time and over the places: the error of whole-frame motion alone.
    """

    field_pt2: Float[Tensor, "p t 2"]
    variance_pt: Float[Tensor, "p t"]
    log_evidence: float
    unevenness_px2: float
    hypotheses: tuple[FieldHypothesis, ...]


class FieldPrior:
    """Gaussian process over space and time with a separable covariance.

    Across space a squared exponential; along time either a squared exponential in warped time, or motion that dies out
    with exposure (Brilot et al. 2012, J. Struct. Biol. 177, 630): the mean over rates of exp(−(N + N')/N_rate).
    Positions are given as (n, samples, 2) fractions of the longer image side: a patch sees the mean of the field
    over its samples, which keeps curvature inside patches from being mistaken for less motion.
    """

    def __init__(self, patch_ps2: Float[Tensor, "p s 2"], exposure_t: Float[Tensor, "t"]) -> None:
        self._patch_ps2 = patch_ps2.double()
        self._exposure_t = exposure_t.double()

        def prepare(length: float) -> tuple[Tensor, "_Factor"]:
            covariance_qq = _spatial_covariance(self._patch_ps2, self._patch_ps2, length)
            return covariance_qq, _Factor.of(covariance_qq)

        prepared = dict(zip(_SPATIAL_LENGTHS, _in_order(prepare, _SPATIAL_LENGTHS), strict=True))
        self._covariance_qq = {length: covariance_qq for length, (covariance_qq, _) in prepared.items()}
        self._across = {length: factor for length, (_, factor) in prepared.items()}
        self._along = {
            length: _Factor.of(_temporal_covariance(self._exposure_t, length)) for length in (*_TEMPORAL_LENGTHS, DECAY)
        }

    def fit(
        self,
        linear_pt2: Float[Tensor, "p t 2"],
        strength_p: Float[Tensor, "p"],
        information_tt: Float[Tensor, "t t"],
        *,
        target_ms2: Float[Tensor, "m s 2"] | None = None,
        hypotheses: tuple[FieldHypothesis, ...] | None = None,
    ) -> FieldPosterior:
        """Expected field at the targets (the patches unless given), from b and H = diag(strength) ⊗ information.

        The result averages over correlation lengths and amplitudes by their evidence, or over the hypotheses given. A
        patch of no strength is predicted, not used.
        """
        targets = self._patch_ps2 if target_ms2 is None else target_ms2.double()
        separated = self._separate(linear_pt2, strength_p, information_tt, hypotheses)
        log_evidence = 0.0
        if hypotheses is None:
            hypotheses, log_evidence = _weigh(separated)
        shape = (targets.shape[0], linear_pt2.shape[1])
        field_mt2, square_mt = torch.zeros(*shape, 2, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
        cross = {
            space: self._covariance_qq[space]
            if target_ms2 is None
            else _spatial_covariance(targets, self._patch_ps2, space)
            for space in {each.spatial_length for each in hypotheses}
        }
        unevenness_px2, share = 0.0, 0.0
        for each in hypotheses:
            mean_mt2, variance_mt, uneven_mt = separated[each.spatial_length, each.temporal_length].predict(
                cross[each.spatial_length], each.amplitude_px
            )
            centred_mt2 = mean_mt2 - mean_mt2.mean(dim=1, keepdim=True)
            if each.amplitude_px >= _LEAST_AMPLITUDE_PX:
                uneven_mt2 = centred_mt2 - centred_mt2.mean(dim=0)
                unevenness_px2 += each.probability * float((uneven_mt + uneven_mt2.square().mean(dim=2)).mean())
                share += each.probability
            field_mt2 += each.probability * mean_mt2
            square_mt += each.probability * (variance_mt + centred_mt2.square().mean(dim=2))
        centred_mt2 = field_mt2 - field_mt2.mean(dim=1, keepdim=True)
        variance_mt = (square_mt - centred_mt2.square().mean(dim=2)).clamp_min(0)
        return FieldPosterior(field_mt2, variance_mt, log_evidence, unevenness_px2 / max(share, 1e-9), hypotheses)

    def expect(
        self,
        linear_pt2: Float[Tensor, "p t 2"],
        strength_p: Float[Tensor, "p"],
        information_tt: Float[Tensor, "t t"],
        *,
        hypotheses: tuple[FieldHypothesis, ...] | None = None,
    ) -> Float[Tensor, "p t 2"]:
        """Expected field at the patches, as `fit` has it, and nothing else of it."""
        separated = self._separate(linear_pt2, strength_p, information_tt, hypotheses)
        if hypotheses is None:
            hypotheses, _ = _weigh(separated)
        of_lengths: dict[tuple[float, float], list[FieldHypothesis]] = {}
        for each in hypotheses:
            of_lengths.setdefault((each.spatial_length, each.temporal_length), []).append(each)
        field_pt2 = torch.zeros(linear_pt2.shape, dtype=torch.float64)
        for lengths, alike in of_lengths.items():
            field_pt2 += separated[lengths].expect(self._covariance_qq[lengths[0]], alike)
        return field_pt2

    def _separate(
        self,
        linear_pt2: Tensor,
        strength_p: Tensor,
        information_tt: Tensor,
        hypotheses: tuple[FieldHypothesis, ...] | None,
    ) -> "dict[tuple[float, float], _Separated]":
        """Posteriors by correlation length across space and along time: all of them, or those of the hypotheses."""
        lengths = [(space, time) for space in _SPATIAL_LENGTHS for time in (*_TEMPORAL_LENGTHS, DECAY)]
        if hypotheses is not None:
            lengths = sorted({(each.spatial_length, each.temporal_length) for each in hypotheses})
        spaces, times = (sorted({each[axis] for each in lengths}) for axis in (0, 1))
        strength_pp = torch.diag(strength_p.double())
        across = dict(
            zip(spaces, _in_order(lambda each: _Eigenbasis.of(self._across[each], strength_pp), spaces), strict=True)
        )
        along = {time: _Eigenbasis.of(self._along[time], information_tt) for time in times}
        return {(space, time): _Separated(across[space], along[time], linear_pt2) for space, time in lengths}


def _in_order(work: Callable[[float], R], lengths: Sequence[float]) -> list[R]:
    return list(map_in_order(work, lengths, device=torch.device("cpu")))


def _weigh(separated: "dict[tuple[float, float], _Separated]") -> tuple[tuple[FieldHypothesis, ...], float]:
    """Probability of each hypothesis, and the log of their mean evidence; the improbable are dropped."""
    tried = [(space, time, amplitude) for space, time in separated for amplitude in AMPLITUDES_PX]
    log_evidence = torch.cat([each.log_evidence() for each in separated.values()])
    probability = torch.softmax(log_evidence, dim=0)
    probability = torch.where(probability > 0.01 * probability.max(), probability, torch.zeros_like(probability))
    probability = probability / probability.sum()
    kept = tuple(
        FieldHypothesis(space, time, amplitude, weight)
        for (space, time, amplitude), weight in zip(tried, probability.tolist(), strict=True)
        if weight > 0
    )
    return kept, float(torch.logsumexp(log_evidence, dim=0)) - math.log(len(tried))


def _temporal_covariance(exposure_t: Tensor, length: float) -> Tensor:
    if length == DECAY:
        rates = torch.tensor(_DECAYS_E_PER_ANG2, dtype=torch.float64)
        left_tr = torch.exp(-(exposure_t - exposure_t[0])[:, None] / rates)
        return left_tr @ left_tr.T / len(rates)
    clock_t = warped_time(exposure_t)
    return _squared_exponential((clock_t[:, None] - clock_t).square(), length)


def _squared_exponential(squared_distance: Tensor, length: float) -> Tensor:
    return torch.exp(-0.5 / length**2 * squared_distance)


def _spatial_covariance(first_ps2: Tensor, second_qs2: Tensor, length: float) -> Tensor:
    """Covariance of patch means: the average over all pairs of samples."""
    total = torch.zeros(first_ps2.shape[0], second_qs2.shape[0], dtype=torch.float64)
    for first_p2 in first_ps2.unbind(dim=1):
        for second_q2 in second_qs2.unbind(dim=1):
            apart_x, apart_y = (first_p2[:, None, axis] - second_q2[:, axis] for axis in (0, 1))
            total += _squared_exponential(apart_x.square_().addcmul_(apart_y, apart_y), length)
    return total / (first_ps2.shape[1] * second_qs2.shape[1])


@dataclass(frozen=True)
class _Eigenbasis:
    """One factor of the covariance in the basis where it and its factor of the information are both diagonal.

    root: (n, j) with root·rootᵀ the covariance and rootᵀ·information·root = diag(information_j). For predictions
    elsewhere: lift (n, j) = covariance⁻¹·root, so that cross-covariance @ lift continues root.
    """

    root: Tensor
    lift: Tensor
    information_j: Tensor

    @staticmethod
    def of(factor: "_Factor", information: Tensor) -> "_Eigenbasis":
        """Diagonalise both."""
        information_j, turn = torch.linalg.eigh(factor.root.T @ information @ factor.root)
        return _Eigenbasis(factor.root @ turn, factor.lift @ turn, information_j.clamp_min(0))


@dataclass(frozen=True)
class _Factor:
    """root · rootᵀ = covariance, and lift = covariance⁻¹ · root, without what is as good as zero."""

    root: Tensor
    lift: Tensor

    @staticmethod
    def of(covariance: Tensor) -> "_Factor":
        """Along the eigenvectors."""
        values, vectors = torch.linalg.eigh(covariance)
        kept = values > 1e-6 * values[-1]
        return _Factor(vectors[:, kept] * values[kept].sqrt(), vectors[:, kept] / values[kept].sqrt())


class _Separated:
    """The posterior in the product of two eigenbases, where everything is diagonal."""

    def __init__(self, across: _Eigenbasis, along: _Eigenbasis, linear_pt2: Tensor) -> None:
        self._across, self._along = across, along
        self._information_jk = across.information_j[:, None] * along.information_j[None, :]
        self._linear_jk2 = torch.einsum("pj,ptc,tk->jkc", across.root, linear_pt2.double(), along.root)

    def log_evidence(self) -> Float[Tensor, "a"]:
        """Log evidence of each amplitude relative to that of zero."""
        variance_a11 = torch.tensor(AMPLITUDES_PX, dtype=torch.float64).square()[:, None, None]
        gain_ajk = variance_a11 * self._information_jk
        square_jk = self._linear_jk2.square().sum(dim=2)
        fit_a = (square_jk * variance_a11 / (1 + gain_ajk)).sum(dim=(1, 2))
        # Two axes share the determinant: 2 · ½.
        return 0.5 * fit_a - torch.log1p(gain_ajk).sum(dim=(1, 2))

    def predict(self, cross_mp: Tensor, amplitude_px: float) -> tuple[Tensor, Tensor, Tensor]:
        """Mean (m, t, 2) and time-centred variance per axis (m, t) where the covariance with patches is cross_mp.

        Last the same variance of what differs from the mean over the m places.
        """
        variance_jk, across_mj = self._variance(amplitude_px), cross_mp @ self._across.lift
        field = self._mean(across_mj, variance_jk)
        centred_tk = self._along.root - self._along.root.mean(dim=0)
        uneven_mj = across_mj - across_mj.mean(dim=0)
        variance, uneven = (
            torch.einsum("mj,jk,tk->mt", each_mj.square(), variance_jk, centred_tk.square())
            for each_mj in (across_mj, uneven_mj)
        )
        return field, variance, uneven

    def expect(self, cross_mp: Tensor, hypotheses: Sequence[FieldHypothesis]) -> Tensor:
        """Means (m, t, 2) of hypotheses that differ in amplitude only, times their probabilities, added up."""
        variance_jk = torch.zeros_like(self._information_jk)
        for each in hypotheses:
            variance_jk += each.probability * self._variance(each.amplitude_px)
        return self._mean(cross_mp @ self._across.lift, variance_jk)

    def _variance(self, amplitude_px: float) -> Tensor:
        return amplitude_px**2 / (1 + amplitude_px**2 * self._information_jk)

    def _mean(self, across_mj: Tensor, variance_jk: Tensor) -> Tensor:
        return torch.einsum("mj,jkc,tk->mtc", across_mj, self._linear_jk2 * variance_jk[..., None], self._along.root)
