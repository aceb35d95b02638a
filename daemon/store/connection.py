"""Opening the DuckDB file: who owns it, how it is configured, and what its refusals mean."""

import fcntl
import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import duckdb

from daemon.errors import StoreUnavailable

Connection = duckdb.DuckDBPyConnection
DatabaseError = duckdb.Error
DuplicateKey = duckdb.ConstraintException

# External access can be switched off only for a whole instance and never on again. It is off from the first
# moment: nothing in the store's instance, or in the one that runs people's SQL, can read or write another file,
# load an extension or reach the network. The price is that we have no COPY; Parquet is written by pyarrow.
_CONFIGURATION: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "allow_community_extensions": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
    "memory_limit": "1GB",
    "max_temp_directory_size": "8GB",
    "threads": 2,
}

_LOOK_EVERY_S = 0.2

_RESCUE = (
    "Nothing was changed. Put back the copy kept beside it (.before-N), or move it aside: "
    "the records under each session's .elcano folder hold the results."
)


class FileOwner:
    """The right to write a store: an advisory lock on `<path>.owner`, held as long as this object is open.

    The kernel lets go of it when the process dies, however it dies.
    """

    def __init__(self, path: Path) -> None:
        self.path = owner_path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[str] = self.path.open("a+")
        except OSError as error:
            raise StoreUnavailable(path, f"its folder cannot be written ({error.strerror or error})") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise owned_elsewhere(path) from error
        self._file.truncate(0)
        self._file.write(f"{os.getpid()} {socket.gethostname()}\n")
        self._file.flush()

    def release(self) -> None:
        """Let another process own the store. The lock file stays: removing it could take away a newer owner's."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def owner_path(path: Path) -> Path:
    """Where the owner of a store says who it is."""
    return path.with_name(f"{path.name}.owner")


def living_owner(path: Path) -> str | None:
    """Say which process of this machine owns a store; None when none does that can be seen from here."""
    try:
        pid, host = owner_path(path).read_text().split()
        if host != socket.gethostname() or not Path(f"/proc/{pid}").exists():
            return None
        # Only where that process lives: a lock for a look, too, would refuse a daemon that starts just now.
        with owner_path(path).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return f"process {pid} on {host}"
    except (OSError, ValueError):
        return None
    return None


def owned_elsewhere(path: Path, refusal: str = "") -> StoreUnavailable:
    """Say who owns a store that we were refused: as DuckDB says it, else as the owner's own file does."""
    named = re.search(r"PID (\d+)", refusal)
    try:
        words = owner_path(path).read_text().split()
    except OSError:
        words = []
    if named:
        who = f"process {named[1]}"
        if words[:1] == [str(os.getpid())]:
            # Owners are told apart by their own lock, and it is ours: whoever holds DuckDB's can only read.
            hint = "It is a query, a report or an audit that began while no daemon ran. Wait for it to end, or end it."
            return StoreUnavailable(path, f"{who} reads it", hint=hint)
    else:
        who = f"process {words[0]} on {words[1]}" if len(words) == 2 else "another process"
    return StoreUnavailable(
        path, f"{who} owns it", hint="Only one daemon may use a store: stop that one, or ask it with `elcano query`."
    )


def wait_for_readers(path: Path, patience_s: float, on_wait: Callable[[], None]) -> None:
    """Return once nobody reads a store that we own, or after patience_s: without a daemon people read the file itself.

    on_wait is called once, if there is somebody to wait for. Only before this process opens the store: looking at
    DuckDB's lock lets go of any that it has itself.
    """
    until_s = time.monotonic() + patience_s
    is_told = False
    while time.monotonic() < until_s and _is_read(path):
        if not is_told:
            on_wait()
            is_told = True
        time.sleep(_LOOK_EVERY_S)


def _is_read(path: Path) -> bool:
    try:
        with path.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is none yet; what else is wrong, opening it says
        return False
    return False


def connect(path: Path, *, read_only: bool = False) -> Connection:
    """Open the file, locked down for good. Raises StoreUnavailable with what is wrong and what to do."""
    try:
        connection = duckdb.connect(path, read_only=read_only, config=_CONFIGURATION)
        _lock_down(connection)
    except duckdb.ConnectionException as error:
        # This process has it open already, with the other access mode.
        raise owned_elsewhere(path) from error
    except duckdb.Error as error:
        raise explain_refusal(path, error) from error
    return connection


def open_sandbox() -> Connection:
    """Open an empty instance in memory, locked down like the store's, that never spills to disk."""
    connection = duckdb.connect(":memory:", config=_CONFIGURATION | {"temp_directory": ""})
    _lock_down(connection)
    return connection


def _lock_down(connection: Connection) -> None:
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET lock_configuration = true")


def explain_refusal(path: Path, error: duckdb.Error) -> StoreUnavailable:
    """Translate what DuckDB says when it does not open a file."""
    text = str(error)
    if "Could not set lock" in text:
        return owned_elsewhere(path, text)
    first_line = text.split("\n", maxsplit=1)[0].rstrip(".!")
    if "newer version" in text or "storage version" in text.lower():
        return StoreUnavailable(path, f"it was written by a newer DuckDB ({first_line})", hint="Update elcano.")
    if "No space left on device" in text or "Disk quota exceeded" in text:
        return StoreUnavailable(
            path, f"its disk is full ({first_line})", hint="Make room there and start again: nothing is lost."
        )
    if isinstance(error, duckdb.IOException) and ("Permission denied" in text or "No such file" in text):
        return StoreUnavailable(
            path, first_line, hint="Check the path and its permissions as the user that runs elcano."
        )
    return StoreUnavailable(path, f"it is damaged or not a store ({first_line})", hint=_RESCUE)


def explain_failed_commit(path: Path, error: duckdb.Error) -> Exception:
    """Tell a broken machine (StoreUnavailable) from a caller's mistake (the error itself)."""
    what = f"a commit failed and nothing of it was kept ({str(error).split(chr(10), maxsplit=1)[0]})"
    if isinstance(error, duckdb.TransactionException | duckdb.IOException | duckdb.OutOfMemoryException):
        # Measured with a full disk: DuckDB takes the torn record off its log and goes on once there is space again.
        return StoreUnavailable(path, what, hint="Check free space and health of its disk; later commits may succeed.")
    if isinstance(error, duckdb.FatalException | duckdb.InternalException):
        return StoreUnavailable(path, what, hint="Restart the daemon; it resumes from its last commit.")
    return error
