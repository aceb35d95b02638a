"""A process for people's SQL as the daemon holds it: started lean, asked, killed."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import Pipe
from typing import Any

from daemon import deathbound
from daemon.errors import QueryRefused

_PROGRAM = "daemon.store.statement_run"
_END_WITH_US = str(signal.SIGKILL.value)
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "HOME")
"""Of the environment: no configuration, and no place where credentials are."""
_PATIENCE_S = 10.0
_VALUES = {
    ("datetime", "date"),
    ("datetime", "datetime"),
    ("datetime", "time"),
    ("datetime", "timedelta"),
    ("datetime", "timezone"),
    ("decimal", "Decimal"),
    ("uuid", "UUID"),
}
"""What a row may hold beside numbers, texts, bytes, lists and mappings."""


class StatementEnded(Exception):
    """The process is gone, or says what none of ours would."""


class StatementProcess:
    """One daemon.store.statement_run. The kernel ends it with the thread that started it."""

    def __init__(self) -> None:
        coming, theirs_going = Pipe(duplex=False)
        theirs_coming, going = Pipe(duplex=False)
        self._coming, self._going = coming, going
        ends = (str(theirs_coming.fileno()), str(theirs_going.fileno()))
        bound = (sys.executable, "-I", "-S", deathbound.__file__, str(os.getpid()), _END_WITH_US)
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        try:
            with theirs_coming, theirs_going:
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own program
                    [*bound, sys.executable, "-P", "-m", _PROGRAM, *ends],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs_coming.fileno(), theirs_going.fileno()],
                    # The same path as this process, so that it is the same program.
                    env=environment | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                    start_new_session=True,  # Ctrl-C is for us
                )
        except OSError as error:
            self._close_pipes()
            raise QueryRefused(
                f"No process for the statement could be started: {error.strerror}.",
                hint="Check the limits on processes and memory of this machine.",
            ) from error

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def send(self, *messages: bytes | memoryview) -> None:
        """Send messages one after the other. Raises StatementEnded when nobody is there."""
        try:
            for message in messages:
                self._going.send_bytes(message)
        except OSError as error:
            raise StatementEnded from error

    def receive(self) -> dict[str, Any] | list[tuple[Any, ...]]:
        """Return the next rows, or what else is said. Raises StatementEnded."""
        try:
            said = self._coming.recv_bytes()
        except (EOFError, OSError) as error:
            raise StatementEnded from error
        return read_said(said)

    def kill(self) -> None:
        """End it now, whatever it does."""
        self._process.kill()

    def close(self) -> str:
        """End it and let go of it, also a second time; returns how it ended."""
        self._process.kill()
        try:
            code = self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            return "it does not end"
        finally:
            self._close_pipes()
        if code >= 0:
            return f"exit code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"killed by {name}"

    def _close_pipes(self) -> None:
        self._coming.close()
        self._going.close()


def read_said(said: bytes) -> dict[str, Any] | list[tuple[Any, ...]]:
    """Return rows, or what else is said. Raises StatementEnded when that is nothing known."""
    # It is not trusted: the statement of a stranger has run where it comes from.
    try:
        found = json.loads(said) if said.startswith(b"{") else _Rows(io.BytesIO(said)).load()
    except Exception as error:  # what damaged bytes raise has no common name
        raise StatementEnded from error
    if not isinstance(found, dict | list):
        raise StatementEnded
    return found


class _Rows(pickle.Unpickler):
    """Reads rows, and nothing that could act."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        if (module, name) not in _VALUES:
            raise StatementEnded
        found: Callable[..., Any] = super().find_class(module, name)
        return found
