"""Room for images and movies, in pages as the system hands them out.

numpy asks for huge pages for every larger array. On a virtual machine those are often the ones that went back to the
host as soon as they were free: a movie of 0.94 GB then takes 2 s of processor time to be written for the first time,
and 0.3 s in pages as they come. Where the system is set to give huge pages to all, it does so here as well.
"""

import math
import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

_WORTH_IT_BYTES = 4 << 20
"""From here on numpy asks for huge pages."""


def allocate(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an array of anything, C-contiguous. Raises MemoryError."""
    kind = np.dtype(dtype)
    size_bytes = math.prod(shape) * kind.itemsize
    if size_bytes < _WORTH_IT_BYTES:
        return np.empty(shape, kind)
    try:
        pages = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError) as error:
        raise MemoryError(f"there is no room for {size_bytes} bytes") from error
    return np.frombuffer(pages, kind).reshape(shape)
