"""How fast something goes, from counts that are seen now and then, and when it will be over."""

from collections import deque

_WINDOW_S = 600.0
_SHORTEST_S = 10.0
_STEP_S = 1.0


class Rate:
    """Counts over the last minutes; a count that falls (tasks were put back) begins anew."""

    def __init__(self, window_s: float = _WINDOW_S) -> None:
        self._window_s = window_s
        self._seen: deque[tuple[float, int]] = deque()

    def put(self, at_s: float, count: int) -> None:
        """Take a count."""
        if self._seen and count < self._seen[-1][1]:
            self._seen.clear()
        if len(self._seen) > 1 and at_s - self._seen[-2][0] < _STEP_S:
            self._seen.pop()
        self._seen.append((at_s, count))
        while len(self._seen) > 2 and at_s - self._seen[1][0] > self._window_s:
            self._seen.popleft()

    def per_second(self, now_s: float) -> float | None:
        """Mean over the window up to now; None while too little was seen to tell."""
        if not self._seen:
            return None
        first_s, first = self._seen[0]
        if now_s - first_s < _SHORTEST_S:
            return None
        return (self._seen[-1][1] - first) / (now_s - first_s)


def time_left_s(left: int, per_second: float | None) -> float | None:
    """Seconds until so many more are done; None when that cannot be told."""
    if left <= 0:
        return 0.0
    return left / per_second if per_second else None
