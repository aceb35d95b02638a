"""Room for images and movies, in pages as the system hands them out.

numpy asks for huge pages for every larger array. On a virtual machine those are often the ones that went back to the
host as soon as they were free: a movie of 0.94 GB then takes 2 s of processor time to be written for the first time,
and 0.3 s in pages as they come. Where the system is set to give huge pages to all, it does so here as well. The room
is the C library's: what one movie leaves serves the next, where the library has been told to keep it.
"""

import ctypes
import math
from typing import Any

import numpy as np
import numpy.typing as npt

_WORTH_IT_BYTES = 4 << 20
"""From here on numpy asks for huge pages."""
_ALIGNED_BYTES = 64

_LIBRARY = ctypes.CDLL(None)
_LIBRARY.aligned_alloc.restype = ctypes.c_void_p
_LIBRARY.aligned_alloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
_LIBRARY.free.restype = None
_LIBRARY.free.argtypes = [ctypes.c_void_p]


def allocate(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an array of anything, C-contiguous. Raises MemoryError."""
    kind = np.dtype(dtype)
    size_bytes = math.prod(shape) * kind.itemsize
    if size_bytes < _WORTH_IT_BYTES:
        return np.empty(shape, kind)
    return np.asarray(_Room(size_bytes)).view(kind).reshape(shape)


class _Room:
    """Bytes of the C library's heap, which go back to it with the last array that shows them."""

    def __init__(self, size_bytes: int) -> None:
        address = None
        if size_bytes < 1 << 62:  # more is no size that the library is asked for
            address = _LIBRARY.aligned_alloc(_ALIGNED_BYTES, math.ceil(size_bytes / _ALIGNED_BYTES) * _ALIGNED_BYTES)
        if address is None:
            raise MemoryError(f"there is no room for {size_bytes} bytes")
        self._address: int = address
        self._free = _LIBRARY.free  # at the interpreter's end modules may be gone before this is
        self.__array_interface__ = {"version": 3, "shape": (size_bytes,), "typestr": "|u1", "data": (address, False)}

    def __del__(self) -> None:
        if (address := getattr(self, "_address", None)) is not None:
            self._free(address)
