"""How fast raw data may be read, all readers together: reading must never slow the camera's writing.

A reader takes its bytes before it reads them and waits until they are paid for. What nobody read in the last moment
may be read at once; a pause longer than that earns nothing more.
"""

import threading
import time
from collections.abc import Callable

_SAVED_S = 0.25
_PART_S = 0.1
_SMALLEST_PART_BYTES = 64 * 1024


class ReadPace:
    """A limit in bytes per second that any number of threads share; without one nobody waits."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._bytes_per_s = 0.0
        self._paid_until_s = 0.0

    def limit(self, bytes_per_s: float) -> None:
        """Set the limit from now on; 0 is none. Raises ValueError when negative."""
        if bytes_per_s < 0:
            raise ValueError(f"a reading rate cannot be negative, got {bytes_per_s}")
        with self._lock:
            self._bytes_per_s = bytes_per_s
            self._paid_until_s = min(self._paid_until_s, self._clock())

    @property
    def bytes_per_s(self) -> float:
        """The limit; 0 is none."""
        return self._bytes_per_s

    def part_bytes(self, wanted: int) -> int:
        """Return how much of a read to take at once, so that readers alternate and a small look waits briefly."""
        rate = self._bytes_per_s
        return min(wanted, max(int(rate * _PART_S), _SMALLEST_PART_BYTES)) if rate else wanted

    def take(self, count: int) -> None:
        """Wait until `count` bytes may be read; in the order of asking."""
        with self._lock:
            rate = self._bytes_per_s
            if not rate:
                return
            now_s = self._clock()
            self._paid_until_s = max(self._paid_until_s, now_s - _SAVED_S) + count / rate
            wait_s = self._paid_until_s - now_s
        if wait_s > 0:
            self._sleep(wait_s)


READ_PACE = ReadPace()
"""The pace of this process: every file is read at it, whoever reads."""
