"""Small picture of a micrograph, for lists and maps."""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from daemon.domain.movie import MovieHeader
from daemon.formats.jpeg import write_jpeg
from daemon.pipeline.context import MovieItem, StageContext
from daemon.pipeline.product import ALIGNED, THUMBNAIL
from daemon.pipeline.result import StageResult
from daemon.pipeline.stage import MovieStage, Resources, StageParams


class ThumbnailParams(StageParams):
    """Parameters of thumbnail."""

    height_px: int = Field(default=494, ge=32, le=4096, description="Height of the picture, pixels; the width follows.")
    quality: int = Field(default=90, ge=1, le=95, description="JPEG quality.")


@dataclass(frozen=True)
class ThumbnailMetrics:
    """Result columns: the picture's size, and level and spread of the micrograph in its own units."""

    width_px: int
    height_px: int
    mean_level: float
    level_deviation: float


class Thumbnail(MovieStage[ThumbnailParams]):
    """Draw the aligned micrograph small."""

    name = "thumbnail"
    slug = "thumbnail"
    category = "thumbnails"
    consumes = (ALIGNED,)
    produces = (THUMBNAIL,)
    Params = ThumbnailParams
    Metrics = ThumbnailMetrics
    version = 1

    def needs(self, movie: MovieHeader, params: ThumbnailParams) -> Resources:
        """The micrograph on either side with one intermediate copy, and the picture."""
        image_bytes = 4 * movie.width_px * movie.height_px
        picture_bytes = 32 * params.height_px**2 * max(1, round(movie.width_px / movie.height_px))
        return Resources(host_bytes=2 * image_bytes + picture_bytes, device_bytes=2 * image_bytes + picture_bytes)

    def run(self, item: MovieItem, params: ThumbnailParams, context: StageContext) -> StageResult:  # noqa: ARG002
        """Average areas, stretch grey levels, draw."""
        from daemon.numerics.pictures import render_thumbnail

        context.check_cancelled()
        aligned_yx = np.asarray(context.read.product(ALIGNED), dtype=np.float32)
        picture = context.device.get(render_thumbnail(context.device.put(aligned_yx), params.height_px))
        context.write(THUMBNAIL, lambda path: write_jpeg(path, picture, quality=params.quality))
        return StageResult(
            ThumbnailMetrics(
                width_px=picture.shape[1],
                height_px=picture.shape[0],
                mean_level=float(aligned_yx.mean(dtype=np.float64)),
                level_deviation=float(aligned_yx.std(dtype=np.float64)),
            )
        )
