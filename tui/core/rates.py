"""How fast something goes, from counts by the minute, and when it will be over."""

from collections.abc import Sequence

_WINDOW_S = 600.0
_MINUTE_S = 60.0
_INTERVALS = 3
"""What has brought nothing for so many times the usual interval, and for a minute, has stopped."""


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
