"""What keeps places from being watched: told when it begins or changes, and once more when it is over."""

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from daemon.watchers.found import PollResult, WatchProblem
from daemon.watchers.paths import sayable

_REFUSED = (errno.EACCES, errno.EPERM)


class Obstacle(NamedTuple):
    """What is wrong with a place, and what to do about it."""

    what: str
    hint: str


UNMOUNTED = Obstacle(
    "is empty, but held movies on another file system: unmounted? Nothing is taken as removed from it",
    "Mount it again; if all was removed on purpose, put any file there.",
)
LEADS_NOWHERE = Obstacle("is a symbolic link that leads nowhere", "Restore what it points to, or remove the link.")
FOLDER_NOT_UTF8 = Obstacle("has a name that is not UTF-8 and is left out: rename it", "Movies in it are not processed.")
LEAVES_ROOTS = Obstacle(
    "is left out: a symbolic link leads outside the allowed roots",
    "Add where it leads to [watch] roots, or name it in a [[session]] entry.",
)


def refusal(what: str, error: OSError) -> Obstacle:
    """Return that something cannot be done, because of this error."""
    if error.errno in _REFUSED:
        hint = "Movies in it are not seen: let the user that runs elcano read and enter it; it then goes on by itself."
    else:
        hint = "Movies in it are not seen: check the mount and the file server; it then goes on by itself."
    return Obstacle(f"{what}: {error.strerror or error}", hint)


def no_answer(for_s: float) -> Obstacle:
    """Return that a file system has been silent for so long."""
    hint = "Check the mount and the file server; watching goes on by itself when it answers."
    return Obstacle(f"has not answered for {for_s:.0f} s: its file system hangs", hint)


class Problems:
    """`troubled`: places that could not be looked at in this poll. `standing`: what stays wrong until it is changed."""

    def __init__(self) -> None:
        self.troubled: dict[str, Obstacle] = {}
        self.standing: dict[str, Obstacle] = {}
        self._told: dict[str, Obstacle] = {}

    def forget_below(self, folder: str) -> None:
        """Drop what was wrong in a directory that is gone."""
        self.standing = {path: what for path, what in self.standing.items() if not path.startswith(f"{folder}/")}

    def tell(self, result: PollResult) -> None:
        """Put what is new and what is over into the result of a poll."""
        result.unseen = {sayable(path): obstacle.what for path, obstacle in _uppermost(self.troubled).items()}
        current = _uppermost(self.standing | self.troubled)
        for path, obstacle in sorted(current.items()):
            if self._told.get(path) != obstacle:
                result.problems.append(WatchProblem(sayable(path), *obstacle))
        result.recovered += [sayable(path) for path in sorted(self._told.keys() - current.keys())]
        self._told = current


def _uppermost(obstacles: Mapping[str, Obstacle]) -> dict[str, Obstacle]:
    """Leave out what follows from the same trouble of a folder above: a closed folder closes hundreds below it."""
    kept: dict[str, Obstacle] = {}
    for path, obstacle in sorted(obstacles.items()):
        above = (kept.get(str(folder)) for folder in Path(path).parents)
        if not any(other is not None and other.hint == obstacle.hint for other in above):
            kept[path] = obstacle
    return kept
