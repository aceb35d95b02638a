"""How fast raw data may be read, all readers together: reading must never slow the camera's writing.

A reader takes its bytes before it reads them and waits until they are paid for. What nobody read in the last moment
may be read at once; a pause longer than that earns nothing more. The account lies in memory that processes can share:
a movie computed in a process of its own is read from the same allowance, also when the limit changes meanwhile.
"""

import fcntl
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SAVED_S = 0.25
_PART_S = 0.1
_SMALLEST_PART_BYTES = 64 * 1024
_STANDING = struct.Struct("dd")


class _Account:
    """The limit, and until when what was taken is paid for: the clock of both is the kernel's, one for all."""

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = os.memfd_create("elcano-pace") if descriptor is None else descriptor
        if descriptor is None:
            os.ftruncate(self.descriptor, _STANDING.size)
        self._memory = mmap.mmap(self.descriptor, _STANDING.size)
        self._lock = threading.Lock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other threads and processes out. The kernel lets go for a process that is killed meanwhile."""
        with self._lock:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self.descriptor, fcntl.LOCK_UN)

    def read(self) -> tuple[float, float]:
        """Return bytes per second, and until when is paid."""
        bytes_per_s, paid_until_s = _STANDING.unpack_from(self._memory)
        return bytes_per_s, paid_until_s

    def write(self, bytes_per_s: float, paid_until_s: float) -> None:
        """Set both; hold it."""
        _STANDING.pack_into(self._memory, 0, bytes_per_s, paid_until_s)


class ReadPace:
    """A limit in bytes per second that any number of threads share; without one nobody waits."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._account = _Account()

    def limit(self, bytes_per_s: float) -> None:
        """Set the limit from now on, for all who share it; 0 is none. Raises ValueError when negative."""
        if bytes_per_s < 0:
            raise ValueError(f"a reading rate cannot be negative, got {bytes_per_s}")
        with self._account.held():
            _, paid_until_s = self._account.read()
            self._account.write(bytes_per_s, min(paid_until_s, self._clock()))

    @property
    def bytes_per_s(self) -> float:
        """The limit; 0 is none."""
        return self._account.read()[0]

    @property
    def descriptor(self) -> int:
        """Number of the open file that another process inherits to `join` this pace."""
        return self._account.descriptor

    def join(self, descriptor: int) -> None:
        """Read from now on at the pace of the process that this descriptor was inherited from, together with it."""
        self._account = _Account(descriptor)

    def part_bytes(self, wanted: int) -> int:
        """Return how much of a read to take at once, so that readers alternate and a small look waits briefly."""
        rate = self.bytes_per_s
        return min(wanted, max(int(rate * _PART_S), _SMALLEST_PART_BYTES)) if rate else wanted

    def take(self, count: int) -> None:
        """Wait until `count` bytes may be read; in the order of asking."""
        if not self.bytes_per_s:
            return
        with self._account.held():
            rate, paid_until_s = self._account.read()
            if not rate:
                return
            now_s = self._clock()
            paid_until_s = max(paid_until_s, now_s - _SAVED_S) + count / rate
            self._account.write(rate, paid_until_s)
        if paid_until_s > now_s:
            self._sleep(paid_until_s - now_s)


READ_PACE = ReadPace()
"""The pace of this process: every file is read at it, whoever reads."""
