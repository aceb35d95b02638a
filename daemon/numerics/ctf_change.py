"""Change of defocus through an exposure: the specimen's movement along the beam, from spectra of a movie's parts.

Each part, one curve along the rings of the movie's CTF, is compared with rings at a defocus of its own, f + a τ, with τ
from −½ at the movie's beginning to ½ at its end. Background and envelope are each part's own: what radiation or
motion takes from its rings changes their height, not their places.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline
from torch import Tensor

from daemon.numerics.ctf_curves import CtfNumbers, PhaseLines
from daemon.numerics.ctf_envelope import FEWEST_RINGS, Curve, EnvelopedRings, residual_variance
from daemon.numerics.thon import Optics, select_bins

_ENVELOPE_SPLINES = 6
_LARGEST_CHANGE_ANG = 600.0
_CHANGE_STEP_ANG = 10.0
_LARGEST_OFFSET_ANG = 150.0
"""The movie's own fit found the middle, but for its error and what a change costs it."""
_OFFSET_STEP_ANG = 5.0
_TABLE_STEP_ANG = 15.0
_LARGEST_SIGMA_ANG = 100.0
_LEAST_EVIDENCE = 80.0
"""Fall of χ² that rings must bring over none: in noise the best of all that are tried bring some 40."""
_FITTED_STEPS = 3
_MOST_PARTS = 8
"""Each part's own envelope follows its noise: of many faint ones, what all of them find there passes for rings."""


@dataclass(frozen=True)
class DefocusChange:
    """Defocus at the end of the exposure less that at its beginning; positive: it grew.

    is_carried: whether the data tell it at all, within 100 Å and within what was searched.
    """

    change_ang: float
    sigma_ang: float
    is_carried: bool


def measure_defocus_change(
    parts_myx: Float[Tensor, "m box box"],
    pixel_size_ang: float,
    found: CtfNumbers,
    optics: Optics,
    *,
    lowest_resolution_ang: float = 30.0,
    highest_resolution_ang: float = 3.0,
) -> DefocusChange | None:
    """Compare the spectra of equal parts of an exposure, in order; None with fewer than two or too few rings.

    Of more than eight, neighbours are averaged, so that what is found does not hang on how finely a movie was cut.
    Raises ValueError when the mean defocus is not positive.
    """
    if not found.mean_defocus_ang > 0:
        raise ValueError("a change of defocus needs a positive defocus")
    if len(parts_myx) < 2:
        return None
    finest = max(highest_resolution_ang, 2.2 * pixel_size_ang)
    joined = _join(len(parts_myx))
    parts = [
        select_bins(parts_myx[group].mean(dim=0), pixel_size_ang, 1 / lowest_resolution_ang, 1 / finest)
        for group in joined
    ]
    if len(parts[0].power) == 0:
        return None
    lines = PhaseLines(parts[0], found, optics)
    if len(lines.frequency_r) < FEWEST_RINGS:
        return None
    rings = EnvelopedRings.along(lines, _ENVELOPE_SPLINES)
    middles = [0.5 * (group.start + group.stop) / len(parts_myx) - 0.5 for group in joined]
    return _compare([_tabulate(rings, rings.prepare(lines.whiten(part.power))) for part in parts], middles)


def _join(parts: int) -> list[slice]:
    """Neighbouring parts that are taken together, in groups as equal as can be."""
    count = min(parts, _MOST_PARTS)
    edges = [round(index * parts / count) for index in range(count + 1)]
    return [slice(*pair) for pair in pairwise(edges)]


def _tabulate(rings: EnvelopedRings, prepared_r: Curve) -> CubicSpline:
    """χ² of one part over the defocus that it has beyond the movie's, in its own noise, less that without rings."""
    reach = 0.5 * _LARGEST_CHANGE_ANG + _LARGEST_OFFSET_ANG
    offsets = np.arange(-reach, reach + 1, _TABLE_STEP_ANG)
    fits = [rings.fit(prepared_r, offset) for offset in offsets]
    misfits = np.array([misfit for misfit, _ in fits])
    noise = residual_variance(fits[int(misfits.argmin())][1])
    return CubicSpline(offsets, (misfits - float(prepared_r @ prepared_r)) / noise)


def _compare(tables: list[CubicSpline], middles: list[float]) -> DefocusChange:
    """Least χ² of all parts over the change, the common offset free; its curvature gives the uncertainty."""
    changes = np.arange(-_LARGEST_CHANGE_ANG, _LARGEST_CHANGE_ANG + 1, _CHANGE_STEP_ANG)
    offsets = np.arange(-_LARGEST_OFFSET_ANG, _LARGEST_OFFSET_ANG + 1, _OFFSET_STEP_ANG)
    total = sum(
        table(offsets[None, :] + middle * changes[:, None]) for table, middle in zip(tables, middles, strict=True)
    )
    misfits: Curve = np.asarray(total).min(axis=1)
    best = int(misfits.argmin())
    if not _FITTED_STEPS <= best < len(changes) - _FITTED_STEPS:
        return DefocusChange(float(changes[best]), math.inf, is_carried=False)
    near = slice(best - _FITTED_STEPS, best + _FITTED_STEPS + 1)
    curvature, slope, _ = np.polyfit(changes[near] - changes[best], misfits[near], 2)
    if curvature <= 0:
        return DefocusChange(float(changes[best]), math.inf, is_carried=False)
    sigma_ang = 1 / math.sqrt(curvature)
    reach = _FITTED_STEPS * _CHANGE_STEP_ANG
    change_ang = float(changes[best]) + float(np.clip(-0.5 * slope / curvature, -reach, reach))
    carried = sigma_ang <= _LARGEST_SIGMA_ANG and -float(misfits[best]) >= _LEAST_EVIDENCE
    return DefocusChange(change_ang, sigma_ang, carried)
