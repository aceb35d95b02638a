"""How the C library keeps what is freed while movies come, and gives it back when none do.

Every step of a movie takes and leaves stacks, planes and smaller pieces, on threads that come and go. Left to itself,
glibc gets the large ones from the system and returns them one by one, and has a heap for each thread for the others:
pages that are new cost more than what is done to them, most of all on a virtual machine. So all of them come from one
heap, which keeps a reserve. Movies do not, see `formats.allocation`: readers take them on other threads, and before
2.38 glibc does not find the hole again that an aligned piece has left to another thread. Only glibc knows these
switches; elsewhere the library's own ways are left to it.
"""

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_RESERVE_BYTES = 1 << 30


def share_one_heap() -> None:
    """Have the threads of this process share one heap; best called before there are many."""
    library = _find_glibc()
    if library is None:
        return
    for switch, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _RESERVE_BYTES), (_ARENA_MAX, 1)):
        library.mallopt(switch, value)


def give_back_freed_memory() -> None:
    """Let the system have all pages of the heap that hold nothing."""
    library = _find_glibc()
    if library is not None:
        library.malloc_trim(0)


def _find_glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
