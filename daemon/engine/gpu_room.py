"""How much of a GPU's memory movies may take: asked before a stage runs, measured after it has run.

Movies are brought up while others are computed, as long as there is room beside the most that any stage has stated. One
that finds none waits in host memory; one that lies there already gives way to a stage that runs.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from daemon.engine.cuda_calls import CudaCalls

_SLACK = 1.05
"""What a stage states is an estimate: it is said to be exceeded beyond this."""


@dataclass(frozen=True)
class StageMemory:
    """What a stage took of the device beside movies that were there before it, and what it had stated."""

    stage: str
    stated_bytes: int
    peak_bytes: int

    @property
    def is_exceeded(self) -> bool:
        """Whether it took more than it had stated."""
        return self.peak_bytes > _SLACK * self.stated_bytes


class DeviceRoom:
    """Room for movies on one device; safe from any thread."""

    def __init__(self, calls: CudaCalls) -> None:
        self._calls = calls
        self._lock = threading.Lock()
        self._largest_stage_bytes = 0
        self._movies: dict[object, tuple[int, Callable[[], None]]] = {}
        self._others_peak_bytes = 0

    @property
    def movies_bytes(self) -> int:
        """What movies take that were brought up."""
        with self._lock:
            return self._taken()

    def admit(self, movie: object, wanted_bytes: int, give_way: Callable[[], None]) -> bool:
        """Whether a movie may be brought up now; `give_way` is called when it must go again.

        It may not take a lock under which this room is asked.
        """
        with self._lock:
            spare_bytes = self._calls.memory().capacity_bytes - self._largest_stage_bytes - self._taken()
            if spare_bytes < wanted_bytes:
                return False
            self._movies[movie] = wanted_bytes, give_way
            self._others_peak_bytes = max(self._others_peak_bytes, self._taken())
            return True

    def holds(self, movie: object) -> bool:
        """Whether a movie may still be there: it may have been asked to give way while it came up."""
        with self._lock:
            return movie in self._movies

    def resize(self, movie: object, size_bytes: int) -> None:
        """A movie takes less than it did."""
        with self._lock:
            if movie in self._movies:
                self._movies[movie] = size_bytes, self._movies[movie][1]

    def release(self, movie: object) -> None:
        """A movie is gone, or was never there."""
        with self._lock:
            self._movies.pop(movie, None)

    def make_room(self, needed_bytes: int, *, but: object) -> int:
        """Let other movies give way where `needed_bytes` beside the movie `but` need that; return what there is then.

        What `but` itself takes is not in it.
        """
        with self._lock:
            self._largest_stage_bytes = max(self._largest_stage_bytes, needed_bytes)
            own_bytes = self._movies[but][0] if but in self._movies else 0
            is_tight = self._calls.memory().capacity_bytes - self._taken() < needed_bytes
        if is_tight:
            self.clear(but=but)
        return self._calls.memory().capacity_bytes - own_bytes

    def clear(self, *, but: object) -> None:
        """Let all movies but one give way, and keep nothing for later."""
        with self._lock:
            others = [(movie, give_way) for movie, (_, give_way) in self._movies.items() if movie is not but]
            for movie, _ in others:
                del self._movies[movie]
        for _, give_way in others:
            give_way()
        self._calls.release_unused()

    def begin(self) -> int:
        """A stage begins; returns what is taken now."""
        with self._lock:
            self._others_peak_bytes = self._taken()
            return self._calls.begin_peak()

    def end(self, stage: str, stated_bytes: int, before_bytes: int, movies_before_bytes: int) -> StageMemory:
        """A stage has ended. Movies that came up meanwhile are not its own."""
        with self._lock:
            came_bytes = max(0, self._others_peak_bytes - movies_before_bytes)
        return StageMemory(stage, stated_bytes, max(0, self._calls.peak_bytes() - before_bytes - came_bytes))

    def _taken(self) -> int:
        return sum(size_bytes for size_bytes, _ in self._movies.values())
