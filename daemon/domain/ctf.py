"""The contrast transfer function of one micrograph: numbers, and the curves that show how well they fit."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Curve = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ctf:
    """Å and degrees; defocus positive = underfocus, U ≥ V; the angle is U's, from +x (fast axis) towards +y.

    score: correlation of rings and |CTF|, as CTFFIND's figure of merit. fit_resolution_ang: where rings
    and fit stop agreeing; None when they nowhere agree.
    """

    defocus_u_ang: float
    defocus_v_ang: float
    astigmatism_angle_deg: float
    phase_shift_deg: float
    score: float
    fit_resolution_ang: float | None

    @property
    def mean_defocus_ang(self) -> float:
        """(U + V)/2."""
        return 0.5 * (self.defocus_u_ang + self.defocus_v_ang)

    @property
    def astigmatism_ang(self) -> float:
        """U − V."""
        return self.defocus_u_ang - self.defocus_v_ang


@dataclass(frozen=True)
class CtfCurves:
    """Rotational averages of a spectrum and its fit, one value for each spatial frequency; powers share one unit.

    measured: over rings. measured_equal_phase: along lines of equal phase, which undoes astigmatism; fitted:
    the model averaged likewise. background and envelope: B and E of the model B + E·CTF². quality: local
    correlation of measured_equal_phase with fitted; quality_noise: two standard deviations of it for noise.
    """

    frequency_per_ang: Curve
    measured: Curve
    measured_equal_phase: Curve
    fitted: Curve
    background: Curve
    envelope: Curve
    ctf_squared: Curve
    quality: Curve
    quality_noise: Curve
