"""Files of Elcano's own, opened so that nobody can put something else in their place."""

import errno
import os
import stat
from pathlib import Path


def open_own_file(path: Path, flags: int) -> int:
    """Return the descriptor of an ordinary file; a link in its place is not followed, and nothing is waited for.

    `flags` as for os.open. Raises OSError.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link, and no link is followed here") from error
        raise
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a directory")
    raise OSError(errno.EINVAL, "it is a pipe, socket or device, not a file")
