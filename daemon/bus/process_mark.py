"""A process that cannot be mistaken for a later one with the same number."""

import contextlib
import os
import select
import signal
from pathlib import Path

import msgspec


class ProcessMark(msgspec.Struct, frozen=True):
    """Process number and start time."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> "ProcessMark | None":
        """Return the mark of a living process, None when there is none (a zombie does not count)."""
        try:
            # The name of the program may hold spaces and brackets: fields are counted after the last one.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in {"Z", "X"} else cls(pid, int(fields[19]))

    def program(self) -> str | None:
        """Return the file name of what it runs, None when it has ended or belongs to someone else."""
        try:
            name = Path(f"/proc/{self.pid}/exe").readlink().name
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return None
        return name if ProcessMark.of(self.pid) == self else None


def end_process(mark: ProcessMark, *, patience_s: float) -> None:
    """End exactly this process, first politely, and wait until it is gone."""
    try:
        descriptor = os.pidfd_open(mark.pid)
    except ProcessLookupError:
        return
    try:
        # Only now: the descriptor cannot come to mean another process with the same number.
        if ProcessMark.of(mark.pid) != mark:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
            if _wait_end(descriptor, patience_s):
                return
    finally:
        os.close(descriptor)


def _wait_end(descriptor: int, patience_s: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(patience_s * 1000))
