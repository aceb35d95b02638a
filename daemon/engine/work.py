"""What the engine is given to do, and what it answers: plain values between scheduler, visit and recorder."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from daemon.domain.movie import LedgerEntry
from daemon.domain.session import ImageRecord, Session
from daemon.domain.states import TaskState
from daemon.pipeline.stage import StageParams
from daemon.store.rows import TaskRow


@dataclass(frozen=True)
class StageSettings:
    """The parameters every stage runs with, and their hashes."""

    parameters: Mapping[str, StageParams]
    hashes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageWork:
    """One image to visit: all its tasks, in stage order, and what they run with from now until the visit is over."""

    session: Session
    image: ImageRecord
    movie: LedgerEntry
    tasks: tuple[TaskRow, ...]
    settings: StageSettings
    cancelled_by: str | None = None
    """Who cancelled what this job had then; what it has now came later, or was taken up again."""

    @property
    def pending(self) -> dict[str, TaskRow]:
        """Tasks still to do, by stage."""
        return {task.stage: task for task in self.tasks if task.state is TaskState.PENDING}

    def due(self, now_s: float) -> dict[str, TaskRow]:
        """Pending tasks that wait for no retry time, by stage."""
        return {
            stage: task
            for stage, task in self.pending.items()
            if task.next_attempt_at_s is None or task.next_attempt_at_s <= now_s
        }

    def stages_in(self, *states: TaskState) -> frozenset[str]:
        """Names of the stages whose task is in one of these states."""
        return frozenset(task.stage for task in self.tasks if task.state in states)


@dataclass(frozen=True)
class VisitOutcome:
    """How a visit left its image: when to come back for a retry (seconds since the epoch), or None."""

    retry_at_s: float | None = None
