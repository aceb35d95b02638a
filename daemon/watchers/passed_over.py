"""Which folders under the watched roots hold movies but no session.json: nobody would process them, so they are named.

Only names are read, at most two levels down and a few hundred in each folder: a camera's folders hold ten thousands.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from daemon.domain.movie import MOVIE_SUFFIXES
from daemon.watchers.problems import Obstacle, refusal
from daemon.watchers.selection import MovieSelection, NameClass

_SUFFIXES = tuple(MOVIE_SUFFIXES)
_NAMES_PER_FOLDER = 400
_FOLDERS_PER_SESSION = 16
_NEAR_NAMES = ("Session.json", "SESSION.JSON", "Session.JSON", "session.JSON", "session.json.txt", "sessions.json")
_MISNAMED = Obstacle(
    "is not taken for a session.json: its name is another", "Rename it to session.json: it is then taken up by itself."
)
_LOOKS_AGAIN_PER_POLL = 1
"""Folders without movies that each poll looks into once more, in turn: it runs for ever, also on an idle machine."""


class PassedOver:
    """Keeps account of the folders that have no session.json, and of those among them that hold movies."""

    def __init__(self, roots: Iterable[Path], pattern: str | None = None) -> None:
        """Of `roots` only the movies that lie in them directly count; `pattern` says which names are movies."""
        self._roots = frozenset(roots)
        self._selection = MovieSelection(None if pattern == "*" else pattern)
        self._last: set[Path] = set()
        self._with_movies: set[Path] = set()
        self._turn: deque[Path] = deque()
        self._waiting: set[Path] = set()
        self._newest = Path()
        self._obstacles: dict[Path, dict[Path, Obstacle]] = {}
        """What cannot be read, or has nearly the right name, by the folder that was looked into."""

    @property
    def obstacles(self) -> dict[Path, Obstacle]:
        """What keeps folders from being sessions: they cannot be read, or their session.json is misnamed."""
        return {path: obstacle for below in self._obstacles.values() for path, obstacle in below.items()}

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every folder that holds movies and no session.json, as of the last poll."""
        return tuple(sorted(self._with_movies))

    def update(self, bare: Iterable[Path]) -> list[Path]:
        """Take the folders that stand without a session.json now; return those newly found to hold movies.

        A folder counts from the second time on: its session.json may be about to come.
        """
        now = set(bare)
        standing, self._last = now & self._last, now
        self._with_movies &= standing
        self._obstacles = {folder: below for folder, below in self._obstacles.items() if folder in standing}
        fresh = sorted(standing - self._waiting - self._with_movies)
        self._turn = deque(path for path in self._turn if path in standing)
        again = [self._turn.popleft() for _ in range(min(_LOOKS_AGAIN_PER_POLL, len(self._turn)))]
        if self._newest in self._turn:  # where movies are most likely to come next
            self._turn.remove(self._newest)
            again.append(self._newest)
        self._newest = fresh[-1] if fresh else self._newest
        found = []
        for folder in (*fresh, *again):
            if self._holds_movies(folder):
                self._with_movies.add(folder)
                found.append(folder)
            else:
                self._turn.append(folder)
        self._waiting = set(self._turn)
        return found

    def _holds_movies(self, folder: Path) -> bool:
        """Whether a movie's name stands in the folder or one below; what cannot be read is among the `obstacles`."""
        below: list[str] = []
        self._obstacles.pop(folder, None)
        for name in _NEAR_NAMES:
            if os.path.lexists(folder / name):
                self._obstacles.setdefault(folder, {})[folder / name] = _MISNAMED
        for entry in self._entries(folder, folder):
            if self._selection.excludes(entry.name):
                continue
            if _is_folder(entry):
                below.append(entry.name)
            elif self._is_movie(entry.name, entry.name):
                return True
        for name in () if folder in self._roots else below[:_FOLDERS_PER_SESSION]:
            for entry in self._entries(folder / name, folder):
                if self._is_movie(entry.name, f"{name}/{entry.name}") and not _is_folder(entry):
                    return True
        return False

    def _entries(self, place: Path, folder: Path) -> Iterator[os.DirEntry[str]]:
        """List what stands in `place`, which is `folder` or lies in it."""
        try:
            with os.scandir(place) as entries:
                yield from islice(entries, _NAMES_PER_FOLDER)
        except (FileNotFoundError, NotADirectoryError):
            return  # it went just now
        except OSError as error:
            self._obstacles.setdefault(folder, {})[place] = refusal("cannot be looked at", error)

    def _is_movie(self, name: str, inside: str) -> bool:
        """Whether a file with this name, at this path inside the session, would be a movie of it."""
        return name.lower().endswith(_SUFFIXES) and self._selection.classify(inside) is NameClass.MOVIE


def outside_sessions(folders: Mapping[Path, Path], sessions: Sequence[Path]) -> list[Path]:
    """Return the folders that are neither a session's raw directory nor lie in one nor hold one.

    `folders` gives the real path of each, `sessions` are real paths: nothing is looked at here.
    """
    return [
        folder
        for folder, real in folders.items()
        if not any(real.is_relative_to(path) or path.is_relative_to(real) for path in sessions)
    ]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """The listing itself tells; a link to a folder is left alone here."""
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return True
