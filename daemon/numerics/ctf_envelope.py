"""Rings under an envelope that may fall as it likes but is never negative, fitted to curves along lines of equal phase.

Change of defocus and thickness are told by how badly rings with a trial's phases fit.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls
from torch import Tensor

from daemon.numerics.ctf_background import spline_basis
from daemon.numerics.ctf_curves import PhaseLines

_BACKGROUND_SPLINES = 18
_BLOCK_RINGS = 4
_MEDIAN_OF_CHI_SQUARE = 0.455

FEWEST_RINGS = 8 * _BLOCK_RINGS
"""Rings that a curve must have for its noise to be told."""

Curve = npt.NDArray[np.float64]


@dataclass(frozen=True)
class EnvelopedRings:
    """Rings along the lines of one CTF, everything times the root of the lines' weights.

    envelope: splines that its multiples are made of. background: orthonormal smooth functions; what they can say is
    taken from curves and rings alike. angle_r, turn_r: 2χ and its derivative by defocus (rad/Å). root_weight_r:
    the roots.
    """

    envelope: Curve
    background: Curve
    angle_r: Curve
    turn_r: Curve
    root_weight_r: Tensor

    @staticmethod
    def along(lines: PhaseLines, envelope_splines: int) -> "EnvelopedRings":
        """Rings along these lines, of which there are FEWEST_RINGS at least.

        The splines are even in frequency: where rings are lost, envelopes fall faster than splines even in its root
        could follow.
        """
        root_weight_r = lines.weight_r.sqrt()
        ends = float(lines.frequency_r[0]), float(lines.frequency_r[-1])
        bases = (spline_basis(lines.frequency_r, *ends, envelope_splines), lines.splines(_BACKGROUND_SPLINES))
        envelope, background = ((root_weight_r[:, None] * basis).cpu().numpy() for basis in bases)
        angle_r, turn_r = (each.cpu().numpy() for each in (lines.angle_r, lines.turn_r))
        return EnvelopedRings(envelope, np.linalg.qr(background).Q, angle_r, turn_r, root_weight_r)

    def prepare(self, whitened_r: Tensor) -> Curve:
        """A whitened curve as rings are compared with it: weighted, without what is smooth."""
        return self._sharpen((self.root_weight_r * whitened_r).cpu().numpy())

    def fit(self, prepared_r: Curve, offset_ang: float, modulation_r: Curve | None = None) -> tuple[float, Curve]:
        """Least misfit of rings whose defocus is larger by an offset, with any envelope; and the residual.

        modulation_r: what the rings are multiplied by before the envelope, which may change their sign.
        """
        wave_r = -np.cos(self.angle_r + self.turn_r * offset_ang)
        if modulation_r is not None:
            wave_r = wave_r * modulation_r
        design = self._sharpen(wave_r[:, None] * self.envelope)
        coefficients, distance = nnls(design, prepared_r)
        return float(distance) ** 2, prepared_r - design @ coefficients

    def _sharpen(self, values: Curve) -> Curve:
        sharp: Curve = values - self.background @ (self.background.T @ values)
        return sharp


def residual_variance(residual_r: Curve) -> float:
    """Variance of independent rings: of blocks, as neighbours are correlated; medians, as few rings misfit."""
    blocks = residual_r[: len(residual_r) // _BLOCK_RINGS * _BLOCK_RINGS].reshape(-1, _BLOCK_RINGS)
    single, joint = (float(np.median(values**2)) / _MEDIAN_OF_CHI_SQUARE for values in (residual_r, blocks.sum(1)))
    return max(single, joint / _BLOCK_RINGS, 1e-30)
