"""Which known files to compare with the disk next: restored ones first, fresh ones often, all of them in turn."""

from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice

from daemon.watchers.entries import Directory, FileRecord

CLOSE_WATCH_S = 120.0
CLOSE_WATCH_FILES = 500


class Sweep:
    """Hands out (folder, name) pairs, a few in each poll, so that no poll asks about every file."""

    def __init__(self) -> None:
        self._unverified: deque[tuple[str, str]] = deque()
        self._close: dict[tuple[str, str], float] = {}
        self._turn: Iterator[tuple[str, str]] = iter(())

    @property
    def unverified(self) -> int:
        """Restored files not compared yet."""
        return len(self._unverified)

    def verify_first(self, folder: str, name: str) -> None:
        """Compare this restored file before all others."""
        self._unverified.append((folder, name))

    def watch_closely(self, folder: str, name: str, now_s: float) -> None:
        """Compare this file in every poll for a while: a writer that only paused shows itself soon."""
        self._close.pop((folder, name), None)
        self._close[folder, name] = now_s + CLOSE_WATCH_S
        while len(self._close) > CLOSE_WATCH_FILES:
            del self._close[next(iter(self._close))]

    def due(
        self, directories: Mapping[str, Directory], now_s: float, *, files: int, unverified_files: int
    ) -> Iterator[tuple[str, str]]:
        """Yield the files to compare in this poll; each file of the tree comes once in a full turn."""
        for _ in range(min(unverified_files, len(self._unverified))):
            yield self._unverified.popleft()
        self._close = {key: until_s for key, until_s in self._close.items() if until_s >= now_s}
        yield from list(self._close)
        taken = list(islice(self._turn, files))
        if len(taken) < files:
            self._turn = _all_files(directories)
        yield from taken


def _all_files(directories: Mapping[str, Directory]) -> Iterator[tuple[str, str]]:
    """Walk a tree that changes meanwhile: names are taken as each directory comes up."""
    for path in list(directories):
        directory = directories.get(path)
        if directory is not None:
            for name, entry in list(directory.entries.items()):
                if isinstance(entry, FileRecord):
                    yield path, name
