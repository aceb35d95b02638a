"""Notices work that is in hand and goes nowhere, for hours longer than any step may take, with nothing told of it."""

import time
from collections.abc import Callable

_LIMIT_S = 6 * 3600.0
"""Every wait has a shorter limit of its own; past this, one of them has failed."""


class Pulse:
    """Whether work still moves; it is looked at again and again."""

    def __init__(
        self, look: Callable[[], object], *, limit_s: float = _LIMIT_S, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        """`look` returns how far the work is, as a value that changes while it moves; None when it need not move."""
        self._look = look
        self._limit_s = limit_s
        self._clock_s = clock_s
        self._seen: object = None
        self._since_s = clock_s()

    @property
    def has_stopped(self) -> bool:
        """Whether what there is to do has stood still for longer than the limit."""
        seen = self._look()
        if seen is None or seen != self._seen:
            self._seen, self._since_s = seen, self._clock_s()
            return False
        return self._clock_s() - self._since_s > self._limit_s
