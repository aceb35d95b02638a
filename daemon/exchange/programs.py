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
_MOST_KEPT_BYTES = 2**24
"""What is kept of a program that talks without end: its last lines, and no more than this of the memory they take."""
_MOST_PASSED_ON_PER_S = 2**17
"""Characters that are passed on of what a program says in a second."""
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
    words = _Words(on_line, clock_s)
    assert process.stdout is not None
    assert process.stdin is not None
    listener = threading.Thread(target=_listen, args=(process.stdout, words), daemon=True)
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
                    raise ProgramFailed(arguments[0], how, words.kept()[-_LAST_LINES:]) from None
    finally:
        _end(process)
        listener.join(_GRACE_S)
    if status != 0:
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        raise ProgramFailed(arguments[0], how, words.kept()[-_LAST_LINES:])
    return words.kept()


class _Words:
    """What a program says: kept within bounds, and passed on no faster than a log bears."""

    def __init__(self, on_line: Callable[[str], None], clock_s: Callable[[], float]) -> None:
        self._on_line = on_line
        self._clock_s = clock_s
        self._lines: deque[str] = deque()
        self._kept_bytes = 0
        self._second_began_s = clock_s()
        self._passed_on = 0
        self._left_out = 0
        self._guard = threading.Lock()

    def take(self, line: str) -> None:
        """Keep a line, and pass it on if there is room for it in this second."""
        with self._guard:
            self._lines.append(line)
            self._kept_bytes += sys.getsizeof(line)
            while self._kept_bytes > _MOST_KEPT_BYTES:
                self._kept_bytes -= sys.getsizeof(self._lines.popleft())
        if self._clock_s() - self._second_began_s >= 1.0:
            self.say_left_out()
            self._second_began_s, self._passed_on = self._clock_s(), 0
        self._passed_on += len(line) + 1
        if self._passed_on <= _MOST_PASSED_ON_PER_S:
            self._on_line(line)
        else:
            self._left_out += 1

    def say_left_out(self) -> None:
        """Pass on how many lines were not."""
        if self._left_out:
            self._on_line(f"({self._left_out} line(s) left out here: it talks faster than is logged)")
            self._left_out = 0

    def kept(self) -> list[str]:
        """Return the last lines, the oldest first."""
        with self._guard:
            return list(self._lines)


def _listen(stream: IO[str], words: _Words) -> None:
    with stream:
        while line := stream.readline(_LONGEST_LINE):
            words.take(line.rstrip())
    words.say_left_out()


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
