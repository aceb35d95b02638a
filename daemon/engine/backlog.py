"""The order in which complete movies are taken up. Holds ids only: everything else stays in the store."""

import heapq
import itertools
from collections import deque
from typing import Literal

Order = Literal["normal", "oldest", "latest", "alternate"]

_Entry = tuple[float, int, str]
_MOST_STALE = 64


class Backlog:
    """Movies waiting to be visited, and those waiting for their retry time; each movie waits once.

    normal: as they became complete. oldest, latest: by time of last write. alternate: newest and
    oldest in turn, so that a backlog is worked off while the present is seen. Suspects, whose
    earlier attempts died with the process, are taken by themselves, before all others.
    """

    def __init__(self, order: Order = "normal") -> None:
        self._order = order
        self._arrivals = itertools.count()
        self._oldest_first: list[_Entry] = []
        self._newest_first: list[_Entry] = []
        self._waiting: dict[str, int] = {}
        """Arrival of each waiting movie: an entry of a heap that carries another one is stale."""
        self._suspects: deque[str] = deque()
        self._delayed: dict[str, tuple[float, float]] = {}
        """When each delayed movie is due, and its time of last write."""
        self._take_newest = True

    def __len__(self) -> int:
        return len(self._waiting) + len(self._suspects)

    @property
    def delayed(self) -> int:
        """Movies waiting for their retry time."""
        return len(self._delayed)

    def offer(self, movie_id: str, last_write_s: float) -> None:
        """Queue a movie, also one that was delayed; offering one that waits already changes nothing."""
        if movie_id in self._waiting or movie_id in self._suspects:
            return
        self._delayed.pop(movie_id, None)
        arrival = next(self._arrivals)
        key = float(arrival) if self._order == "normal" else last_write_s
        if self._order != "latest":
            heapq.heappush(self._oldest_first, (key, arrival, movie_id))
        if self._order in {"latest", "alternate"}:
            heapq.heappush(self._newest_first, (-key, -arrival, movie_id))
        self._waiting[movie_id] = arrival

    def offer_suspect(self, movie_id: str) -> None:
        """Queue a movie to be visited alone, before all others."""
        self.withdraw(movie_id)
        self._suspects.append(movie_id)

    def delay(self, movie_id: str, last_write_s: float, until_s: float) -> None:
        """Queue a movie for a later time; one that waits already is taken up sooner than that."""
        if movie_id not in self._waiting and movie_id not in self._suspects:
            self._delayed[movie_id] = (until_s, last_write_s)

    def withdraw(self, movie_id: str) -> None:
        """Forget a movie."""
        self._waiting.pop(movie_id, None)
        self._delayed.pop(movie_id, None)
        if movie_id in self._suspects:
            self._suspects.remove(movie_id)

    def next_due_s(self) -> float | None:
        """When the first delayed movie is due."""
        return min((until_s for until_s, _ in self._delayed.values()), default=None)

    def release_due(self, now_s: float) -> int:
        """Move delayed movies whose time has come among the waiting; return how many."""
        due = sorted((until_s, movie_id) for movie_id, (until_s, _) in self._delayed.items() if until_s <= now_s)
        for _, movie_id in due:
            self.offer(movie_id, self._delayed[movie_id][1])
        return len(due)

    def take_suspect(self) -> str | None:
        """Return the next suspect, or None."""
        return self._suspects.popleft() if self._suspects else None

    def take(self) -> str | None:
        """Return the next movie by the configured order, or None."""
        newest = self._order == "latest" or (self._order == "alternate" and self._take_newest)
        heap = self._newest_first if newest else self._oldest_first
        while heap:
            _, arrival, movie_id = heapq.heappop(heap)
            if self._waiting.get(movie_id) == abs(arrival):
                del self._waiting[movie_id]
                self._take_newest = not self._take_newest
                self._drop_stale()
                return movie_id
        return None

    def _drop_stale(self) -> None:
        """Rebuild a heap that mostly holds movies taken from the other one: memory follows the backlog."""
        for heap in (self._oldest_first, self._newest_first):
            if len(heap) > 2 * len(self._waiting) + _MOST_STALE:
                heap[:] = [entry for entry in heap if self._waiting.get(entry[2]) == abs(entry[1])]
                heapq.heapify(heap)
