"""An end for what takes time out of all proportion to its input: CPU time, so that a busy machine changes nothing."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def cpu_limit(limit_s: float = 30.0) -> Iterator[None]:
    """Fail what uses more CPU time than this; the work of a moment, done badly, takes hours."""

    def fail(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"still at it after {limit_s:.0f} s of CPU time")

    before = signal.signal(signal.SIGVTALRM, fail)
    signal.setitimer(signal.ITIMER_VIRTUAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
