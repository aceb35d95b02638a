"""Fit a CTF to an averaged power spectrum: defocus, astigmatism, phase shift, how sure, and how far.

A search over everything at once finds the rings (ctf_fit_search), maximum likelihood places them and
gives their uncertainty (ctf_fit_refine) and chooses among what else would fit faint ones (ctf_fit_rivals), and what
they agree with decides whether to believe them (ctf_fit_quality). Conventions: daemon.numerics.ctf.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from daemon.numerics.ctf_background import fit_log_background, spline_basis
from daemon.numerics.ctf_fit_quality import Agreement, RotationalAverage, average_rotationally, judge_agreement
from daemon.numerics.ctf_fit_refine import BACKGROUND_SPLINES, Refinement, RingFit, RingModel
from daemon.numerics.ctf_fit_rivals import LEAST_SIGNIFICANCE, Choice, choose_fit
from daemon.numerics.ctf_fit_search import Candidate, SearchRange, search_defocus
from daemon.numerics.sentences import say_below
from daemon.numerics.spectrum import PowerSpectrum
from daemon.numerics.thon import Optics, ThonBins, select_bins
from daemon.numerics.thon_picture import draw_halves

_LEAST_RINGS = 2.0
"""One ring fits many defocus values; two in step with the model do not."""
_LEAST_DIRECTION = 0.25
"""Ring contrast left in the worst direction, relative to the whole: drift and tilt take it to zero."""
_LARGEST_RELATIVE_SIGMA = 0.03
_LEAST_RING_BINS = 24
_LEAST_POWERED = 0.5
_NYQUIST_MARGIN = 2.2
_FINEST_RESOLUTION_ANG = 3.0


@dataclass(frozen=True)
class CtfOptions:
    """What to look for. Å and degrees; resolutions are limits of the fit, None = from the pixel size.

    phase_shift_deg is taken as it is unless fit_phase. is_fast: refine in one round, without weighing misfits.
    """

    lowest_defocus_ang: float = 3000.0
    highest_defocus_ang: float = 50000.0
    lowest_resolution_ang: float = 30.0
    highest_resolution_ang: float | None = None
    largest_astigmatism_ang: float = 3000.0
    fit_phase: bool = False
    phase_shift_deg: float = 0.0
    is_fast: bool = False

    def __post_init__(self) -> None:
        if not self.lowest_defocus_ang < self.highest_defocus_ang:
            raise ValueError(f"defocus range is empty: {self.lowest_defocus_ang} … {self.highest_defocus_ang} Å")
        if self.lowest_defocus_ang <= 0 or self.largest_astigmatism_ang < 0:
            raise ValueError("the lowest defocus must be positive and the largest astigmatism not negative")
        if self.highest_resolution_ang is not None and self.highest_resolution_ang >= self.lowest_resolution_ang:
            raise ValueError("the highest resolution must be a smaller number of Å than the lowest")


@dataclass(frozen=True)
class CtfUncertainty:
    """Standard deviations from the curvature of the likelihood; of the mean defocus, and of U − V."""

    defocus_ang: float
    astigmatism_ang: float
    astigmatism_angle_deg: float
    phase_shift_deg: float | None


@dataclass(frozen=True)
class CtfFit:
    """A fitted CTF. U ≥ V; angle of U from +x towards +y in (−90, 90]; phase shift in [0, 180).

    score: normalised cross-correlation of rings and |CTF|, comparable with CTFFIND's figure of merit.
    significance: standard deviations by which the rings rise above noise. fit_resolution_ang: where rings
    and fit first stop agreeing, None when they nowhere agree. rings: how many were matched. picture_yx:
    measured half (x < 0) beside fitted half, both about 0 … 1. `reason` says why a fit is not `confident`.
    """

    defocus_u_ang: float
    defocus_v_ang: float
    astigmatism_angle_deg: float
    phase_shift_deg: float
    uncertainty: CtfUncertainty
    score: float
    significance: float
    rings: float
    weakest_direction: float
    fit_resolution_ang: float | None
    confident: bool
    reason: str
    average: RotationalAverage
    picture_yx: Float[Tensor, "box box"]


@dataclass(frozen=True)
class NoCtf:
    """A spectrum to which nothing can be fitted, and why; the picture is grey."""

    reason: str
    picture_yx: Float[Tensor, "box box"]
    confident: Literal[False] = False


def fit_ctf(
    spectrum: PowerSpectrum,
    *,
    voltage_kv: float,
    spherical_aberration_mm: float,
    amplitude_contrast: float,
    options: CtfOptions | None = None,
) -> CtfFit | NoCtf:
    """Fit U, V, angle and, if wanted, phase shift; NoCtf when the spectrum is empty or too coarse.

    Spectra without rings give a fit that is not confident. Raises ValueError for NaN or infinite bins and
    for impossible optics.
    """
    options = options or CtfOptions()
    optics = Optics(voltage_kv, spherical_aberration_mm, amplitude_contrast)
    whitened = _whiten(spectrum, optics, options)
    if isinstance(whitened, NoCtf):
        return whitened
    bins, variance = whitened.bins, whitened.variance
    wanted = SearchRange(
        options.lowest_defocus_ang,
        options.highest_defocus_ang,
        options.largest_astigmatism_ang,
        None if options.fit_phase else math.radians(options.phase_shift_deg),
    )
    candidates = search_defocus(whitened.power, variance, bins, optics, wanted)
    if not candidates:
        return _give_up(spectrum, "the spectrum has too few bins for rings")
    fit = RingFit(bins, optics, variance, fit_phase=options.fit_phase)
    choice = choose_fit(fit, candidates, whitened.log_background, is_fast=options.is_fast)
    return _describe(spectrum, fit, choice, options)


def judge_ctf(
    spectrum: PowerSpectrum,
    *,
    defocus_u_ang: float,
    defocus_v_ang: float,
    astigmatism_angle_deg: float,
    phase_shift_deg: float,
    voltage_kv: float,
    spherical_aberration_mm: float,
    amplitude_contrast: float,
    options: CtfOptions | None = None,
) -> CtfFit | NoCtf:
    """Judge a CTF that was found elsewhere as `fit_ctf` judges its own: its rings stay where they are.

    Only background and envelope are fitted. significance: standard deviations by which the spectrum follows these very
    rings (matched filter). Raises ValueError as `fit_ctf` does, and for numbers that are not finite or an overfocus.
    """
    numbers = (defocus_u_ang, defocus_v_ang, astigmatism_angle_deg, phase_shift_deg)
    if not all(math.isfinite(number) for number in numbers) or defocus_u_ang + defocus_v_ang <= 0:
        raise ValueError("the CTF to be judged must be of finite numbers, its mean defocus positive")
    options = options or CtfOptions()
    optics = Optics(voltage_kv, spherical_aberration_mm, amplitude_contrast)
    whitened = _whiten(spectrum, optics, options)
    if isinstance(whitened, NoCtf):
        return whitened
    given = Candidate(
        0.5 * (defocus_u_ang + defocus_v_ang),
        0.5 * (defocus_u_ang - defocus_v_ang),
        math.radians(astigmatism_angle_deg),
        math.radians(phase_shift_deg),
        significance=0.0,
        highest_per_ang=float(whitened.bins.frequency_per_ang.max()),
    )
    fit = RingFit(whitened.bins, optics, whitened.variance, fit_phase=options.fit_phase)
    refinement = fit.settle(fit.start(given, whitened.log_background))
    _, contrast = fit.curves(refinement.model)
    swing = contrast[fit.bins.ring]
    expected = (1 + swing * fit.rings(refinement.model)) / (1 + swing / 2) - 1
    power = float(expected.square().sum())
    significance = float((whitened.power * expected).sum()) / math.sqrt(whitened.variance * power) if power > 0 else 0.0
    return _describe(spectrum, fit, Choice(refinement, significance, None), options)


@dataclass(frozen=True)
class _Whitened:
    """Bins between the limits of the fit, their power over a smooth background less one, outliers clipped."""

    bins: ThonBins
    log_background: Tensor
    power: Tensor
    variance: float


def _whiten(spectrum: PowerSpectrum, optics: Optics, options: CtfOptions) -> _Whitened | NoCtf:
    if not bool(torch.isfinite(spectrum.spectrum_yx).all()):
        raise ValueError("spectrum holds NaN or infinite bins")
    if not (0 <= optics.amplitude_contrast < 1 and optics.spherical_aberration_mm >= 0):
        raise ValueError("amplitude contrast must lie in [0, 1) and the spherical aberration not be negative")
    nyquist = _NYQUIST_MARGIN * spectrum.pixel_size_ang
    finest = max(nyquist, options.highest_resolution_ang or _FINEST_RESOLUTION_ANG)
    if finest >= 0.7 * options.lowest_resolution_ang:
        return _give_up(spectrum, f"pixels of {spectrum.pixel_size_ang:.1f} Å are too coarse for rings")
    bins = select_bins(spectrum.spectrum_yx, spectrum.pixel_size_ang, 1 / options.lowest_resolution_ang, 1 / finest)
    if len(bins.power) == 0:
        return _give_up(spectrum, "the spectrum has too few bins for rings")
    rings, count = bins.average_rings(bins.power)
    present = count > 0
    if int(present.sum()) < _LEAST_RING_BINS:
        return _give_up(spectrum, "the spectrum has too few bins for rings")
    # Beside the peaks of a lattice single rings may fall below zero; without any power all of them do.
    powered = present & (rings > 0)
    if int(powered.sum()) < max(_LEAST_RING_BINS, _LEAST_POWERED * int(present.sum())):
        return _give_up(spectrum, "the spectrum holds no power, as that of a constant image")
    frequency = torch.arange(bins.ring_count, device=rings.device).double() * bins.ring_width_per_ang
    basis = _background_basis(bins, frequency)
    log_background = fit_log_background(rings[powered], count[powered], basis[powered])
    power = bins.power / (basis @ log_background).exp()[bins.ring] - 1
    variance = _bin_variance(power, bins)
    limit = 5 * math.sqrt(variance)
    return _Whitened(bins, log_background, power.clamp(-limit, limit), variance)


def _give_up(spectrum: PowerSpectrum, reason: str) -> NoCtf:
    return NoCtf(reason, torch.full_like(spectrum.spectrum_yx, 0.5, dtype=torch.float32))


def _background_basis(bins: ThonBins, frequency: Tensor) -> Tensor:
    low, high = float(bins.frequency_per_ang.min()) ** 0.5, float(bins.frequency_per_ang.max()) ** 0.5
    return spline_basis(frequency.sqrt(), low, high, BACKGROUND_SPLINES)


def _bin_variance(whitened: Tensor, bins: ThonBins) -> float:
    """Variance of single bins about their ring's mean, over the outer half of the rings; never zero."""
    outer = bins.ring > int(bins.ring.float().mean())
    mean, _ = bins.average_rings(whitened)
    return max(float((whitened - mean[bins.ring])[outer].square().mean()), 1e-6)


