"""Positioned reads from one file, with every failure as an Elcano error.

Reads go through pread, never through a memory map: a file that shrinks under a map kills the process.
"""

import errno
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from daemon.domain.movie import FileIdentity
from daemon.errors import FileUnreadable, MovieChanged, MovieIncomplete
from daemon.formats.pace import READ_PACE, ReadPace

ByteOrder = Literal["<", ">"]
"""Little or big endian, as struct and numpy write it."""


class ByteSource:
    """An open file that many threads may read at once. Use as a context manager."""

    def __init__(self, path: Path, *, pace: ReadPace = READ_PACE) -> None:
        self.path = path
        self._pace = pace
        try:
            # Without O_NONBLOCK, a named pipe among the movies would hold the caller for ever.
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise FileUnreadable(path, error) from error
        try:
            self.file = _identify_regular_file(path, self._descriptor)
            self.size_bytes = self.file.size_bytes
        except OSError as error:
            os.close(self._descriptor)
            raise FileUnreadable(path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; call once."""
        os.close(self._descriptor)

    def read_at(self, offset: int, count: int) -> bytes:
        """Return exactly `count` bytes. Raises MovieIncomplete at the end of the file, FileUnreadable."""
        self._check_extent(offset, count)
        buffer = bytearray(count)
        self.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def read_up_to(self, offset: int, count: int) -> bytes:
        """Return `count` bytes, or fewer where the file ends before. Raises FileUnreadable."""
        if offset >= self.size_bytes:
            return b""  # also keeps offsets out of the system call that it could not take
        self._pace.take(min(count, self.size_bytes - offset))
        try:
            return os.pread(self._descriptor, count, offset)
        except OSError as error:
            raise FileUnreadable(self.path, error) from error

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill a contiguous buffer of bytes. Raises MovieIncomplete at the end of the file, FileUnreadable."""
        self._check_extent(offset, len(buffer))
        done = 0
        while done < len(buffer):
            part = self._pace.part_bytes(len(buffer) - done)
            self._pace.take(part)
            try:
                got = os.preadv(self._descriptor, [buffer[done : done + part]], offset + done)
            except OSError as error:
                raise FileUnreadable(self.path, error) from error
            if got == 0:
                raise MovieIncomplete(self.path, f"it shrank to {offset + done} bytes while it was read")
            done += got

    def check_unchanged(self) -> None:
        """Raise MovieChanged where the file was written since it was opened, FileUnreadable."""
        try:
            now = _identify_regular_file(self.path, self._descriptor)
        except OSError as error:
            raise FileUnreadable(self.path, error) from error
        check_same_file(self.file, now)

    def _check_extent(self, offset: int, count: int) -> None:
        if offset < 0 or count < 0 or offset + count > self.size_bytes:
            raise MovieIncomplete(
                self.path, f"data are announced up to byte {offset + count}, the file ends at {self.size_bytes}"
            )


def check_same_file(proven: FileIdentity, found: FileIdentity) -> None:
    """Raise MovieChanged where a file is not the one that was proven whole."""
    if found.size_bytes != proven.size_bytes:
        raise MovieChanged(found.path, f"it had {proven.size_bytes} bytes and has {found.size_bytes}")
    if found.mtime_ns != proven.mtime_ns:
        raise MovieChanged(found.path, "it was written at another time")


def _identify_regular_file(path: Path, descriptor: int) -> FileIdentity:
    status = os.fstat(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe, socket or device, not a file")
    return FileIdentity(path, status.st_size, status.st_mtime_ns)
