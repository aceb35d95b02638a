"""An engine whose GPU is a fake: movies lie there while they are computed, and one that fills it goes on alone."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from daemon.domain.states import MovieState
from daemon.engine.gpu import Gpu
from daemon.formats.mrc import read_mrc
from daemon.pipeline.context import StageContext
from tests.engine.fake_cuda import FakeCuda
from tests.engine.workshop import Workshop, movie_pixels

Build = Callable[..., Workshop]

SHAPE_TYX = (3, 8, 10)


async def equip(shop: Workshop) -> tuple[FakeCuda, Gpu]:
    cuda = FakeCuda()
    gpu = Gpu(cuda)
    (await shop.engine.compute.device()).gpu = gpu
    return cuda, gpu


@pytest.mark.anyio
async def test_movies_pass_through_the_card_and_leave_nothing_there(build: Build) -> None:
    shop = build()
    cuda, gpu = await equip(shop)
    await shop.open_session()
    paths = [shop.write_movie(f"m{number}", number, SHAPE_TYX) for number in range(4)]
    await shop.prove(*paths)
    await shop.process()
    for number, path in enumerate(paths):
        assert (await shop.movie(path)).state is MovieState.DONE
        written_yx = read_mrc(shop.session_home / "sums" / f"m{number}_sum.mrc")
        np.testing.assert_array_equal(written_yx, movie_pixels(number, SHAPE_TYX).sum(axis=0, dtype=np.float32))
    assert len(cuda.copies) == 4
    assert gpu.room.movies_bytes == 0
    statistics = gpu.pool.statistics()
    assert statistics.made + statistics.reused == 4
    assert statistics.pageable == {}


@pytest.mark.anyio
async def test_a_stage_that_fills_the_card_is_told_and_tried_alone(build: Build) -> None:
    shop = build()
    cuda, gpu = await equip(shop)
    await shop.open_session()
    path = shop.write_movie("m", 1, SHAPE_TYX)
    await shop.prove(path)
    shop.script.fail("add", "m", torch.OutOfMemoryError("CUDA out of memory"))
    await shop.process()
    assert (await shop.movie(path)).state is MovieState.DONE
    assert shop.script.count("add", "m") == 2
    assert [line for line in shop.witness.lines if "tried once more, alone" in line]
    assert cuda.released == 1, "what was kept for later was given back"
    assert gpu.room.movies_bytes == 0
    tasks = await shop.tasks_of(path)
    assert tasks["add"].attempts == 1, "it is one attempt"


@pytest.mark.anyio
async def test_one_that_fills_it_even_alone_waits_and_is_tried_again(build: Build) -> None:
    shop = build()
    await equip(shop)
    await shop.open_session()
    path = shop.write_movie("m", 1, SHAPE_TYX)
    await shop.prove(path)
    shop.script.fail("add", "m", *(torch.OutOfMemoryError("CUDA out of memory") for _ in range(2)))
    await shop.process()
    assert (await shop.movie(path)).state is MovieState.DONE
    assert shop.script.count("add", "m") == 3
    assert (await shop.tasks_of(path))["add"].attempts == 2


@pytest.mark.anyio
async def test_a_broken_context_ends_the_engine(build: Build) -> None:
    shop = build()
    await equip(shop)
    await shop.open_session()
    path = shop.write_movie("m", 1, SHAPE_TYX)
    await shop.prove(path)

    def break_it(context: StageContext) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    shop.script.acts["add", "m"] = break_it
    with pytest.raises(BaseExceptionGroup) as raised:
        await shop.process()
    assert raised.group_contains(RuntimeError, match="illegal memory access")


@pytest.mark.anyio
async def test_an_error_of_the_card_that_the_reader_meets_is_no_fault_of_the_movie(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = build()
    cuda, _ = await equip(shop)
    await shop.open_session()
    path = shop.write_movie("m", 1, SHAPE_TYX)
    await shop.prove(path)

    def fail(*args: object) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(cuda, "copy", fail)
    with pytest.raises(BaseExceptionGroup) as raised:
        await shop.process()
    assert raised.group_contains(RuntimeError, match="unspecified launch failure")
