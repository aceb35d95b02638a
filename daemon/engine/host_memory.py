"""What the C library does with memory that is freed: it is kept for the next movie, and goes back when none comes.

A movie is corrected in planes of a hundred megabytes, which the library otherwise gets from the system one by one and
gives back one by one. Pages that are new cost more than what is done to them, most of all on a virtual machine: a K3
movie takes a quarter more time. Only glibc knows these switches; elsewhere its own ways are left to the library.
"""

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_NEVER = -1
_GROWTH_BYTES = 64 << 20


def keep_freed_memory() -> bool:
    """Have all larger pieces come from one heap that does not shrink by itself; False where that is not to be had."""
    library = _find_glibc()
    if library is None:
        return False
    switches = {_MMAP_MAX: 0, _TRIM_THRESHOLD: _NEVER, _TOP_PAD: _GROWTH_BYTES, _ARENA_MAX: 1}
    taken = [library.mallopt(switch, value) for switch, value in switches.items()]
    return all(taken)


def give_back_freed_memory() -> None:
    """Let the system have all pages that hold nothing."""
    library = _find_glibc()
    if library is not None:
        library.malloc_trim(0)


def _find_glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
