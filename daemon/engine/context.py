"""The context handed to a running stage: where its writes, progress, log lines and random numbers go."""

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from daemon.engine.inputs import DeclaredInputs, VisitInputs
from daemon.errors import TaskCancelled
from daemon.formats.atomic import write_atomically
from daemon.messages.events import TaskRef
from daemon.pipeline.context import Array, Device, Encode, Later, MovieItem
from daemon.pipeline.product import Product
from daemon.pipeline.result import OutputFile
from daemon.pipeline.stage import MovieStage


class Witness(Protocol):
    """Hears what running tasks say, from any thread; nothing may depend on it."""

    def begin(self, ref: TaskRef) -> None:
        """A task starts to run."""
        ...

    def end(self, task_id: str) -> None:
        """A task has ended."""
        ...

    def progress(self, task_id: str, current: int, total: int, unit: str) -> None:
        """A task got this far."""
        ...

    def log_line(self, task_id: str, level: str, message: str) -> None:
        """A task said something."""
        ...


@dataclass(frozen=True)
class OutputRules:
    """How outputs are owned: file mode before the umask of the process, and group."""

    mode: int | None = None
    group: str | None = None


class TaskLog:
    """Live log of one task."""

    def __init__(self, task_id: str, witness: Witness) -> None:
        self._task_id = task_id
        self._witness = witness

    def info(self, message: str) -> None:
        """Say what happened."""
        self._witness.log_line(self._task_id, "info", message)

    def warning(self, message: str) -> None:
        """Say what a person should look at."""
        self._witness.log_line(self._task_id, "warning", message)


class TaskContext:
    """The pipeline's StageContext for one attempt of one task."""

    def __init__(
        self,
        stage: MovieStage[Any],
        item: MovieItem,
        task_id: str,
        *,
        home: Path,
        inputs: VisitInputs,
        device: Device,
        writers: Executor,
        witness: Witness,
        cancelled: threading.Event,
        rules: OutputRules,
        on_life: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_life` is called whenever the stage shows that it is not stuck."""
        self.read = DeclaredInputs(inputs, stage.name, stage.consumes)
        self.device = device
        self.log = TaskLog(task_id, witness)
        self.rng = np.random.default_rng(_seed(item.image_name, stage.name, stage.version))
        self._stage = stage
        self._item = item
        self._task_id = task_id
        self._home = home
        self._inputs = inputs
        self._writers = writers
        self._witness = witness
        self._cancelled = cancelled
        self._rules = rules
        self._on_life = on_life
        self._pending: dict[Product, Future[OutputFile]] = {}

    def write(self, product: Product, encode: Encode, value: Array | Later | None = None) -> None:
        """Write behind: the file appears whole, later; `value` serves the next stages at once."""
        if product not in self._stage.produces:
            raise RuntimeError(f"{self._stage.name} does not declare that it produces {product.name}")
        if product in self._pending:
            raise RuntimeError(f"{self._stage.name} wrote {product.name} twice")
        if value is not None:
            self._inputs.keep(product, value)
        self._pending[product] = self._writers.submit(self._write, product, encode)

    def progress(self, current: int, total: int, unit: str) -> None:
        """Tell how far the stage is."""
        self._on_life()
        self._witness.progress(self._task_id, current, total, unit)

    def check_cancelled(self) -> None:
        """Raise TaskCancelled when the task is no longer wanted."""
        self._on_life()
        if self._cancelled.is_set():
            raise TaskCancelled(f"{self._stage.name} of {self._item.image_name} was cancelled.")

    def check_all_written(self) -> None:
        """Raise RuntimeError unless every product owed was handed over."""
        owed = [p.name for p in self._stage.produces if p not in self._pending and p not in self._stage.optional]
        if owed:
            raise RuntimeError(f"{self._stage.name} did not write {', '.join(owed)}")

    def begun(self) -> tuple["Future[OutputFile]", ...]:
        """Return the writes under way, whether or not they are all that is owed."""
        return tuple(self._pending.values())

    def _write(self, product: Product, encode: Encode) -> OutputFile:
        path = product.path(self._home, self._item.image_name)
        digest = write_atomically(path, encode, mode=self._rules.mode, group=self._rules.group)
        return OutputFile(product.name, str(path.relative_to(self._home)), digest.size_bytes, digest.sha256)


def _seed(*parts: str | int) -> int:
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "little")
