"""How long the parts of the work take of their own: measured where they run, so that no waiting is counted.

Times of attempts will not do for that: they hold the waiting for a turn, of which every step has more when one is slow.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

READING, WRITING = "reading", "writing"

LATELY_S = 300.0
_KEPT = 5000
_FEWEST = 3
"""Of fewer, those before them count too."""


@dataclass(frozen=True)
class PartPace:
    """One part of the work lately: runs ended, seconds they and what runs now took, seconds of a run before that."""

    name: str
    count: int
    busy_s: float
    mean_s: float | None
    usual_s: float | None


class Pace:
    """Takes the times of all parts, from any thread."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._ended: dict[str, deque[tuple[float, float]]] = {}
        """By part: when runs ended, and what they took."""
        self._running: dict[int, tuple[str, float]] = {}
        self._number = 0
        self._total_s: dict[str, float] = {}
        self._began_s = clock_s()

    @contextmanager
    def working(self, part: str) -> Iterator[None]:
        """Count the time of the block."""
        began_s = self._clock_s()
        with self._lock:
            self._number += 1
            number = self._number
            self._running[number] = (part, began_s)
        try:
            yield
        finally:
            ended_s = self._clock_s()
            with self._lock:
                del self._running[number]
                self._total_s[part] = self._total_s.get(part, 0.0) + ended_s - began_s
                self._ended.setdefault(part, deque(maxlen=_KEPT)).append((ended_s, ended_s - began_s))

    def parts(self) -> list[PartPace]:
        """Return every part that ever ran."""
        now_s = self._clock_s()
        with self._lock:
            names = list(dict.fromkeys([*self._ended, *(part for part, _ in self._running.values())]))
            return [self._measure(name, now_s) for name in names]

    def total_s(self, *, leave_out: Collection[str] = ()) -> float:
        """Return the seconds that all parts took since the beginning, up to now."""
        now_s = self._clock_s()
        with self._lock:
            ended_s = sum(took_s for part, took_s in self._total_s.items() if part not in leave_out)
            return ended_s + sum(now_s - at_s for part, at_s in self._running.values() if part not in leave_out)

    def window_s(self) -> float:
        """How much time `parts` looks back on."""
        return max(1e-6, min(LATELY_S, self._clock_s() - self._began_s))

    def _measure(self, name: str, now_s: float) -> PartPace:
        ended = self._ended.get(name, deque())
        since_s = now_s - LATELY_S
        late = [(at_s, took_s) for at_s, took_s in ended if at_s >= since_s]
        busy_s = sum(min(took_s, at_s - since_s) for at_s, took_s in late)
        busy_s += sum(now_s - max(began_s, since_s) for part, began_s in self._running.values() if part == name)
        judged = late if len(late) >= _FEWEST else list(ended)[-_FEWEST:]
        before = list(ended)[: len(ended) - len(judged)]
        return PartPace(name, len(late), busy_s, _mean(judged), _mean(before) if len(before) >= _FEWEST else None)


def _mean(runs: list[tuple[float, float]]) -> float | None:
    return sum(took_s for _, took_s in runs) / len(runs) if runs else None
