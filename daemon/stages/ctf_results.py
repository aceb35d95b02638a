"""What comes of CTF estimation: its result columns, and what the rings tell of the specimen beside its defocus."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from daemon.exchange.relion.ctf import CtfOptics
from daemon.pipeline.context import StageContext
from daemon.pipeline.product import ALIGNED
from daemon.stages.programs.ctffind import ProgramCtf

if TYPE_CHECKING:
    from daemon.numerics.ctf_fit import CtfFit, NoCtf
    from daemon.numerics.spectrum import PowerSpectrum

_SURE_CHANGE_SIGMAS = 4.0
"""A change of defocus through the exposure is told as a warning beyond so many standard deviations."""
_SHOWN_CHANGE_SIGMAS = 3.0
"""And in the picture beyond so many."""


@dataclass(frozen=True)
class CtfMetrics:
    """Result columns. The verdict always; the rest, as CtfFit explains it, is None where nothing could be fitted.

    ice_ring: power of the ring of crystalline ice over its surroundings, None where the pixel is too coarse to tell.

    Of another program, which is named then, come defocus, angle, phase shift, score and resolution; the verdict and
    what it rests on are Elcano's all the same.

    tilt_*, defocus_slope_*: the defocus plane over the micrograph, as Tilt explains it; thickness_*: from the node of
    the rings; both empty where the data do not speak for them, and with fast effort. *_sigma_*: standard deviations.
    defocus_change_ang: defocus at the end of the exposure less that at its beginning, as DefocusChange explains it;
    empty with fast effort, without spectra of the movie's parts, and where it is known to no better than 100 Å.
    """

    amplitude_contrast: float
    confident: bool
    warning: str | None
    ice_ring: float | None = None
    defocus_u_ang: float | None = None
    defocus_v_ang: float | None = None
    astigmatism_ang: float | None = None
    astigmatism_angle_deg: float | None = None
    phase_shift_deg: float | None = None
    score: float | None = None
    fit_resolution_ang: float | None = None
    defocus_sigma_ang: float | None = None
    astigmatism_sigma_ang: float | None = None
    astigmatism_angle_sigma_deg: float | None = None
    phase_shift_sigma_deg: float | None = None
    tilt_angle_deg: float | None = None
    tilt_angle_sigma_deg: float | None = None
    tilt_axis_deg: float | None = None
    defocus_slope_x: float | None = None
    defocus_slope_y: float | None = None
    thickness_ang: float | None = None
    thickness_sigma_ang: float | None = None
    defocus_change_ang: float | None = None
    defocus_change_sigma_ang: float | None = None
    ring_significance: float | None = None
    ring_count: float | None = None
    weakest_direction: float | None = None
    program: str | None = None
    program_sha256: str | None = None


def measure_ctf(fit: "CtfFit | NoCtf", optics: CtfOptics, warnings: list[str], found: ProgramCtf | None) -> CtfMetrics:
    """Result columns of a fit, or of another program's numbers that the fit judges."""
    from daemon.numerics.ctf_fit import NoCtf

    verdict = CtfMetrics(optics.amplitude_contrast, fit.confident, "; ".join(warnings) or None)
    if found is not None:
        verdict = replace(verdict, program=found.identity.path, program_sha256=found.identity.sha256)
    if isinstance(fit, NoCtf):
        return verdict
    return replace(
        verdict,
        defocus_u_ang=fit.defocus_u_ang,
        defocus_v_ang=fit.defocus_v_ang,
        astigmatism_ang=fit.defocus_u_ang - fit.defocus_v_ang,
        astigmatism_angle_deg=fit.astigmatism_angle_deg,
        phase_shift_deg=fit.phase_shift_deg,
        score=fit.score,
        fit_resolution_ang=fit.fit_resolution_ang,
        defocus_sigma_ang=fit.uncertainty.defocus_ang,
        astigmatism_sigma_ang=fit.uncertainty.astigmatism_ang,
        astigmatism_angle_sigma_deg=fit.uncertainty.astigmatism_angle_deg,
        phase_shift_sigma_deg=fit.uncertainty.phase_shift_deg,
        ring_significance=fit.significance,
        ring_count=fit.rings,
        weakest_direction=fit.weakest_direction,
    )


