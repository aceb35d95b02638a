"""How the C library keeps what is freed while movies come, and gives it back when none do.

Every step of a movie takes and leaves pieces of some ten megabytes, on threads that come and go. Left to itself, glibc
has a heap for each thread, and gets and returns such pieces anew: pages that are new cost more than what is done to
them, most of all on a virtual machine. So all threads share one heap, which keeps a reserve. Larger pieces still come
from the system one by one and go back at once: in the heap they would leave holes that the next of their size does not
fit into. Only glibc knows these switches; elsewhere the library's own ways are left to it.
"""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_RESERVE_BYTES = 256 << 20
_LARGE_BYTES = 32 << 20
"""The most that glibc takes for this."""


def share_one_heap() -> None:
    """Have the threads of this process share one heap; best called before there are many."""
    library = _find_glibc()
    if library is None:
        return
    for switch, value in ((_MMAP_THRESHOLD, _LARGE_BYTES), (_TRIM_THRESHOLD, _RESERVE_BYTES), (_ARENA_MAX, 1)):
        library.mallopt(switch, value)


def give_back_freed_memory() -> None:
    """Let the system have all pages of the heap that hold nothing."""
    library = _find_glibc()
    if library is not None:
        library.malloc_trim(0)


def _find_glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
