"""The daemon, its ledger and its bus, and what it is asked for."""

from pathlib import Path

from daemon.errors.base import ElcanoError

MUST_RESTART = 75
"""Exit code of a daemon that is well again once it is started anew (EX_TEMPFAIL): a stage hangs."""


class HomeTaken(ElcanoError):
    """Another daemon, on this node or another, works in this home."""

    kind = "home_taken"

    def __init__(self, home: Path, who: str, *, hint: str) -> None:
        super().__init__(f"{home}: {who} works in it.", hint=hint)


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
