"""Becomes another program that the kernel ends when the parent does: `deathbound.py PARENT_PID PROGRAM [ARGUMENT…]`.

Run as a file of its own, by an isolated interpreter, because setting this up between fork and exec in a
process with threads may deadlock. The setting survives exec. It belongs to the thread that started us, so
the parent starts us from the thread of its event loop.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def become(parent_pid: int, program: str, arguments: list[str]) -> None:
    """Tie this process to its parent and turn into `program`. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    if os.getppid() != parent_pid:  # it died before the kernel knew whom to watch
        sys.exit(1)
    os.execv(program, [program, *arguments])  # noqa: S606 - the path is absolute and chosen by the daemon


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
