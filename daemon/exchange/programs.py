"""Runs other people's programs: an argument list, a folder of its own and a time limit; never a shell.

A program's words go to the task's log as they come. Its end is waited for in short steps, so that a cancelled
task ends it at once, with everything it started; and the kernel ends it when the daemon dies, or the thread that
called us. Of what it started itself the kernel knows nothing: a wrapper script must `exec` the program.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from daemon import deathbound
from daemon.errors import ProgramFailed

_LOOK_EVERY_S = 0.2
_GRACE_S = 5.0
_LAST_LINES = 12
_LONGEST_LINE = 2**16
_MOST_LINES = 200_000
"""What is kept of a program that talks without end: its last lines, and of each no more than this."""
_END_WITH_US = str(signal.SIGKILL.value)
"""When we die: whatever the program makes of other signals, nobody reads what it would still write."""
_PRIVATE = ("CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


def find_program(name: str) -> Path:
    """Return the absolute path of a program, looked for in PATH when it has no folder. Raises ProgramFailed."""
    found = shutil.which(name)
    if found is None:
        raise ProgramFailed(name, "is not there or may not be run", hint="Name it by its whole path, or install it.")
    return Path(found).absolute()


def run_program(
    arguments: Sequence[str],
    *,
    folder: Path,
    answers: str = "",
    time_limit_s: float,
    on_line: Callable[[str], None],
    check_cancelled: Callable[[], None],
    clock_s: Callable[[], float] = time.monotonic,
) -> list[str]:
    """Run a program in `folder` and return its lines; `answers` are typed to it.

    Raises ProgramFailed when it cannot be started, ends with another status than 0 or passes its time, and whatever
    `check_cancelled` raises: the program is ended first.
    """
    program = find_program(arguments[0])
    bound = (sys.executable, "-I", "-S", deathbound.__file__, str(os.getpid()), _END_WITH_US, str(program))
    environment = {
        name: value for name, value in os.environ.items() if name not in _PRIVATE and not name.startswith("ELCANO__")
    }
    try:
        process = subprocess.Popen(  # noqa: S603 - no shell; the program is the site's own choice
            [*bound, *arguments[1:]],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise ProgramFailed(arguments[0], f"could not be started: {error.strerror}") from error
    lines: deque[str] = deque(maxlen=_MOST_LINES)
    assert process.stdout is not None
    assert process.stdin is not None
    listener = threading.Thread(target=_listen, args=(process.stdout, lines, on_line), daemon=True)
    listener.start()
    teller = threading.Thread(target=_answer, args=(process.stdin, answers), daemon=True)
    teller.start()
    end_s = clock_s() + time_limit_s
    try:
        while True:
            try:
                status = process.wait(_LOOK_EVERY_S)
                break
            except subprocess.TimeoutExpired:
                check_cancelled()
                if clock_s() > end_s:
                    how = f"did not end within {time_limit_s:.0f} s"
                    raise ProgramFailed(arguments[0], how, list(lines)[-_LAST_LINES:]) from None
    finally:
        _end(process)
        listener.join(_GRACE_S)
    if status != 0:
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        raise ProgramFailed(arguments[0], how, list(lines)[-_LAST_LINES:])
    return list(lines)


def _listen(stream: IO[str], lines: deque[str], on_line: Callable[[str], None]) -> None:
    with stream:
        while line := stream.readline(_LONGEST_LINE):
            lines.append(line.rstrip())
            on_line(line.rstrip())


def _answer(stream: IO[str], answers: str) -> None:
    """Type the answers. A program that does not want them all has closed its side: its status says how it ended."""
    try:
        with stream:
            stream.write(answers)
    except BrokenPipeError:
        return


def _end(process: subprocess.Popen[str]) -> None:
    """End a program and what it started; nothing is left of one that ended by itself but its children."""
    for deadly in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, deadly)
        except ProcessLookupError:
            return
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            continue
