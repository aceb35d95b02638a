"""States as people see them: always a sign and a word, and a tone that colours them; the colour says nothing alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Tone = Literal["plain", "dim", "strong", "done", "running", "failed", "skipped", "cancelled", "waiting", "warning"]


@dataclass(frozen=True)
class Shown:
    """How a state looks."""

    sign: str
    word: str
    tone: Tone

    def __str__(self) -> str:
        return f"{self.sign} {self.word}"


TASK_STATES: tuple[str, ...] = ("pending", "running", "completed", "failed", "cancelled", "skipped")
"""By wire code."""
PENDING, RUNNING, COMPLETED, FAILED, CANCELLED, SKIPPED = range(6)
NO_TASK = 255
"""In place of a wire code: this image does not owe the stage."""

_TASKS: Mapping[str, Shown] = {
    "pending": Shown("·", "waiting", "waiting"),
    "running": Shown("▸", "running", "running"),
    "completed": Shown("✓", "done", "done"),
    "failed": Shown("✗", "failed", "failed"),
    "cancelled": Shown("⊘", "cancelled", "cancelled"),
    "skipped": Shown("»", "skipped", "skipped"),
}
_JOBS: Mapping[str, Shown] = {**_TASKS, "idle": Shown("○", "open, idle", "plain")}
_NONE = Shown("–", "", "dim")
NOT_WHOLE = Shown("·", "not whole", "waiting")
"""In place of `waiting`: what waits is not its turn but a movie that is still being written, or broken."""


def show_task(state: int | str) -> Shown:
    """How a task's state looks, by name or wire code."""
    if isinstance(state, int):
        if state >= len(TASK_STATES):
            return _NONE
        state = TASK_STATES[state]
    return _TASKS.get(state, Shown("?", state, "warning"))


def show_job(state: str) -> Shown:
    """How a job's state looks; `idle` is a running job of an open session that has nothing to do now."""
    return _JOBS.get(state, Shown("?", state, "warning"))
