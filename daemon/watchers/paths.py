"""Plain questions about paths, on strings: the poller asks them of a hundred thousand names."""
# ruff: noqa: PTH116

import errno
import os
import stat
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from daemon.domain.movie import FileIdentity


def stat_directory(path: str) -> os.stat_result:
    """Return the status of a directory. Raises OSError, also where it is something else."""
    status = os.stat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    return status


def is_utf8(name: str) -> bool:
    """Whether a name can be told to anyone."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def sayable(path: str) -> Path:
    """Return a path in which bytes that are no UTF-8 are spelled out."""
    return Path(path.encode("utf-8", "backslashreplace").decode())


def identify(path: str, status: os.stat_result) -> FileIdentity:
    """Return a file's identity from its status."""
    return FileIdentity(Path(path), status.st_size, status.st_mtime_ns)


class Places:
    """Directories as they really are, looked up when first asked about: some may not answer, which is for a thread."""

    def __init__(self, places: Iterable[Path]) -> None:
        self._places = tuple(places)

    @cached_property
    def _real(self) -> list[str]:
        return [os.path.realpath(place) for place in self._places]

    def hold(self, real_path: str) -> bool:
        """Whether a path is one of these or lies below one."""
        return any(real_path == place or real_path.startswith(f"{place.rstrip('/')}/") for place in self._real)