def _describe(spectrum: PowerSpectrum, fit: RingFit, choice: Choice, options: CtfOptions) -> CtfFit:
    """Judge the model, and turn its numbers into those that people use."""
    model, significance = choice.refinement.model, choice.significance
    average = average_rotationally(fit, model)
    agreement = judge_agreement(fit, model, average, has_rings=significance >= LEAST_SIGNIFICANCE)
    picture_yx = draw_halves(spectrum, fit, model, agreement.last_per_ang or 0.0)
    half_difference = math.hypot(model.cosine_ang, model.sine_ang)
    angle_deg = math.degrees(0.5 * math.atan2(model.sine_ang, model.cosine_ang))
    uncertainty = _uncertainty(choice.refinement, half_difference)
    reason = _doubt(choice, agreement, uncertainty, options)
    return CtfFit(
        defocus_u_ang=model.defocus_ang + half_difference,
        defocus_v_ang=model.defocus_ang - half_difference,
        astigmatism_angle_deg=angle_deg,
        phase_shift_deg=math.degrees(model.phase_shift_rad) % 180.0,
        uncertainty=uncertainty,
        score=agreement.score,
        significance=significance,
        rings=agreement.rings,
        weakest_direction=agreement.weakest_direction,
        fit_resolution_ang=None if agreement.last_per_ang is None else 1 / agreement.last_per_ang,
        confident=not reason,
        reason=reason,
        average=average,
        picture_yx=picture_yx,
    )


