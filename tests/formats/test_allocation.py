"""Room for images."""

import numpy as np
import pytest

from daemon.formats.allocation import allocate


@pytest.mark.parametrize("shape", [(3, 5), (0, 7), (3, 1000, 1001)])
@pytest.mark.parametrize("dtype", ["uint8", "float32", ">i2"])
def test_room_is_what_was_asked_for_and_can_be_written(shape: tuple[int, ...], dtype: str) -> None:
    array = allocate(shape, dtype)
    assert array.shape == shape
    assert array.dtype == np.dtype(dtype)
    assert array.flags.c_contiguous
    array.fill(7)
    other = allocate(shape, dtype)
    other.fill(1)
    assert (array == 7).all()


def test_more_than_there_can_be_is_refused() -> None:
    with pytest.raises(MemoryError, match="no room"):
        allocate((1 << 31, 1 << 31), "uint8")