def look_into_depth(
    metrics: CtfMetrics,
    fit: "CtfFit",
    optics: CtfOptics,
    spectrum: "PowerSpectrum",
    resolutions_ang: tuple[float, float],
    context: StageContext,
) -> CtfMetrics:
    """Tilt and thickness of the specimen, as far as the data carry them."""
    from daemon.numerics.ctf_curves import CtfNumbers
    from daemon.numerics.ctf_thickness import measure_thickness
    from daemon.numerics.ctf_tilt import measure_tilt
    from daemon.numerics.thon import Optics

    context.check_cancelled()
    numbers = CtfNumbers(fit.defocus_u_ang, fit.defocus_v_ang, fit.astigmatism_angle_deg, fit.phase_shift_deg)
    lens = Optics(**lens_of(optics))
    micrograph_yx = context.device.put(np.asarray(context.read.product(ALIGNED), dtype=np.float32))
    tilt = measure_tilt(micrograph_yx, optics.micrograph_pixel_size_ang, numbers, lens)
    thickness = measure_thickness(
        spectrum,
        numbers,
        lens,
        lowest_resolution_ang=resolutions_ang[0],
        highest_resolution_ang=resolutions_ang[1],
    )
    if tilt is not None and tilt.is_carried:
        metrics = replace(
            metrics,
            tilt_angle_deg=tilt.angle_deg,
            tilt_angle_sigma_deg=tilt.angle_sigma_deg,
            tilt_axis_deg=tilt.axis_deg,
            defocus_slope_x=tilt.gradient_x,
            defocus_slope_y=tilt.gradient_y,
        )
    if thickness is not None and thickness.is_carried:
        metrics = replace(metrics, thickness_ang=thickness.thickness_ang, thickness_sigma_ang=thickness.sigma_ang)
    return metrics


def split_spectra(spectra: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The spectrum to be fitted, and those of the movie's parts in order: none where it was left alone."""
    return (spectra, spectra[None][:0]) if spectra.ndim == 2 else (spectra[0], spectra[1:])


def follow_defocus(
    metrics: CtfMetrics,
    fit: "CtfFit",
    optics: CtfOptics,
    parts_myx: npt.NDArray[np.float32],
    resolutions_ang: tuple[float, float],
    context: StageContext,
) -> tuple[CtfMetrics, list[str]]:
    """Change of defocus through the exposure, as far as the data carry it; and a warning where it is beyond doubt."""
    from daemon.numerics.ctf_change import measure_defocus_change
    from daemon.numerics.ctf_curves import CtfNumbers
    from daemon.numerics.spectrum import spectrum_pixel_ang
    from daemon.numerics.thon import Optics

    context.check_cancelled()
    change = measure_defocus_change(
        context.device.put(parts_myx),
        spectrum_pixel_ang(optics.micrograph_pixel_size_ang, box_px=parts_myx.shape[-1]),
        CtfNumbers(fit.defocus_u_ang, fit.defocus_v_ang, fit.astigmatism_angle_deg, fit.phase_shift_deg),
        Optics(**lens_of(optics)),
        lowest_resolution_ang=resolutions_ang[0],
        highest_resolution_ang=resolutions_ang[1],
    )
    if change is None or not change.is_carried:
        return metrics, []
    metrics = replace(metrics, defocus_change_ang=change.change_ang, defocus_change_sigma_ang=change.sigma_ang)
    if abs(change.change_ang) <= _SURE_CHANGE_SIGMAS * change.sigma_ang:
        return metrics, []
    warning = (
        f"the specimen moved along the beam while it was exposed: defocus changed by {change.change_ang:+.0f} ± "
        f"{change.sigma_ang:.0f} Å"
    )
    context.log.warning(warning)
    return replace(metrics, warning="; ".join(filter(None, (metrics.warning, warning)))), [warning]


def describe_depth(metrics: CtfMetrics) -> str:
    """Say tilt, thickness and movement along the beam in words, where they are known and are not nothing."""
    words = []
    if metrics.tilt_angle_deg is not None:
        words.append(f"tilt {metrics.tilt_angle_deg:.1f} ± {metrics.tilt_angle_sigma_deg:.1f}°")
        words.append(f"its axis at {metrics.tilt_axis_deg:.0f}°")
    if metrics.thickness_ang is not None:
        words.append(f"thickness {metrics.thickness_ang:.0f} ± {metrics.thickness_sigma_ang:.0f} Å")
    change_ang, sigma_ang = metrics.defocus_change_ang, metrics.defocus_change_sigma_ang
    if change_ang is not None and sigma_ang is not None and abs(change_ang) > _SHOWN_CHANGE_SIGMAS * sigma_ang:
        words.append(f"defocus changed by {change_ang:+.0f} ± {sigma_ang:.0f} Å")
    return f"Specimen: {', '.join(words)}" if words else ""


def lens_of(optics: CtfOptics) -> dict[str, float]:
    """Optics as numerics names them."""
    return {
        "voltage_kv": optics.voltage_kv,
        "spherical_aberration_mm": optics.spherical_aberration_mm,
        "amplitude_contrast": optics.amplitude_contrast,
    }
