"""Picture of a micrograph's power spectrum, Thon rings and all."""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from daemon.domain.movie import MovieHeader
from daemon.errors import AcquisitionUnknown
from daemon.formats.png import write_png
from daemon.pipeline.context import MovieItem, StageContext
from daemon.pipeline.product import ALIGNED, FFT_PICTURE
from daemon.pipeline.result import StageResult
from daemon.pipeline.stage import MovieStage, Resources, StageParams

_TILE_WORK_BYTES = 300 * 2**20
"""Windows, transforms and averages of tiles; they do not grow with the image."""


class FftParams(StageParams):
    """Parameters of fft."""

    height_px: int = Field(default=1024, ge=64, le=4096, description="Height and width of the picture, pixels.")


@dataclass(frozen=True)
class FftMetrics:
    """Result columns: the resolution at the middle of the picture's edges."""

    edge_resolution_ang: float


class Fft(MovieStage[FftParams]):
    """Draw the averaged power spectrum of the aligned micrograph."""

    name = "fft"
    slug = "fft"
    category = "fft"
    consumes = (ALIGNED,)
    produces = (FFT_PICTURE,)
    acquisition = ("pixel_size_ang",)
    Params = FftParams
    Metrics = FftMetrics
    version = 1

    def needs(self, movie: MovieHeader, params: FftParams) -> Resources:
        """The micrograph once on either side, tiles, and the picture."""
        image_bytes = 4 * movie.width_px * movie.height_px
        work_bytes = _TILE_WORK_BYTES + 32 * params.height_px**2
        return Resources(host_bytes=image_bytes + work_bytes, device_bytes=image_bytes + work_bytes)

    def run(self, item: MovieItem, params: FftParams, context: StageContext) -> StageResult:
        """Average tiles, flatten, draw. Raises AcquisitionUnknown without a pixel size."""
        from daemon.numerics.pictures import render_spectrum
        from daemon.numerics.spectrum import tile_power_spectrum

        pixel_ang = item.acquisition.pixel_size_ang
        if pixel_ang is None:
            raise AcquisitionUnknown("pixel_size_ang", item.image_name)
        context.check_cancelled()
        aligned_yx = np.asarray(context.read.product(ALIGNED), dtype=np.float32)
        spectrum = tile_power_spectrum(context.device.put(aligned_yx), pixel_ang)
        picture = context.device.get(render_spectrum(spectrum, params.height_px))
        context.write(FFT_PICTURE, lambda path: write_png(path, picture))
        return StageResult(FftMetrics(edge_resolution_ang=2 * spectrum.pixel_size_ang))
