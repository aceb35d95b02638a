"""Becomes another program that the kernel ends with the parent: `deathbound.py PARENT_PID SIGNAL PROGRAM [ARGUMENT…]`.

Run as a file of its own, by an isolated interpreter, because setting this up between fork and exec in a
process with threads may deadlock. The setting survives exec, but no fork: a program that is a script and
starts the real one must `exec` it. It belongs to the thread that started us: that one must live for as long
as the program may, as the event loop's and the compute thread do.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def become(parent_pid: int, deadly: int, program: str, arguments: list[str]) -> None:
    """Let the kernel send the signal `deadly` when the parent dies, and turn into `program`. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, deadly, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    if os.getppid() != parent_pid:  # it died before the kernel knew whom to watch
        sys.exit(1)
    os.execv(program, [program, *arguments])  # noqa: S606 - the path is absolute and chosen by the daemon


if __name__ == "__main__":
    become(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
