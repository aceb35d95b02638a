"""Every error that Elcano raises on purpose, and when.

The message is built here, in the class: what, where, and what to do. `kind` is the stable word that
events, tables and tests use; `retryable` says whether the same bytes may succeed later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

COPY_AGAIN = "Copy it again from the camera while the original is still there."
"""What to do about a movie whose bytes are not what the camera wrote."""


class ElcanoError(Exception):
    """Base of all: a message a microscopist can act on."""

    kind = "internal"
    retryable = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a configuration or manifest: where, what, and what would be right."""

    where: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}{f' ({self.hint})' if self.hint else ''}"


class ConfigurationInvalid(ElcanoError):
    """config.toml or its environment overrides hold wrong keys or values; all of them are listed."""

    kind = "configuration"

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"{source}: {len(self.problems)} problem(s) in the configuration:\n{lines}")


class ManifestInvalid(ElcanoError):
    """session.json cannot be used; every problem is listed with its key path."""

    kind = "manifest"

    def __init__(self, path: Path, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = "; ".join(str(problem) for problem in self.problems)
        super().__init__(
            f"{path}: not a usable session.json: {lines}.", hint="Mend or remove the file; it is read again."
        )


class PathOutsideRoots(ElcanoError):
    """A path from a manifest, message or configuration leads outside the allowed roots."""

    kind = "path_outside_roots"

    def __init__(self, path: Path, roots: Sequence[Path]) -> None:
        listed = ", ".join(str(root) for root in roots)
        super().__init__(
            f"{path} lies outside the allowed roots ({listed}).",
            hint="Move the data, or add its root to [watch] roots in config.toml.",
        )


class FormatError(ElcanoError):
    """A file is not what its format demands; the bytes will not get better by themselves."""

    kind = "format"

    def __init__(self, path: Path, what: str, *, hint: str = "") -> None:
        self.path = path
        super().__init__(f"{path}: {what}.", hint=hint)


class FormatUnsupported(FormatError):
    """A file is whole, but of a kind that Elcano does not read."""

    kind = "format_unsupported"


class MovieIncomplete(FormatError):
    """A movie's bytes end before its own structure says they should, or its end was never written."""

    kind = "movie_incomplete"

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(path, what, hint=COPY_AGAIN)


class FileUnreadable(ElcanoError):
    """The operating system refuses to give a file's bytes (permission, stale handle, input/output error)."""

    kind = "file_unreadable"
    retryable = True

    def __init__(self, path: Path, error: OSError) -> None:
        self.path = path
        super().__init__(
            f"{path}: cannot be read: {error.strerror or error}.",
            hint="Check permissions and the mount as the user that runs elcano.",
        )


class MovieUnreadable(FileUnreadable):
    """The operating system refuses the bytes of a movie that had been proven whole."""

    kind = "movie_unreadable"


class FileNotWritten(ElcanoError):
    """An output could not be written (full disk, quota, permission)."""

    kind = "file_not_written"
    retryable = True

    def __init__(self, path: Path, error: OSError) -> None:
        self.path = path
        super().__init__(
            f"{path}: cannot be written: {error.strerror or error}.",
            hint="Check free space, quota and permissions of the session home.",
        )


class GainUnsuitable(ElcanoError):
    """A gain reference does not fit the movie: shape, or values that cannot be a gain."""

    kind = "gain_unsuitable"

    def __init__(self, gain: Path, what: str) -> None:
        super().__init__(
            f"Gain reference {gain}: {what}.", hint="Name the right gain under acquisition.gain, then retry."
        )


class AcquisitionUnknown(ElcanoError):
    """A physical parameter is in neither session.json, the movie header nor config.toml."""

    kind = "acquisition_unknown"

    def __init__(self, parameter: str, where: str) -> None:
        super().__init__(
            f"{parameter} of {where} is unknown: neither session.json, the movie's header nor config.toml gives it.",
            hint=f"Set acquisition.{parameter} for this session in config.toml, then retry.",
        )


class ProductMissing(ElcanoError):
    """A stage needs a product of an earlier stage that is not on disk."""

    kind = "product_missing"

    def __init__(self, product: str, path: Path) -> None:
        super().__init__(f"{product} is missing: {path}.", hint="Re-run the stage that makes it.")


class ProductDamaged(ElcanoError):
    """A product of an earlier stage is on disk, but it is not what that stage wrote."""

    kind = "product_damaged"

    def __init__(self, product: str, error: FormatError) -> None:
        super().__init__(f"{product} is damaged: {error.message}", hint="Re-run the stage that makes it.")


class OutOfMemory(ElcanoError):
    """A movie needs more memory than the byte budget or the device can ever give."""

    kind = "out_of_memory"

    def __init__(self, what: str, needed_bytes: int, available_bytes: int) -> None:
        super().__init__(
            f"{what} needs {needed_bytes / 2**30:.1f} GiB, {available_bytes / 2**30:.1f} GiB are allowed.",
            hint="Raise [compute] byte_budget_gib or process on a larger machine.",
        )


class TaskCancelled(ElcanoError):
    """Someone cancelled the task while it ran."""

    kind = "cancelled"


class StoreUnavailable(ElcanoError):
    """The DuckDB file cannot be opened: another process owns it, or it is damaged, or from a newer version."""

    kind = "store"

    def __init__(self, path: Path, what: str, *, hint: str = "") -> None:
        super().__init__(f"Store {path}: {what}.", hint=hint)


class IllegalMove(ElcanoError):
    """A movie, task or session was told to go where no arrow leads: a fault of the caller, not of the data."""

    kind = "illegal_move"

    def __init__(self, subject: str, what: str) -> None:
        super().__init__(
            f"{subject}: {what}.", hint="This is a fault in Elcano; please report it with the daemon's log."
        )


class QueryRefused(ElcanoError):
    """A user's SQL is not a single read-only statement, or DuckDB rejects it."""

    kind = "query"


class MessageInvalid(ElcanoError):
    """A message from another process is not what its kind demands."""

    kind = "message"

    def __init__(self, kind: str, problem: str) -> None:
        super().__init__(
            f"Not a usable {kind}: {problem}.",
            hint="Compare it with docs/events.md; sender and daemon may differ in age.",
        )


class BusUnavailable(ElcanoError):
    """NATS cannot be reached, started, or refuses the credentials."""

    kind = "bus"
    retryable = True


class DaemonNotRunning(ElcanoError):
    """A command needs a running daemon and none answers."""

    kind = "daemon_not_running"

    def __init__(self, where: str) -> None:
        super().__init__(
            f"No elcano daemon answers at {where}.",
            hint="Start it with `elcano run`, or name its configuration with --config.",
        )


class ImportFailed(ElcanoError):
    """A session could not be imported for a reason that nobody foresaw; the others go on."""

    kind = "import"

    def __init__(self, directory: Path, error: Exception) -> None:
        super().__init__(
            f"{directory} could not be imported: {type(error).__name__}: {error}.",
            hint="This is a fault of Elcano; its log has the details.",
        )


class CommandRefused(ElcanoError):
    """The daemon understood a command and will not do it."""

    kind = "refused"


class SimulationInvalid(ElcanoError):
    """A simulated session was asked for that cannot be made, or its place is taken."""

    kind = "simulation"
