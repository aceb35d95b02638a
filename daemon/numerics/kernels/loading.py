"""Eight bytes of an array as one number: a compiler would load them one by one."""

import sys
from collections.abc import Callable
from typing import Any

from daemon.numerics.kernels.compiling import intrinsic, ir, types


def _load(order: str) -> Callable[..., Any]:
    """Write out the number that the eight bytes from `at` on make, the most significant first or last of them."""

    def load(context: Any, source: Any, at: Any) -> tuple[Any, Any]:
        del context
        return types.uint64(source, at), _spell

    def _spell(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(64).as_pointer())
        word = builder.load(place, align=1)
        return word if sys.byteorder == order else builder.bswap(word)

    return load


load_big_endian: Any = intrinsic(_load("big"))
load_little_endian: Any = intrinsic(_load("little"))
