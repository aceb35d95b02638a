"""Picture of a micrograph's power spectrum, Thon rings and all."""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from daemon.domain.movie import MovieHeader
from daemon.errors import AcquisitionUnknown
from daemon.formats.drawing import add_label
from daemon.formats.png import write_png
from daemon.pipeline.context import MovieItem, StageContext
from daemon.pipeline.product import FFT_PICTURE, SPECTRUM
from daemon.pipeline.result import StageResult
from daemon.pipeline.stage import MovieStage, Resources, StageParams

_PLANES = 4
"""The picture's pixels in float64, and three intermediate images of them."""


class FftParams(StageParams):
    """Parameters of fft."""

    height_px: int = Field(default=1024, ge=64, le=4096, description="Height and width of the picture, pixels.")


@dataclass(frozen=True)
class FftMetrics:
    """Result columns: the resolution at the middle of the picture's edges."""

    edge_resolution_ang: float


class Fft(MovieStage[FftParams]):
    """Draw the power spectrum that motion correction averaged on its way."""

    name = "fft"
    slug = "fft"
    category = "fft"
    consumes = (SPECTRUM,)
    produces = (FFT_PICTURE,)
    acquisition = ("pixel_size_ang", "motion_binning")
    Params = FftParams
    Metrics = FftMetrics
    version = 3

    def needs(self, movie: MovieHeader, params: FftParams) -> Resources:  # noqa: ARG002
        """The spectrum is small; the picture is not always."""
        work_bytes = 8 * _PLANES * params.height_px**2
        return Resources(host_bytes=work_bytes, device_bytes=work_bytes)

    def run(self, item: MovieItem, params: FftParams, context: StageContext) -> StageResult:
        """Flatten, draw. Raises AcquisitionUnknown without a pixel size."""
        from daemon.numerics.pictures import render_spectrum
        from daemon.numerics.spectrum import PowerSpectrum, spectrum_pixel_ang

        pixel_ang = item.acquisition.micrograph_pixel_size_ang
        if pixel_ang is None:
            raise AcquisitionUnknown("pixel_size_ang", item.image_name)
        context.check_cancelled()
        spectra = np.asarray(context.read.product(SPECTRUM), dtype=np.float32)
        spectrum_yx = spectra if spectra.ndim == 2 else spectra[0]
        spectrum_ang = spectrum_pixel_ang(pixel_ang, box_px=spectrum_yx.shape[0])
        spectrum = PowerSpectrum(context.device.put(spectrum_yx), spectrum_ang)
        picture = context.device.get(render_spectrum(spectrum, params.height_px))
        labelled = add_label(picture, f"edge {2 * spectrum_ang:.3g} Å")
        context.write(FFT_PICTURE, lambda path: write_png(path, labelled))
        return StageResult(FftMetrics(edge_resolution_ang=2 * spectrum_ang))
