"""How kernels are compiled: without the interpreter's lock, kept on disk, with the same bytes on every call.

Only the contraction of a product and a sum into one operation is left to the compiler: it reorders nothing, so that a
result depends on neither threads nor calls.

Kernels take what they need of numba from here: two threads that import two of its modules at once may each find half of
them (its imports go round in circles), while a second thread waits for this module until it is whole.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.numpy_support import carray

__all__ = ["carray", "cgutils", "compiled", "compiled_sums", "intrinsic", "ir", "types"]

F = TypeVar("F", bound=Callable[..., Any])


def compiled(kernel: F) -> F:
    """Compile a function of arrays and numbers when it is first called with arguments of these types."""
    made = numba.njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy", boundscheck=False)(kernel)
    return cast("F", made)


def compiled_sums(kernel: F) -> F:
    """The same for sums along a row, which may be made in several lanes: in the same order on every call."""
    made = numba.njit(
        nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz"}, error_model="numpy", boundscheck=False
    )(kernel)
    return cast("F", made)
