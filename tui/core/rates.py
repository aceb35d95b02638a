"""How fast something goes, from counts that are seen now and then, and when it will be over."""

from collections import deque
from collections.abc import Sequence

_WINDOW_S = 600.0
_SHORTEST_S = 10.0
_STEP_S = 1.0
_MINUTE_S = 60.0
_INTERVALS = 3
"""What has brought nothing for so many times the usual interval, and for a minute, has stopped."""


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
        begin_s, begin = self._begin(now_s)
        if now_s - begin_s < _SHORTEST_S:
            return None
        return (self._seen[-1][1] - begin) / (now_s - begin_s)

    def _begin(self, now_s: float) -> tuple[float, int]:
        """When the window begins, and what was counted then: nothing need have been seen at that moment."""
        begin_s, count = self._seen[0]
        for seen_s, seen in self._seen:
            if seen_s > now_s - self._window_s:
                break
            begin_s, count = now_s - self._window_s, seen
        return begin_s, count


def time_left_s(left: int, per_second: float | None) -> float | None:
    """Seconds until so many more are done; None when that cannot be told."""
    if left <= 0:
        return 0.0
    return left / per_second if per_second else None


def pace_by_minute(counts: Sequence[int], told_s: float, now_s: float, *, has_more: bool) -> float | None:
    """How many a second, from counts in the minutes of the clock up to that of `told_s`: the same for everyone.

    None before anything was counted, and where there is no more to do and nothing was counted for much longer than
    there is between two.
    """
    first = int(told_s // _MINUTE_S) - len(counts) + 1
    since = int(now_s // _MINUTE_S) - int(_WINDOW_S // _MINUTE_S)
    lately = [(minute, count) for minute, count in enumerate(counts, first) if count and minute >= since]
    if not lately:
        return 0.0 if has_more and counts else None
    begin_s, quiet_s = _MINUTE_S * lately[0][0], now_s - _MINUTE_S * (lately[-1][0] + 1)
    pace = sum(count for _, count in lately) / max(_MINUTE_S, now_s - begin_s)
    return pace if has_more or quiet_s <= max(_MINUTE_S, _INTERVALS / pace) else None
