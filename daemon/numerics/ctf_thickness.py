"""Thickness of a specimen from the node where its Thon rings vanish and turn over.

Layers at different depths have different defocus: their rings add up to −A(k) s(k) cos 2χ(k) with
s = sin(ξ)/ξ, ξ = πλk²t (Tichelaar, Hagen, Gorelik, Xue & Mahamid 2020, Ultramicroscopy 216, 113023; Elferich, Kong,
Zottig & Grigorieff 2024, eLife 13, RP97227). An envelope A may fall as it likes but is never negative: only a
node, beyond which the rings are reversed, tells thickness from envelope.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from daemon.numerics.ctf_background import spline_basis
from daemon.numerics.ctf_curves import CtfNumbers, PhaseLines
from daemon.numerics.spectrum import PowerSpectrum
from daemon.numerics.thon import Optics, select_bins

_RANGE_ANG = (300.0, 4000.0)
_STEP_ANG = 20.0
_ENVELOPE_SPLINES = 10
_BACKGROUND_SPLINES = 18
_BLOCK_RINGS = 4
_MEDIAN_OF_CHI_SQUARE = 0.455
_LEAST_EVIDENCE = 40.0
"""Fall of χ² that a node must bring: rings that end at once, without one, reach 25."""
_LARGEST_SIGMA_ANG = 100.0
_DEFOCUS_STEPS_ANG = tuple(float(step) for step in range(-60, 61, 15))

Curve = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Thickness:
    """Thickness of the specimen along the beam; evidence: fall of χ² that its node brings over any rings without one.

    is_carried: whether there is a node in the data at all, seen well enough.
    """

    thickness_ang: float
    sigma_ang: float
    evidence: float
    is_carried: bool


def measure_thickness(
    spectrum: PowerSpectrum,
    found: CtfNumbers,
    optics: Optics,
    *,
    lowest_resolution_ang: float = 30.0,
    highest_resolution_ang: float = 3.0,
) -> Thickness | None:
    """Look for the node in the spectrum of a micrograph whose CTF is known; None where there are too few rings.

    Raises ValueError when the mean defocus is not positive.
    """
    if not found.mean_defocus_ang > 0:
        raise ValueError("a thickness needs a positive defocus")
    finest = max(highest_resolution_ang, 2.2 * spectrum.pixel_size_ang)
    bins = select_bins(spectrum.spectrum_yx, spectrum.pixel_size_ang, 1 / lowest_resolution_ang, 1 / finest)
    if len(bins.power) == 0:
        return None
    lines = PhaseLines(bins, found, optics)
    if len(lines.frequency_r) < 8 * _BLOCK_RINGS:
        return None
    angle, turn, frequency = (value.cpu().numpy() for value in (lines.angle_r, lines.turn_r, lines.frequency_r))
    root_weight = lines.weight_r.sqrt()
    # Even in frequency: where rings are lost the envelope falls faster than splines even in its root could follow.
    ends = float(lines.frequency_r[0]), float(lines.frequency_r[-1])
    bases = (spline_basis(lines.frequency_r, *ends, _ENVELOPE_SPLINES), lines.splines(_BACKGROUND_SPLINES))
    envelope, background = ((root_weight[:, None] * basis).cpu().numpy() for basis in bases)
    curve = (root_weight * lines.whiten(bins.power)).cpu().numpy()
    rings = _Rings(curve, envelope, np.linalg.qr(background).Q, angle, turn)
    finest_node = 1 / (optics.wavelength_ang * frequency[-1] ** 2)
    steps = np.arange(max(_RANGE_ANG[0], finest_node), _RANGE_ANG[1], _STEP_ANG)
    if len(steps) < 3:
        return None
    xi = math.pi * optics.wavelength_ang * frequency**2
    return _compare(rings, steps, xi)


@dataclass(frozen=True)
class _Rings:
    """Whitened curve and envelope splines, times the root of the weight; 2χ and its derivative by defocus.

    background: orthonormal smooth functions, weighted likewise; what they can say is taken from curve and rings alike.
    """

    curve: Curve
    envelope: Curve
    background: Curve
    angle: Curve
    turn: Curve

    def misfit(self, modulation: Curve, offset_ang: float) -> tuple[float, Curve]:
        """Least misfit of rings under any envelope that is not negative; and the residual."""
        wave = -np.cos(self.angle + self.turn * offset_ang) * modulation
        design, curve = self._sharpen(wave[:, None] * self.envelope), self._sharpen(self.curve)
        coefficients, distance = nnls(design, curve)
        return float(distance) ** 2, curve - design @ coefficients

    def _sharpen(self, values: Curve) -> Curve:
        sharp: Curve = values - self.background @ (self.background.T @ values)
        return sharp


def _compare(rings: _Rings, steps_ang: Curve, xi_per_ang: Curve) -> Thickness:
    """Scan thickness, at the defocus that suits best with and without a node."""
    flat = np.ones_like(xi_per_ang)
    without = min(rings.misfit(flat, offset)[0] for offset in _DEFOCUS_STEPS_ANG)
    misfits = np.array([rings.misfit(np.sinc(xi_per_ang * step / math.pi), 0.0)[0] for step in steps_ang])
    near = float(steps_ang[int(misfits.argmin())])
    offset = min(_DEFOCUS_STEPS_ANG, key=lambda each: rings.misfit(np.sinc(xi_per_ang * near / math.pi), each)[0])
    misfits = np.array([rings.misfit(np.sinc(xi_per_ang * step / math.pi), offset)[0] for step in steps_ang])
    best = int(misfits.argmin())
    residual = rings.misfit(np.sinc(xi_per_ang * steps_ang[best] / math.pi), offset)[1]
    noise = _noise(residual)
    evidence = (without - float(misfits[best])) / noise
    if not 0 < best < len(steps_ang) - 1:
        return Thickness(float(steps_ang[best]), math.inf, evidence, is_carried=False)
    left, middle, right = misfits[best - 1 : best + 2] / noise
    curvature = left - 2 * middle + right
    shift = 0.5 * (left - right) / curvature if curvature > 0 else 0.0
    sigma_ang = _STEP_ANG * math.sqrt(2 / curvature) if curvature > 0 else math.inf
    thickness_ang = float(steps_ang[best]) + _STEP_ANG * float(np.clip(shift, -1, 1))
    carried = evidence >= _LEAST_EVIDENCE and sigma_ang <= _LARGEST_SIGMA_ANG
    return Thickness(thickness_ang, sigma_ang, evidence, carried)


def _noise(residual: Curve) -> float:
    """Variance of independent rings: of blocks, as neighbours are correlated; medians, as few rings misfit."""
    blocks = residual[: len(residual) // _BLOCK_RINGS * _BLOCK_RINGS].reshape(-1, _BLOCK_RINGS)
    single, joint = (float(np.median(values**2)) / _MEDIAN_OF_CHI_SQUARE for values in (residual, blocks.sum(1)))
    return max(single, joint / _BLOCK_RINGS, 1e-30)
