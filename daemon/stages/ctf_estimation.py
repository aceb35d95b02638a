"""CTF of a micrograph from the power spectrum that motion correction left: defocus, astigmatism, phase shift."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from daemon.domain.ctf import Ctf, CtfCurves
from daemon.domain.movie import MovieHeader
from daemon.errors import AcquisitionUnknown
from daemon.exchange.ctffind.command import CTFFIND_PLACEHOLDERS, CTFFIND_TEMPLATE, CtffindSearch
from daemon.exchange.relion.ctf import CtfOptics, ctf_blocks
from daemon.formats.ctf_plot import draw_ctf_plot
from daemon.formats.mrc_writer import write_mrc
from daemon.formats.png import write_png
from daemon.formats.rotational_average import write_rotational_average
from daemon.formats.star import write_star
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
from daemon.pipeline.stage import FILE_ONLY, MovieStage, Resources
from daemon.stages.ctf_results import (
    CtfMetrics,
    describe_depth,
    follow_defocus,
    lens_of,
    look_into_depth,
    measure_ctf,
    split_spectra,
)
from daemon.stages.programs.ctffind import ProgramCtf, find_ctf_with_program
from daemon.stages.programs.parameters import ProgramParams

if TYPE_CHECKING:
    from daemon.numerics.ctf_fit import CtfFit, CtfOptions, NoCtf
    from daemon.numerics.spectrum import PowerSpectrum

_NYQUIST_MARGIN = 2.05
"""CTFFIND refuses a limit at Nyquist itself."""

_WORK_BYTES = 160 * 2**20
"""Measured peak of a fit and its pictures is 65 MiB: 10⁵ bins in float64, some tables, once to spare."""
_TILT_IMAGES = 2
"""The micrograph, and itself again with fewer pixels."""
_PROGRAM_IMAGES = 4
"""The micrograph here, and what CTFFIND makes of it: image, transform, and one to spare."""


class CtfParams(ProgramParams):
    """Parameters of ctf_estimation.

    With `backend = "program"` the limits of defocus and resolution are typed to CTFFIND; it restrains no astigmatism.
    """

    placeholders = CTFFIND_PLACEHOLDERS

    command: tuple[str, ...] = Field(
        default=CTFFIND_TEMPLATE,
        json_schema_extra=FILE_ONLY,
        description="CTFFIND and its arguments, one item each, never through a shell; only this file may say it. Its "
        "questions are answered from the parameters below.",
    )
    ctffind_version: Literal[4, 5] = Field(
        default=4, description="Whose questions `command` asks: those of CTFFIND 4.1 or of CTFFIND 5."
    )
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
    effort: Literal["full", "fast"] = Field(
        default="full",
        description="fast: rings are placed in one round of refinement, and neither tilt nor thickness nor a change of "
        "defocus is looked for; enough for gates.",
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


class CtfEstimation(MovieStage[CtfParams]):
    """Fit the CTF to the averaged power spectrum."""

    name = "ctf_estimation"
    slug = "ctf"
    category = "ctf"
    consumes = (SPECTRUM, ALIGNED)
    produces = (CTF_STAR, CTF_SPECTRUM, CTF_PLOT, CTF_ROTATIONAL_AVERAGE)
    acquisition = (
        "pixel_size_ang",
        "motion_binning",
        "voltage_kv",
        "spherical_aberration_mm",
        "amplitude_contrast",
        "phase_plate",
    )
    Params = CtfParams
    Metrics = CtfMetrics
    version = 4

    def needs(self, movie: MovieHeader, params: CtfParams) -> Resources:
        """A spectrum has one size; the tilt is looked for in the micrograph, and a program gets that, too."""
        images = _TILT_IMAGES if params.effort == "full" else 0
        device_bytes = _WORK_BYTES + images * 4 * movie.width_px * movie.height_px
        images = max(images, _PROGRAM_IMAGES if params.backend == "program" else 0)
        image_bytes = 4 * movie.width_px * movie.height_px
        return Resources(host_bytes=_WORK_BYTES + images * image_bytes, device_bytes=device_bytes)

    def run(self, item: MovieItem, params: CtfParams, context: StageContext) -> StageResult:
        """Fit, judge, draw. Raises AcquisitionUnknown without voltage, spherical aberration or pixel size."""
        from daemon.numerics.ctf_fit import CtfFit, fit_ctf
        from daemon.numerics.ice import measure_ice_ring
        from daemon.numerics.pictures import stretch
        from daemon.numerics.spectrum import PowerSpectrum, spectrum_pixel_ang

        optics, warnings = _find_optics(item, params)
        context.check_cancelled()
        spectrum_yx, parts_myx = split_spectra(np.asarray(context.read.product(SPECTRUM), dtype=np.float32))
        pixel_ang = spectrum_pixel_ang(optics.micrograph_pixel_size_ang, box_px=spectrum_yx.shape[0])
        spectrum = PowerSpectrum(context.device.put(spectrum_yx), pixel_ang)
        found: ProgramCtf | None = None
        if params.backend == "program":
            fit, found = _ask_program(item, params, optics, spectrum, context)
        else:
            fit = fit_ctf(spectrum, **lens_of(optics), options=_options(item, params))
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
        metrics = replace(measure_ctf(fit, optics, warnings, found), ice_ring=measure_ice_ring(spectrum))
        if isinstance(fit, CtfFit) and fit.confident and params.effort == "full":
            resolutions_ang = params.lowest_resolution_ang, params.highest_resolution_ang
            metrics = look_into_depth(metrics, fit, optics, spectrum, resolutions_ang, context)
            metrics, moved = follow_defocus(metrics, fit, optics, parts_myx, resolutions_ang, context)
            warnings += moved
        plot = draw_ctf_plot(
            name, shades_yx, ctf, curves, fit.reason, describe_depth(metrics), edge_per_ang=0.5 / pixel_ang
        )
        context.write(CTF_PLOT, lambda path: write_png(path, plot))
        context.write(CTF_ROTATIONAL_AVERAGE, lambda path: _write_averages(path, name, curves, found))
        return StageResult(metrics, tuple(warnings))


def _ask_program(
    item: MovieItem, params: CtfParams, optics: CtfOptics, spectrum: "PowerSpectrum", context: StageContext
) -> "tuple[CtfFit | NoCtf, ProgramCtf]":
    """Let CTFFIND find the CTF in the aligned micrograph; Elcano judges it by the spectrum, as it does its own."""
    from daemon.numerics.ctf_fit import CtfFit, judge_ctf

    options = _options(item, params)
    search = CtffindSearch(
        lowest_resolution_ang=params.lowest_resolution_ang,
        highest_resolution_ang=max(params.highest_resolution_ang, _NYQUIST_MARGIN * optics.micrograph_pixel_size_ang),
        lowest_defocus_ang=params.lowest_defocus_ang,
        highest_defocus_ang=params.highest_defocus_ang,
        fit_phase=options.fit_phase,
    )
    micrograph_yx = context.read.product(ALIGNED)
    found = find_ctf_with_program(micrograph_yx, optics, search, params.ctffind_version, params, context)
    ctf = found.result.ctf
    fit = judge_ctf(
        spectrum,
        defocus_u_ang=ctf.defocus_u_ang,
        defocus_v_ang=ctf.defocus_v_ang,
        astigmatism_angle_deg=ctf.astigmatism_angle_deg,
        phase_shift_deg=ctf.phase_shift_deg,
        **lens_of(optics),
        options=options,
    )
    if isinstance(fit, CtfFit):
        fit = replace(fit, score=ctf.score, fit_resolution_ang=ctf.fit_resolution_ang)
    return fit, found


def _write_averages(path: Path, name: str, curves: CtfCurves | None, found: ProgramCtf | None) -> None:
    if found is None:
        write_rotational_average(path, name, curves)
    else:
        path.write_text(found.averages, encoding="utf-8", newline="\n")


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
    micrograph_pixel = acquisition.micrograph_pixel_size_ang
    if voltage is None or aberration is None or pixel is None or micrograph_pixel is None:
        values = {"voltage_kv": voltage, "spherical_aberration_mm": aberration, "pixel_size_ang": pixel}
        raise AcquisitionUnknown([name for name, value in values.items() if value is None], item.image_name)
    contrast = acquisition.amplitude_contrast
    if contrast is None:
        contrast = params.default_amplitude_contrast
        warnings.append(f"amplitude contrast is not known: {contrast:g} is assumed")
    return CtfOptics(voltage, aberration, contrast, pixel, micrograph_pixel), warnings


def _options(item: MovieItem, params: CtfParams) -> "CtfOptions":
    from daemon.numerics.ctf_fit import CtfOptions

    by_plate = params.fit_phase == "auto" and item.acquisition.phase_plate
    return CtfOptions(
        lowest_defocus_ang=params.lowest_defocus_ang,
        highest_defocus_ang=params.highest_defocus_ang,
        lowest_resolution_ang=params.lowest_resolution_ang,
        highest_resolution_ang=params.highest_resolution_ang,
        largest_astigmatism_ang=params.largest_astigmatism_ang,
        fit_phase=by_plate or params.fit_phase == "always",
        is_fast=params.effort == "fast",
    )


def _numbers(fit: "CtfFit") -> Ctf:
    return Ctf(
        fit.defocus_u_ang,
        fit.defocus_v_ang,
        fit.astigmatism_angle_deg,
        fit.phase_shift_deg,
        fit.score,
        fit.fit_resolution_ang,
    )
