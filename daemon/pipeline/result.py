"""What a task ends with: a result or a failure, both plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from daemon.errors import ElcanoError

MetricValue = float | int | str | bool | None


@dataclass(frozen=True)
class StageResult:
    """What `MovieStage.run` returns; `metrics` is an instance of the stage's own `Metrics` dataclass."""

    metrics: object
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class OutputFile:
    """One file a task wrote; `path` is relative to the session home, `product` the name of what it is."""

    product: str
    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class TaskCompleted:
    """A task's success: its files and its metrics by column name."""

    outputs: tuple[OutputFile, ...]
    metrics: Mapping[str, MetricValue]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskFailed:
    """A task's failure as a value; only a broken machine raises past the engine."""

    kind: str
    message: str
    retryable: bool = False
    hint: str = ""
    detail: str = field(default="", compare=False)

    @classmethod
    def from_error(cls, error: ElcanoError) -> "TaskFailed":
        """Keep what the error says in the words it says it."""
        return cls(kind=error.kind, message=error.message, retryable=error.retryable, hint=error.hint)
