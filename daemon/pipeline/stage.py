"""What a stage declares. The engine decides when it runs, retries it, records it and tells about it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue

from daemon.domain.movie import MovieHeader
from daemon.pipeline.context import MovieItem, StageContext
from daemon.pipeline.product import Product
from daemon.pipeline.result import StageResult

FILE_ONLY: dict[str, JsonValue] = {"file_only": True}
"""Marks a parameter that only the machine's configuration may set, never a command: what it names runs there."""


class StageParams(BaseModel):
    """Base of every stage's parameters: frozen, no unknown keys, each field with bounds and a description."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @property
    def programs(self) -> tuple[str, ...]:
        """Programs of others that a stage runs with these parameters; `elcano doctor` looks whether they are there."""
        return ()

    @classmethod
    def file_only(cls) -> frozenset[str]:
        """Names of the parameters marked FILE_ONLY."""
        return frozenset(
            name
            for name, field in cls.model_fields.items()
            if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("file_only") is True
        )


P = TypeVar("P", bound=StageParams)


@dataclass(frozen=True)
class RetryPolicy:
    """How often a retryable failure is tried again, and how long to wait: delay × factor^(attempt − 1)."""

    attempts: int = 3
    delay_s: float = 2.0
    factor: float = 4.0

    def delay_before(self, attempt: int) -> float:
        """Seconds to wait before attempt number `attempt` (the first is 1)."""
        return 0.0 if attempt <= 1 else self.delay_s * self.factor ** (attempt - 2)


@dataclass(frozen=True)
class Resources:
    """What one run needs at its peak.

    A stage that consumes the movie counts `movie.data_bytes` in; the engine adds what decoding takes beyond
    that: the frames its threads have in hand. `by_frame` is what the run needs when no more of the movie than a few
    frames is in memory: so it runs where the whole never fits. None: it takes the movie whole.
    """

    host_bytes: int
    device_bytes: int = 0
    by_frame: "Resources | None" = None


class MovieStage(ABC, Generic[P]):
    """One step of the pipeline, run once for each image."""

    name: ClassVar[str]
    slug: ClassVar[str]
    """Its name on the bus, as Magellon's subscribers know it."""
    category: ClassVar[str]
    """Folder under the session home."""
    consumes: ClassVar[tuple[Product, ...]]
    produces: ClassVar[tuple[Product, ...]]
    optional: ClassVar[tuple[Product, ...]] = ()
    """Products that parameters may switch off; the rest of `produces` is always written."""
    acquisition: ClassVar[tuple[str, ...]] = ()
    """Fields of Acquisition that its result depends on: where one of them is corrected, it runs again."""
    Params: ClassVar[type[StageParams]]
    Metrics: ClassVar[type]
    """Frozen dataclass of typed columns: int, float, str, bool, each optionally None."""
    version: ClassVar[int]
    """Raised whenever the same input would give other bytes."""
    retry: ClassVar[RetryPolicy] = RetryPolicy()
    time_limit_s: ClassVar[float] = 1800.0
    gated: ClassVar[bool] = False
    """Whether it runs only on images that pass the gates (daemon.pipeline.gate)."""

    @abstractmethod
    def needs(self, movie: MovieHeader, params: P) -> Resources:
        """State the peak memory of `run`, from the parameters and a header only.

        That of the movie as it is decoded for a stage that consumes it; the others are given the pixels of the aligned
        micrograph, which may be larger and fewer.
        """

    @abstractmethod
    def run(self, item: MovieItem, params: P, context: StageContext) -> StageResult:
        """Compute and hand products to `context.write`. Raises ElcanoError for what a person can mend."""