def _uncertainty(refinement: Refinement, half_difference_ang: float) -> CtfUncertainty:
    """Propagate the covariance of (defocus, cosine, sine) to astigmatism and angle."""
    model, covariance = refinement.model, refinement.covariance
    size = max(half_difference_ang, 1e-6)
    along = torch.tensor(
        [model.cosine_ang / size, model.sine_ang / size], dtype=torch.float64, device=covariance.device
    )
    across = torch.stack([-along[1], along[0]])
    inner = covariance[1:3, 1:3]
    sigma_along = math.sqrt(max(float(along @ inner @ along), 0.0))
    sigma_across = math.sqrt(max(float(across @ inner @ across), 0.0))
    return CtfUncertainty(
        defocus_ang=math.sqrt(max(float(covariance[0, 0]), 0.0)),
        astigmatism_ang=2 * sigma_along,
        astigmatism_angle_deg=min(math.degrees(0.5 * sigma_across / size), 90.0),
        phase_shift_deg=math.degrees(math.sqrt(max(float(covariance[3, 3]), 0.0))) if len(covariance) > 3 else None,
    )


def _doubt(choice: Choice, agreement: Agreement, uncertainty: CtfUncertainty, options: CtfOptions) -> str:
    """Say the first thing that speaks against the fit; empty when nothing does."""
    model, significance = choice.refinement.model, choice.significance
    astigmatism = 2 * math.hypot(model.cosine_ang, model.sine_ang)
    doubts = (
        (
            significance < LEAST_SIGNIFICANCE,
            f"no rings: they rise {say_below(significance)} sigma above noise, {LEAST_SIGNIFICANCE:.0f} are needed",
        ),
        (
            agreement.rings < _LEAST_RINGS,
            f"the fit agrees with the spectrum over {say_below(agreement.rings)} rings, {_LEAST_RINGS:.0f} are needed",
        ),
        (
            uncertainty.defocus_ang > _LARGEST_RELATIVE_SIGMA * abs(model.defocus_ang),
            f"defocus is uncertain by ±{uncertainty.defocus_ang:.0f} Å",
        ),
        (
            not options.lowest_defocus_ang <= model.defocus_ang <= options.highest_defocus_ang,
            f"defocus {model.defocus_ang:.0f} Å lies outside the range of the search",
        ),
        (
            astigmatism > 1.2 * options.largest_astigmatism_ang,
            f"astigmatism {astigmatism:.0f} Å is beyond what was searched",
        ),
        (
            agreement.weakest_direction + 2 * agreement.weakest_direction_sigma < _LEAST_DIRECTION,
            "rings are missing in one direction, as drift does",
        ),
        (choice.rival is not None, f"rings so faint fit another CTF nearly as well{_say_rival(choice.rival)}"),
    )
    return next((doubt for holds, doubt in doubts if holds), "")


def _say_rival(rival: RingModel | None) -> str:
    if rival is None:
        return ""
    half_difference = math.hypot(rival.cosine_ang, rival.sine_ang)
    u, v = (rival.defocus_ang + sign * half_difference for sign in (1, -1))
    return f": defocus {u / 1e4:.2f} / {v / 1e4:.2f} µm"
