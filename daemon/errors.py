"""Every error that Elcano raises on purpose, and when.

The message is built here, in the class: what, where, and what to do. `kind` is the stable word that
events, tables and tests use; `retryable` says whether the same bytes may succeed later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MUST_RESTART = 75
"""Exit code of a daemon that is well again once it is started anew (EX_TEMPFAIL): a stage hangs."""
MAKE_AGAIN = "Run the stage that makes it again: elcano reprocess STAGE --image NAME."
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
    line: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}, {self.where}" if self.line else self.where
        return f"{where}: {self.what} ({self.hint})" if self.hint else f"{where}: {self.what}"


class ConfigurationInvalid(ElcanoError):
    """config.toml or its environment overrides hold wrong keys or values; all of them are listed."""

    kind = "configuration"

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  - {problem}" for problem in problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__(f"{source}: {count} in the configuration:\n{lines}")


class ManifestInvalid(ElcanoError):
    """session.json cannot be used; every problem is listed with its key path."""

    kind = "manifest"

    def __init__(self, path: Path, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = "; ".join(str(problem) for problem in self.problems)
        super().__init__(
            f"{path}: not a usable session.json: {lines}.", hint="Mend or remove the file: it is read again by itself."
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


class MountMismatch(ElcanoError):
    """A shared folder is not the same place for everyone who names it: what one wrote there, another does not read."""

    kind = "mount_mismatch"

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"{path}: {what}.", hint="Mount the same file system at the same path everywhere, then try again."
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


class DiskFull(FileNotWritten):
    """An output could not be written because its file system, or somebody's quota on it, has no room left."""

    kind = "disk_full"


class ReadStuck(ElcanoError):
    """A read of a movie does not return: its file system hangs. The movie is read again once it answers."""

    kind = "read_stuck"
    retryable = True

    def __init__(self, path: Path, limit_s: float) -> None:
        super().__init__(
            f"{path}: reading it has not returned for {limit_s:.0f} s.",
            hint="Its file system hangs: check the mount. The movie is taken up again when it answers.",
        )


class FileUnanswered(ElcanoError):
    """A look at a file or directory does not return: its file system hangs."""

    kind = "file_unanswered"
    retryable = True

    def __init__(self, path: Path, limit_s: float) -> None:
        self.path = path
        super().__init__(f"{path}: has not answered for {limit_s:g} s.", hint="Its file system hangs: check the mount.")


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


class HomeTaken(ElcanoError):
    """Another daemon, on this node or another, works in this home."""

    kind = "home_taken"

    def __init__(self, home: Path, who: str, *, hint: str) -> None:
        super().__init__(f"{home}: {who} works in it.", hint=hint)


class ReferenceUnsuitable(ElcanoError):
    """An image of the camera does not fit the movie: shape, or values it cannot have. Raised as one of the next."""

    kind = "reference_unsuitable"

    def __init__(self, path: Path, what: str) -> None:
        word = self.kind.removesuffix("_unsuitable")
        super().__init__(
            f"{word.capitalize()} reference {path}: {what}.",
            hint=f"Put the right file there, then retry; or name it as acquisition.{word} in session.json or in a "
            "[[session]] entry of config.toml, then run `elcano import` with the session's directory.",
        )


class GainUnsuitable(ReferenceUnsuitable):
    """A gain reference does not fit the movie."""

    kind = "gain_unsuitable"


class DarkUnsuitable(ReferenceUnsuitable):
    """A dark reference does not fit the movie."""

    kind = "dark_unsuitable"


class DefectsUnsuitable(ReferenceUnsuitable):
    """A file of defects does not fit the movie, holds lines that are no rectangles, or leaves hardly a good pixel."""

    kind = "defects_unsuitable"


class AcquisitionUnknown(ElcanoError):
    """A physical parameter is in neither session.json, the movie header nor config.toml."""

    kind = "acquisition_unknown"

    def __init__(self, parameters: str | Sequence[str], where: str) -> None:
        names = [parameters] if isinstance(parameters, str) else list(parameters)
        are, them = ("is", "it") if len(names) == 1 else ("are", "them")
        super().__init__(
            f"{' and '.join(names)} of {where} {are} unknown: neither session.json, the movie's header nor config.toml "
            f"gives {them}.",
            hint=f"Set {' and '.join(f'acquisition.{name}' for name in names)} in session.json or in a [[session]] "
            "entry of config.toml, then run `elcano import` with the session's directory: what failed runs again.",
        )


class ProductMissing(ElcanoError):
    """A stage needs a product of an earlier stage that is not on disk."""

    kind = "product_missing"

    def __init__(self, product: str, path: Path) -> None:
        super().__init__(f"{product} is missing: {path}.", hint=MAKE_AGAIN)


class ProductDamaged(ElcanoError):
    """A product of an earlier stage is on disk, but it is not what that stage wrote."""

    kind = "product_damaged"

    def __init__(self, product: str, error: FormatError) -> None:
        super().__init__(f"{product} is damaged: {error.message}", hint=MAKE_AGAIN)


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


class StoreUnavailable(ElcanoError):
    """The DuckDB file cannot be opened: another process owns it, or it is damaged, or from a newer version."""

    kind = "store"

    def __init__(self, path: Path, what: str, *, hint: str = "") -> None:
        super().__init__(f"The database {path}: {what}.", hint=hint)


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
            hint="Compare it with docs/events.md; sender and daemon may be of different versions.",
        )


class BusUnavailable(ElcanoError):
    """NATS cannot be reached, started, or refuses the credentials."""

    kind = "bus"
    retryable = True


class DaemonNotRunning(ElcanoError):
    """A command needs a running daemon and none answers."""

    kind = "daemon_not_running"

    def __init__(self, where: str, elsewhere: str = "") -> None:
        self.where = where
        hint = "Start it with `elcano run`, or name its configuration with --config."
        hint = f"Ask on the other node: {elsewhere} works in this home." if elsewhere else hint
        super().__init__(f"No elcano daemon answers at {where}.", hint=hint)


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
