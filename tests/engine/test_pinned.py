"""Pinned buffers: lent, come back by themselves, used again, freed when movies need the room."""

import gc

import anyio
import numpy as np

from daemon.engine.budget import ByteBudget
from daemon.engine.pinned import PinnedPool
from tests.engine.fake_cuda import FakeCuda

MIB = 1 << 20


def test_a_buffer_comes_back_when_no_view_of_it_is_left_and_serves_again() -> None:
    cuda = FakeCuda()
    pool = PinnedPool(cuda)
    movie_tyx = pool.array((3, 700, 500), np.uint16)
    assert movie_tyx.flags.writeable
    assert movie_tyx.flags.c_contiguous
    movie_tyx[...] = 7
    address = movie_tyx.ctypes.data
    assert cuda.pinned == {address: 4 * MIB}
    view = movie_tyx[1:].reshape(-1)[10:]
    del movie_tyx
    assert pool.statistics().used_bytes == 4 * MIB, "a view holds it"
    other = pool.array((3, 700, 500), np.uint16)
    assert other.ctypes.data != address
    assert int(view[0]) == 7
    del view
    statistics = pool.statistics()
    assert (statistics.kept_bytes, statistics.used_bytes) == (4 * MIB, 4 * MIB)
    again = pool.array((2, 1000, 500), np.float32)
    assert again.ctypes.data == address
    assert pool.statistics().reused == 1
    assert pool.statistics().made == 2


def test_what_is_kept_is_freed_by_whoever_asks_next_the_oldest_first() -> None:
    cuda = FakeCuda()
    pool = PinnedPool(cuda)
    arrays = [pool.array((size * MIB,), np.uint8) for size in (2, 4, 6)]
    last = arrays[2].ctypes.data
    while arrays:
        arrays.pop(0)
    pool.shrink(6 * MIB)
    assert len(cuda.pinned) == 3, "whoever asks does not wait for it"
    pool.free_condemned()
    assert set(cuda.pinned) == {last}
    assert pool.statistics().kept_bytes == 6 * MIB


def test_the_budget_leaves_the_pool_only_what_movies_leave() -> None:
    cuda = FakeCuda()
    pool = PinnedPool(cuda)
    del_me = pool.array((8 * MIB,), np.uint8)
    del del_me
    budget = ByteBudget(20 * MIB)
    budget.share_with(pool)
    pool.free_condemned()
    assert pool.statistics().kept_bytes == 8 * MIB

    async def use() -> None:
        async with budget.reserve(11 * MIB, "a movie"):
            pool.free_condemned()
            assert pool.statistics().kept_bytes == 8 * MIB
            async with budget.reserve(2 * MIB, "another"):
                pool.free_condemned()
                assert pool.statistics().kept_bytes == 0

    anyio.run(use)
    assert cuda.pinned == {}


def test_without_pinned_memory_there_is_pageable_which_is_counted() -> None:
    cuda = FakeCuda(pins=1)
    pool = PinnedPool(cuda)
    first = pool.array((MIB,), np.uint8)
    second = pool.array((5, MIB), np.uint8)
    second[...] = 3
    assert len(cuda.pinned) == 1
    assert dict(pool.statistics().pageable) == {"CUDA does not pin host memory (error 2)": 1}
    del first
    assert pool.statistics().kept_bytes == 2 * MIB
    cuda.pins = 0
    pool.array((9, MIB), np.uint8)
    assert pool.statistics().kept_bytes == 0, "what was kept was freed before giving up"
    assert cuda.pinned == {}


def test_empty_arrays_and_cycles() -> None:
    cuda = FakeCuda()
    pool = PinnedPool(cuda)
    assert pool.array((0, 5), np.uint8).shape == (0, 5)
    assert cuda.pinned == {}
    holder: list[object] = [pool.array((MIB,), np.uint8)]
    holder.append(holder)
    del holder
    gc.collect()
    assert pool.statistics().kept_bytes == 2 * MIB
