"""CTF of a micrograph from the power spectrum that motion correction left: defocus, astigmatism, phase shift."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from daemon.domain.ctf import Ctf, CtfCurves
from daemon.domain.movie import MovieHeader
from daemon.errors import AcquisitionUnknown
from daemon.exchange.relion.ctf import CtfOptics, ctf_blocks
from daemon.formats.ctf_plot import draw_ctf_plot
from daemon.formats.mrc_writer import write_mrc
from daemon.formats.png import write_png
from daemon.formats.rotational_average import write_rotational_average
from daemon.formats.star import write_star
from daemon.numerics.ctf_fit import CtfFit, CtfOptions, NoCtf, fit_ctf
from daemon.numerics.pictures import stretch
from daemon.numerics.spectrum import PowerSpectrum, spectrum_pixel_ang
from daemon.pipeline.context import MovieItem, StageContext
from daemon.pipeline.product import (
    ALIGNED,
    CTF_PLOT,
    CTF_ROTATIONAL_AVERAGE,
    CTF_SPECTRUM,
    CTF_STAR,
    SPECTRUM,
    Product,
)
from daemon.pipeline.result import StageResult
from daemon.pipeline.stage import MovieStage, Resources, StageParams

_WORK_BYTES = 160 * 2**20
"""Measured peak of a fit and its pictures is 65 MiB: 10⁵ bins in float64, some tables, once to spare."""


class CtfParams(StageParams):
    """Parameters of ctf_estimation."""

    lowest_defocus_ang: float = Field(default=3000.0, gt=0, le=200_000, description="Least defocus searched, Å.")
    highest_defocus_ang: float = Field(default=50_000.0, gt=0, le=300_000, description="Largest defocus searched, Å.")
    largest_astigmatism_ang: float = Field(default=3000.0, ge=0, le=20_000, description="Largest U − V searched, Å.")
    lowest_resolution_ang: float = Field(
        default=30.0, gt=5, le=200, description="Rings coarser than this are left out, Å."
    )
    highest_resolution_ang: float = Field(
        default=3.0, gt=1, le=20, description="Rings finer than this are left out, Å."
    )
    fit_phase: Literal["auto", "always", "never"] = Field(
        default="auto", description="Fit a phase shift; auto: when the session says that a phase plate was used."
    )
    default_amplitude_contrast: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Amplitude contrast where the session does not give one; its use is reported.",
    )

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        if self.lowest_defocus_ang >= self.highest_defocus_ang:
            raise ValueError("lowest_defocus_ang must be below highest_defocus_ang")
        if self.highest_resolution_ang >= 0.7 * self.lowest_resolution_ang:
            raise ValueError("highest_resolution_ang must be well below lowest_resolution_ang (both in Å)")
        return self


@dataclass(frozen=True)
class CtfMetrics:
    """Result columns. The verdict always; the rest, as CtfFit explains it, is None where nothing could be fitted."""

    amplitude_contrast: float
    confident: bool
    warning: str | None
    defocus_u_ang: float | None = None
    defocus_v_ang: float | None = None
    astigmatism_ang: float | None = None
    astigmatism_angle_deg: float | None = None
    phase_shift_deg: float | None = None
    score: float | None = None
    fit_resolution_ang: float | None = None
    defocus_sigma_ang: float | None = None
    ring_significance: float | None = None
    ring_count: float | None = None
    weakest_direction: float | None = None


class CtfEstimation(MovieStage[CtfParams]):
    """Fit the CTF to the averaged power spectrum."""

    name = "ctf_estimation"
    slug = "ctf"
    category = "ctf"
    consumes = (SPECTRUM,)
    produces = (CTF_STAR, CTF_SPECTRUM, CTF_PLOT, CTF_ROTATIONAL_AVERAGE)
    Params = CtfParams
    Metrics = CtfMetrics
    version = 1

    def needs(self, movie: MovieHeader, params: CtfParams) -> Resources:  # noqa: ARG002 - a spectrum has one size
        """The same for every movie."""
        return Resources(host_bytes=_WORK_BYTES, device_bytes=_WORK_BYTES)

    def run(self, item: MovieItem, params: CtfParams, context: StageContext) -> StageResult:
        """Fit, judge, draw. Raises AcquisitionUnknown without voltage, spherical aberration or pixel size."""
        optics, warnings = _find_optics(item, params)
        context.check_cancelled()
        spectrum_yx = np.asarray(context.read.product(SPECTRUM), dtype=np.float32)
        pixel_ang = spectrum_pixel_ang(optics.micrograph_pixel_size_ang, box_px=spectrum_yx.shape[0])
        fit = fit_ctf(
            PowerSpectrum(context.device.put(spectrum_yx), pixel_ang),
            voltage_kv=optics.voltage_kv,
            spherical_aberration_mm=optics.spherical_aberration_mm,
            amplitude_contrast=optics.amplitude_contrast,
            options=_options(item, params),
        )
        if not fit.confident:
            warnings.append(f"CTF not to be trusted: {fit.reason}")
        for warning in warnings:
            context.log.warning(warning)
        ctf = _numbers(fit) if isinstance(fit, CtfFit) else None
        curves = CtfCurves(**vars(fit.average)) if isinstance(fit, CtfFit) else None
        halves_yx = context.device.get(fit.picture_yx)
        shades_yx = context.device.get(stretch(fit.picture_yx, 0.0, 1.0))
        name = item.image_name
        blocks = ctf_blocks(_relative(ALIGNED, name), _relative(CTF_SPECTRUM, name), ctf, optics)
        context.write(CTF_STAR, lambda path: write_star(path, blocks))
        context.write(CTF_SPECTRUM, lambda path: write_mrc(path, halves_yx, pixel_size_ang=pixel_ang), halves_yx)
        plot = draw_ctf_plot(name, shades_yx, ctf, curves, fit.reason)
        context.write(CTF_PLOT, lambda path: write_png(path, plot))
        context.write(CTF_ROTATIONAL_AVERAGE, lambda path: write_rotational_average(path, name, curves))
        return StageResult(_measure(fit, optics, warnings), tuple(warnings))


def _relative(product: Product, image_name: str) -> str:
    """Path of a product below the session home."""
    return product.path(Path(), image_name).as_posix()


def _find_optics(item: MovieItem, params: CtfParams) -> tuple[CtfOptics, list[str]]:
    """Voltage, aberration and pixel size are never guessed; amplitude contrast has a usual value."""
    acquisition, warnings = item.acquisition, []
    voltage, aberration, pixel = (
        acquisition.voltage_kv,
        acquisition.spherical_aberration_mm,
        acquisition.pixel_size_ang,
    )
    if voltage is None:
        raise AcquisitionUnknown("voltage_kv", item.image_name)
    if aberration is None:
        raise AcquisitionUnknown("spherical_aberration_mm", item.image_name)
    if pixel is None:
        raise AcquisitionUnknown("pixel_size_ang", item.image_name)
    contrast = acquisition.amplitude_contrast
    if contrast is None:
        contrast = params.default_amplitude_contrast
        warnings.append(f"amplitude contrast is not known: {contrast:g} is assumed")
    return CtfOptics(voltage, aberration, contrast, pixel, pixel), warnings


def _options(item: MovieItem, params: CtfParams) -> CtfOptions:
    by_plate = params.fit_phase == "auto" and item.acquisition.phase_plate
    return CtfOptions(
        lowest_defocus_ang=params.lowest_defocus_ang,
        highest_defocus_ang=params.highest_defocus_ang,
        lowest_resolution_ang=params.lowest_resolution_ang,
        highest_resolution_ang=params.highest_resolution_ang,
        largest_astigmatism_ang=params.largest_astigmatism_ang,
        fit_phase=by_plate or params.fit_phase == "always",
    )


def _numbers(fit: CtfFit) -> Ctf:
    return Ctf(
        fit.defocus_u_ang,
        fit.defocus_v_ang,
        fit.astigmatism_angle_deg,
        fit.phase_shift_deg,
        fit.score,
        fit.fit_resolution_ang,
    )


def _measure(fit: CtfFit | NoCtf, optics: CtfOptics, warnings: list[str]) -> CtfMetrics:
    verdict = CtfMetrics(optics.amplitude_contrast, fit.confident, "; ".join(warnings) or None)
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
        ring_significance=fit.significance,
        ring_count=fit.rings,
        weakest_direction=fit.weakest_direction,
    )
