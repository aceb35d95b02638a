"""Movies that were given up because nobody let us read them: one that can be read by now is judged anew.

A change of permissions changes neither size nor time of a file, by which the poller would see it.
"""

from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from daemon.domain.movie import FileIdentity
from daemon.watchers.found import ChangedFile, FoundFile, PollResult

_MOST_TRIED = 32
"""How many are tried in one poll; the others have their turn in the next."""


def try_to_read(path: Path) -> bool | None:
    """Whether a file lets its first byte be read; None where there is no such file."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return False
    return True


class Unreadable:
    """Waits for movies to become readable. `note` is called by whoever judges, the rest by whoever polls."""

    def __init__(
        self, given_up: Iterable[FileIdentity] = (), *, can_be_read: Callable[[Path], bool | None] = try_to_read
    ) -> None:
        """`given_up`: movies that an earlier daemon could not read."""
        self._waiting = {identity.path: identity for identity in given_up}
        self._can_be_read = can_be_read
        self._judged: deque[tuple[FileIdentity, str]] = deque()

    def note(self, judged: FileIdentity, problem: str) -> None:
        """Take note that a movie was judged; `problem` says why it could not be read, empty where it could."""
        self._judged.append((judged, problem))

    def add_readable(self, result: PollResult, now_s: float) -> PollResult:
        """Add to what a poll found the movies that can be read by now."""
        while self._judged:
            judged, problem = self._judged.popleft()
            self._waiting.pop(judged.path, None)
            # One that opens failed otherwise, as on a bad disk: asking again would not end.
            if problem and self._can_be_read(judged.path) is False:
                self._waiting[judged.path] = judged
        for path in (*(change.now.path for change in result.changed), *(gone.path for gone in result.vanished)):
            self._waiting.pop(path, None)
        for path in list(self._waiting)[:_MOST_TRIED]:
            identity = self._waiting.pop(path)
            readable = self._can_be_read(path)
            if readable is False:
                self._waiting[path] = identity  # behind the others
            elif readable:
                result.changed.append(ChangedFile(identity, FoundFile(identity, now_s)))
        return result
