"""Thickness of a specimen from the node where its Thon rings vanish and turn over.

Layers at different depths have different defocus: their rings add up to −A(k) s(k) cos 2χ(k) with
s = sin(ξ)/ξ, ξ = πλk²t (Tichelaar, Hagen, Gorelik, Xue & Mahamid 2020, Ultramicroscopy 216, 113023; Elferich, Kong,
Zottig & Grigorieff 2024, eLife 13, RP97227). An envelope A may fall as it likes but is never negative: only a
node, beyond which the rings are reversed, tells thickness from envelope.
"""

import math
from dataclasses import dataclass

import numpy as np

from daemon.numerics.ctf_curves import CtfNumbers, PhaseLines
from daemon.numerics.ctf_envelope import FEWEST_RINGS, Curve, EnvelopedRings, residual_variance
from daemon.numerics.spectrum import PowerSpectrum
from daemon.numerics.thon import Optics, select_bins

_RANGE_ANG = (300.0, 4000.0)
_STEP_ANG = 20.0
_ENVELOPE_SPLINES = 10
_LEAST_EVIDENCE = 40.0
"""Fall of χ² that a node must bring: rings that end at once, without one, reach 25."""
_LARGEST_SIGMA_ANG = 100.0
_DEFOCUS_STEPS_ANG = tuple(float(step) for step in range(-60, 61, 15))


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
    if len(lines.frequency_r) < FEWEST_RINGS:
        return None
    rings, frequency = EnvelopedRings.along(lines, _ENVELOPE_SPLINES), lines.frequency_r.cpu().numpy()
    prepared_r = rings.prepare(lines.whiten(bins.power))
    finest_node = 1 / (optics.wavelength_ang * frequency[-1] ** 2)
    steps = np.arange(max(_RANGE_ANG[0], finest_node), _RANGE_ANG[1], _STEP_ANG)
    if len(steps) < 3:
        return None
    xi = math.pi * optics.wavelength_ang * frequency**2
    return _compare(rings, prepared_r, steps, xi)


def _compare(rings: EnvelopedRings, prepared_r: Curve, steps_ang: Curve, xi_per_ang: Curve) -> Thickness:
    """Scan thickness, at the defocus that suits best with and without a node."""
    nodes = [np.sinc(xi_per_ang * step / math.pi) for step in steps_ang]
    without = min(rings.fit(prepared_r, offset)[0] for offset in _DEFOCUS_STEPS_ANG)
    near = min(nodes, key=lambda node: rings.fit(prepared_r, 0.0, node)[0])
    offset = min(_DEFOCUS_STEPS_ANG, key=lambda each: rings.fit(prepared_r, each, near)[0])
    fits = [rings.fit(prepared_r, offset, node) for node in nodes]
    misfits = np.array([misfit for misfit, _ in fits])
    best = int(misfits.argmin())
    noise = residual_variance(fits[best][1])
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
