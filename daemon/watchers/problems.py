"""What keeps places from being watched: told when it begins or changes, and once more when it is over."""

from daemon.watchers.found import PollResult, WatchProblem
from daemon.watchers.paths import sayable


class Problems:
    """`troubled`: places that could not be looked at in this poll. `standing`: what stays wrong until it is changed."""

    def __init__(self) -> None:
        self.troubled: dict[str, str] = {}
        self.standing: dict[str, str] = {}
        self._told: dict[str, str] = {}

    def forget_below(self, folder: str) -> None:
        """Drop what was wrong in a directory that is gone."""
        self.standing = {path: what for path, what in self.standing.items() if not path.startswith(f"{folder}/")}

    def tell(self, result: PollResult) -> None:
        """Put what is new and what is over into the result of a poll."""
        current = self.standing | self.troubled
        result.unseen = {sayable(path): what for path, what in sorted(self.troubled.items())}
        for path, what in sorted(current.items()):
            if self._told.get(path) != what:
                result.problems.append(WatchProblem(sayable(path), what))
        result.recovered += [sayable(path) for path in sorted(self._told.keys() - current.keys())]
        self._told = current
