"""Stages of a few lines that do as they are told: numpy only, real MRC files."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from pydantic import Field

from daemon.domain.movie import MovieHeader
from daemon.domain.states import TaskState
from daemon.errors import ElcanoError
from daemon.formats.mrc_writer import write_mrc
from daemon.pipeline.context import Array, Movie, MovieItem, StageContext
from daemon.pipeline.product import MOVIE, Product
from daemon.pipeline.result import StageResult
from daemon.pipeline.stage import MovieStage, Resources, RetryPolicy, StageParams

SUM = Product("sum", "sums", "_sum.mrc")
NOISE = Product("noise", "sums", "_noise.mrc")
SHARE = Product("share", "shares", "_share.mrc")
MARK = Product("mark", "marks", "_mark.mrc")
PICTURE = Product("picture", "pictures", "_picture.mrc")


@dataclass
class Script:
    """What stages do beyond their work, and what they did."""

    acts: dict[tuple[str, str], Callable[[StageContext], None]] = field(default_factory=dict)
    """By stage and image name, or image name "" for all: called in the middle of a run."""
    runs: list[tuple[str, str]] = field(default_factory=list)

    def play(self, stage: str, item: MovieItem, context: StageContext) -> None:
        """Note a run and do what is asked of it."""
        self.runs.append((stage, item.image_name))
        for key in ((stage, item.image_name), (stage, "")):
            if key in self.acts:
                self.acts[key](context)

    def fail(self, stage: str, image: str, *errors: Exception) -> None:
        """Let the first runs of a stage raise these, one after the other; later runs go well."""
        left = list(errors)

        def act(_: StageContext) -> None:
            if left:
                raise left.pop(0)

        self.acts[stage, image] = act

    def count(self, stage: str, image: str) -> int:
        """How often a stage ran on an image."""
        return self.runs.count((stage, image))


class Hiccup(ElcanoError):
    """A failure that may pass."""

    kind = "hiccup"
    retryable = True


class FakeParams(StageParams):
    """Parameters of the fakes."""

    factor: float = Field(default=1.0, gt=0, description="Scale of what is written.")


@dataclass(frozen=True)
class FakeMetrics:
    """Result columns of the fakes."""

    total: float
    pixels: int
    label: str | None = None


def whole(movie: Movie) -> Array:
    """All frames of a movie that is in memory, or frame by frame of one that is not."""
    if movie.whole_tyx is not None:
        return movie.whole_tyx
    return np.stack([movie.frame_yx(frame) for frame in range(movie.shape_tyx[0])])


class FakeStage(MovieStage[FakeParams]):
    """Sums what it consumes, and writes that under each of its products."""

    name = "fake"
    slug = "fake"
    category = "fakes"
    consumes: ClassVar[tuple[Product, ...]] = (MOVIE,)
    produces: ClassVar[tuple[Product, ...]] = (SUM,)
    Params = FakeParams
    Metrics = FakeMetrics
    version = 1
    retry = RetryPolicy(attempts=3, delay_s=2.0, factor=4.0)

    def __init__(self, script: Script) -> None:
        self.script = script

    def needs(self, movie: MovieHeader, params: FakeParams) -> Resources:
        reads = MOVIE in self.consumes
        return Resources(host_bytes=movie.data_bytes if reads else 1000)

    def run(self, item: MovieItem, params: FakeParams, context: StageContext) -> StageResult:
        read = context.read
        inputs = [whole(read.movie()) if product is MOVIE else read.product(product) for product in self.consumes]
        image_yx = np.zeros(item.movie.shape_yx, np.float32)
        for array in inputs:
            image_yx += array.sum(axis=0, dtype=np.float32) if array.ndim == 3 else array
        image_yx *= np.float32(params.factor)
        del inputs, array
        context.progress(1, 2, "halves")
        for product in self.produces[:1]:
            context.write(product, lambda path: write_mrc(path, image_yx, pixel_size_ang=1.0), image_yx)
        self.script.play(self.name, item, context)
        for product in self.produces[1:]:
            context.write(product, lambda path: write_mrc(path, image_yx * 2, pixel_size_ang=1.0))
        return StageResult(FakeMetrics(float(image_yx.sum()), image_yx.size, self.name), ("a warning",))


class Add(FakeStage):
    """Movie → sum and noise."""

    name = "add"
    slug = "adding"
    category = "sums"
    produces = (SUM, NOISE)


class Divide(FakeStage):
    """Sum → share."""

    name = "divide"
    slug = "dividing"
    category = "shares"
    consumes = (SUM,)
    produces = (SHARE,)


class Mark(FakeStage):
    """Share → mark."""

    name = "mark"
    slug = "marking"
    category = "marks"
    consumes = (SHARE,)
    produces = (MARK,)


class Draw(FakeStage):
    """Sum → picture."""

    name = "draw"
    slug = "drawing"
    category = "pictures"
    consumes = (SUM,)
    produces = (PICTURE,)


FAKES: tuple[type[FakeStage], ...] = (Add, Divide, Mark, Draw)

ALL_DONE = dict.fromkeys((stage.name for stage in FAKES), TaskState.COMPLETED)
