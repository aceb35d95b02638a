"""Steps that do not come to their end."""

from collections.abc import Sequence

from daemon.errors.base import ElcanoError


class StageHung(ElcanoError):
    """A stage shows no sign of life any more; only a new process can take its thread back."""

    kind = "hung"

    def __init__(self, stage: str, image_name: str, limit_s: float) -> None:
        super().__init__(
            f"{stage} of {image_name} has shown no sign of life for {limit_s:.0f} s.",
            hint="Look at this movie and at the daemon's log; `elcano retry` then tries it again.",
        )


class ComputationCrashed(ElcanoError):
    """The process of its own in which a suspected movie was computed has died."""

    kind = "crashed"

    def __init__(self, stage: str, image_name: str, how: str) -> None:
        super().__init__(
            f"{stage} of {image_name} brought its process down ({how}).",
            hint="Look at this movie and at the daemon's log; `elcano retry` then tries it again.",
        )


class ComputeUnavailable(ElcanoError):
    """The libraries that compute cannot be loaded: without them nothing can be processed."""

    kind = "compute"

    def __init__(self, reason: str) -> None:
        self.reason = reason.rstrip(".")
        super().__init__(f"PyTorch cannot be loaded: {self.reason}.", hint="Install Elcano again, then start it.")


class OutOfMemory(ElcanoError):
    """A movie needs more memory than the byte budget or the device can ever give."""

    kind = "out_of_memory"

    def __init__(self, what: str, needed_bytes: int, available_bytes: int, *, hint: str = "") -> None:
        super().__init__(
            f"{what} needs {needed_bytes / 2**30:.1f} GiB, {available_bytes / 2**30:.1f} GiB are allowed.",
            hint=hint or "Raise [compute] byte_budget_gib or process on a larger machine.",
        )


class ProgramFailed(ElcanoError):
    """Another program that does a step's work could not be run, failed, took too long or left no result."""

    kind = "program"

    def __init__(self, program: str, what: str, last_lines: Sequence[str] = (), *, hint: str = "") -> None:
        said = f" It last said: {' | '.join(line for line in last_lines if line.strip())}" if last_lines else ""
        super().__init__(f"{program} {what}.{said}", hint=hint or "Run its command by hand: the daemon's log has it.")


class TaskCancelled(ElcanoError):
    """Someone cancelled the task while it ran."""

    kind = "cancelled"
