"""Which candidate is looked at when."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from daemon.domain.movie import FileIdentity
from daemon.formats.detached import DetachedCall
from daemon.watchers.found import FoundFile
from daemon.watchers.settle import History, Observation, remember


@dataclass(eq=False)
class Candidate:
    """A movie that is not judged yet. `late`: a look that has not returned in time."""

    path: Path
    renamed_into_place: bool
    history: History
    met_at_s: float
    reason: str = "just seen"
    late: DetachedCall[Observation | None] | None = None

    @property
    def identity(self) -> FileIdentity:
        """The file as it was last looked at."""
        return FileIdentity(self.path, self.history.last.size_bytes, self.history.last.mtime_ns)


class Agenda:
    """All candidates, by path and by the time of their next look."""

    def __init__(self) -> None:
        self._candidates: dict[Path, Candidate] = {}
        self._heap: list[tuple[float, int, Candidate]] = []
        self._asked = 0

    def __contains__(self, path: Path) -> bool:
        return path in self._candidates

    def __len__(self) -> int:
        return len(self._candidates)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(list(self._candidates.values()))

    def add(self, found: FoundFile, due_s: float) -> None:
        """Take a file in as a new candidate, in place of an older one of the same path."""
        first = Observation(found.seen_at_s, found.identity.size_bytes, found.identity.mtime_ns)
        candidate = Candidate(found.path, found.renamed_into_place, remember(None, first), found.seen_at_s)
        self._candidates[found.path] = candidate
        self.schedule(candidate, due_s)

    def remove(self, path: Path) -> None:
        """Strike a candidate out, if there is one of this path."""
        self._candidates.pop(path, None)

    def holds(self, candidate: Candidate) -> bool:
        """Whether this very candidate still waits: its file may have vanished or come anew meanwhile."""
        return self._candidates.get(candidate.path) is candidate

    def schedule(self, candidate: Candidate, due_s: float) -> None:
        """Set the time of a candidate's next look, once for each look."""
        self._asked += 1  # equal times are served in the order of asking
        heapq.heappush(self._heap, (due_s, self._asked, candidate))

    def take_due(self, now_s: float) -> Candidate | None:
        """Return the candidate that has waited longest for its look, or None when none is due."""
        while self._heap and self._heap[0][0] <= now_s:
            candidate = heapq.heappop(self._heap)[2]
            if self.holds(candidate):
                return candidate
        return None

    def seconds_to_next(self, now_s: float) -> float:
        """How long until a look is due; infinite when there is nothing to look at."""
        return max(self._heap[0][0] - now_s, 0.0) if self._heap else float("inf")
