"""Pinned host memory, made once and used again: pinning a movie's gigabyte costs more than copying it.

A buffer goes back by itself when nobody holds an array in it any more, and is kept for the next movie of its size. What
is kept and lent to nobody counts against the byte budget, which has it freed when movies need the room.
"""

import mmap
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

_PAGE_BYTES = 2 << 20
"""Sizes are rounded up to this."""


class Pinning(Protocol):
    """Pins pages of the host."""

    def pin(self, address: int, size_bytes: int) -> None:
        """Pin pages. Raises RuntimeError where the system does not give that."""
        ...

    def unpin(self, address: int) -> None:
        """Let go of them."""
        ...


@dataclass(frozen=True)
class PinnedStatistics:
    """What the pool holds: kept for later, and in use; how often a buffer was used again; what was not pinned, why."""

    kept_bytes: int
    used_bytes: int
    made: int
    reused: int
    pageable: Mapping[str, int]


class _Buffer:
    """Anonymous pages, pinned."""

    def __init__(self, size_bytes: int, pinning: Pinning) -> None:
        self.size_bytes = size_bytes
        self._pages = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.bytes: npt.NDArray[np.uint8] = np.frombuffer(self._pages, np.uint8)
        pinning.pin(self.address, size_bytes)

    @property
    def address(self) -> int:
        return int(self.bytes.ctypes.data)


class _Loan:
    """Base of every array in a lent buffer: numpy keeps it alive as long as any view of one."""

    def __init__(self, buffer: _Buffer, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._buffer = buffer
        self.__array_interface__ = {
            "shape": shape,
            "typestr": dtype.str,
            "data": (buffer.address, False),
            "version": 3,
        }


class PinnedPool:
    """Lends arrays in pinned memory, or in pageable memory where there is none, which is counted."""

    def __init__(self, pinning: Pinning, on_pageable: Callable[[str], None] = lambda _: None) -> None:
        """`on_pageable` is told a reason for which memory is not pinned, when it comes up first."""
        self._pinning = pinning
        self._on_pageable = on_pageable
        self._lock = threading.Lock()
        self._returned: deque[_Buffer] = deque()
        """Filled by finalizers, which may run anywhere, also within the lock: so they do no more than this."""
        self._kept: list[_Buffer] = []
        self._condemned: list[_Buffer] = []
        self._used_bytes = self._made = self._reused = 0
        self._pageable: Counter[str] = Counter()

    def array(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return an array to be filled; what it holds is left over from its last user."""
        kind = np.dtype(dtype)
        needed_bytes = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        if needed_bytes == 0:
            return np.empty(shape, kind)
        size_bytes = -(-needed_bytes // _PAGE_BYTES) * _PAGE_BYTES
        buffer = self._take_kept(size_bytes)
        if buffer is None:
            try:
                buffer = self._make(size_bytes)
            except (RuntimeError, OSError) as error:
                self._tell_pageable(str(error))
                return np.empty(shape, kind)
        loan = _Loan(buffer, shape, kind)
        weakref.finalize(loan, self._returned.append, buffer).atexit = False
        return np.asarray(loan)

    def shrink(self, most_kept_bytes: int) -> None:
        """Keep no more than this for later, the last used longest; the memory is freed by `free_condemned`.

        So that nobody waits here: to unpin takes time.
        """
        with self._lock:
            self._collect()
            kept_bytes = sum(buffer.size_bytes for buffer in self._kept)
            while self._kept and kept_bytes > most_kept_bytes:
                buffer = self._kept.pop(0)
                kept_bytes -= buffer.size_bytes
                self._condemned.append(buffer)

    def free_condemned(self) -> None:
        """Give memory back to the system that is not to be kept."""
        with self._lock:
            condemned, self._condemned = self._condemned, []
        for buffer in condemned:
            self._pinning.unpin(buffer.address)

    def statistics(self) -> PinnedStatistics:
        """Return what is held."""
        with self._lock:
            self._collect()
            kept_bytes = sum(buffer.size_bytes for buffer in (*self._kept, *self._condemned))
            pageable = MappingProxyType(dict(self._pageable))
            return PinnedStatistics(kept_bytes, self._used_bytes, self._made, self._reused, pageable)

    def _take_kept(self, size_bytes: int) -> _Buffer | None:
        with self._lock:
            self._collect()
            for buffer in reversed(self._kept):
                if buffer.size_bytes == size_bytes:
                    self._kept.remove(buffer)
                    self._used_bytes += size_bytes
                    self._reused += 1
                    return buffer
        return None

    def _make(self, size_bytes: int) -> _Buffer:
        self.free_condemned()
        try:
            buffer = _Buffer(size_bytes, self._pinning)
        except (RuntimeError, OSError):
            self.shrink(0)
            self.free_condemned()
            buffer = _Buffer(size_bytes, self._pinning)
        with self._lock:
            self._made += 1
            self._used_bytes += size_bytes
        return buffer

    def _collect(self) -> None:
        while self._returned:
            buffer = self._returned.popleft()
            self._used_bytes -= buffer.size_bytes
            self._kept.append(buffer)

    def _tell_pageable(self, reason: str) -> None:
        with self._lock:
            self._pageable[reason] += 1
            is_new = self._pageable[reason] == 1
        if is_new:
            self._on_pageable(reason)
