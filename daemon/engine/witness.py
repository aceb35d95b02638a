"""Passes on what running tasks say: progress and log lines, best effort, from any thread."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from structlog.contextvars import get_contextvars

from daemon.bus.signals import SignalChannel
from daemon.messages import events
from daemon.messages.envelope import utc
from daemon.messages.event_data import LogLine
from daemon.messages.events import TaskRef
from daemon.messages.subjects import Subjects

log = structlog.get_logger("task")


@dataclass(frozen=True)
class Progress:
    """How far one running task is; `stage` is its step's own name."""

    image_name: str
    stage: str
    current: int
    total: int
    unit: str


class TaskWitness:
    """Tells the bus, and keeps the latest progress of each running task for status pages."""

    def __init__(self, subjects: Subjects, signals: SignalChannel, stages: Mapping[str, str] | None = None) -> None:
        """Tell it all over `signals`, which coalesces the progress of one task; `stages` are names by name on the bus.

        Only the bus knows the latter: logs and status pages have the name that the configuration has, too.
        """
        self._subjects = subjects
        self._signals = signals
        self._stages = stages or {}
        self._refs: dict[str, TaskRef] = {}
        self._contexts: dict[str, dict[str, Any]] = {}
        """What lines of the log carried when a task began, which are written on other threads."""
        self._progress: dict[str, Progress] = {}

    def begin(self, ref: TaskRef) -> None:
        """A task starts to run."""
        self._contexts[ref.task_id] = get_contextvars() | {
            "image": ref.image_name,
            "stage": self._stages.get(ref.step, ref.step),
            "task": ref.task_id,
        }
        self._refs[ref.task_id] = ref

    def end(self, task_id: str) -> None:
        """A task has ended: what it still said comes too late."""
        self._refs.pop(task_id, None)
        self._contexts.pop(task_id, None)
        self._progress.pop(task_id, None)
        self._signals.forget(task_id)

    def running(self) -> list[Progress]:
        """Return the latest progress of every running task."""
        return list(self._progress.values())

    def progress(self, task_id: str, current: int, total: int, unit: str) -> None:
        """A task got this far."""
        ref = self._refs.get(task_id)
        if ref is None:
            return
        self._progress[task_id] = Progress(ref.image_name, self._stages.get(ref.step, ref.step), current, total, unit)
        event = events.step_progress(self._subjects, ref, current=current, total=total, unit=unit, at_s=time.time())
        self._signals.offer(event, key=task_id)

    def log_line(self, task_id: str, level: str, message: str) -> None:
        """A task said something."""
        ref, context = self._refs.get(task_id), self._contexts.get(task_id)
        if ref is None or context is None:
            return
        is_warning = level == "warning"
        (log.warning if is_warning else log.info)(message, **context)
        line = LogLine(
            ts=utc(time.time()),
            job_id=ref.job_id,
            task_id=task_id,
            level="warning" if is_warning else "info",
            message=message,
        )
        self._signals.offer(events.log_line(self._subjects, line))
