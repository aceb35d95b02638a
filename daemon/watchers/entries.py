"""What the poller remembers of a directory: small, because there are a hundred thousand names in them."""

import os
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple


class FileRecord(NamedTuple):
    """The state of a movie that a later state is compared with."""

    size_bytes: int
    mtime_ns: int


class Entry(Enum):
    """A name that is not a movie."""

    DIRECTORY = "directory"
    PASSED_OVER = "passed over"
    TEMPORARY = "temporary"
    DANGLING = "dangling"
    OTHER = "other"


@dataclass
class Directory:
    """One directory under watch: its last listing, and what speaks for listing it again.

    `named`: names that the kernel told of since. A listing that they make unnecessary may wait until `listing_due_s`.
    """

    path: str
    real_path: str
    device: int | None = None
    mtime_ns: int = -1
    hot_until_s: float = float("-inf")
    suspect: bool = False
    named: set[str] = field(default_factory=set)
    listing_due_s: float | None = None
    entries: dict[str, FileRecord | Entry] = field(default_factory=dict)


class CopiesUnderWay:
    """Remembers temporary names by inode, so that a file renamed from one is recognised.

    An inode may serve again once a temporary file is deleted: it is remembered for one poll after its name has gone,
    and what was renamed is never smaller than what was seen of it.
    """

    def __init__(self) -> None:
        self._written_bytes: dict[tuple[int, int], int] = {}
        self._names: dict[str, tuple[int, int]] = {}
        self._left: set[tuple[int, int]] = set()
        self._left_before: set[tuple[int, int]] = set()

    def begin_poll(self) -> None:
        """Forget the names that had gone before the last poll ended."""
        for key in self._left_before - set(self._names.values()):
            self._written_bytes.pop(key, None)
        self._left_before, self._left = self._left, set()

    def add(self, path: str, status: os.stat_result) -> None:
        """Note a temporary name."""
        key = (status.st_dev, status.st_ino)
        self._names[path] = key
        self._written_bytes[key] = status.st_size

    def remove(self, path: str) -> None:
        """Note that a temporary name has gone."""
        key = self._names.pop(path, None)
        if key is not None:
            self._left.add(key)

    def became(self, status: os.stat_result) -> bool:
        """Whether the file with this status was under a temporary name before; true once."""
        written_bytes = self._written_bytes.pop((status.st_dev, status.st_ino), None)
        return written_bytes is not None and status.st_size >= written_bytes
