"""One stage ten times slower than the rest: movies wait on disk, not in memory, and none is lost."""

import ctypes
import os
import resource
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from daemon.domain.states import MovieState, TaskState
from daemon.pipeline.context import StageContext
from tests.engine.fakes import FAKES
from tests.engine.workshop import MovieMeter, Workshop, identify

pytestmark = pytest.mark.anyio

MOVIES = 200
SHAPE_TYX = (16, 64, 64)
MOVIE_BYTES = 16 * 64 * 64 * 2
FRAME_BYTES = 64 * 64 * 2


class Brake:
    """Lets a slow stage go on only when a reader stands and waits for memory, at every single run."""

    def __init__(self, shop: Workshop, meter: MovieMeter) -> None:
        self._shop = shop
        self._meter = meter
        self.passed = 0
        self.held_back = 0

    def __call__(self, _: StageContext) -> None:
        pause = threading.Event()
        while not self._is_held_back() and sum(self._meter.reads.values()) < MOVIES:
            pause.wait(0.001)
        self.held_back += self._is_held_back()
        self.passed += 1

    def _is_held_back(self) -> bool:
        return self._shop.engine.budget.statistics().waiting > 0


def resident_bytes() -> int:
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * resource.getpagesize()


_MMAP_THRESHOLD = -3
"""Number of `mallopt`'s parameter: blocks from this size on are given back to the system as soon as they are freed."""


@pytest.fixture
def freed_memory_goes_back() -> Iterator[None]:
    """Otherwise the process keeps freed frames for later, by an amount that depends on every test before this one."""
    mallopt = ctypes.CDLL(None).mallopt
    assert mallopt(_MMAP_THRESHOLD, 2**18)
    yield
    assert mallopt(_MMAP_THRESHOLD, 2**25)


@pytest.mark.parametrize("slow", ["add", pytest.param("divide", marks=pytest.mark.slow)])
async def test_a_slow_stage_holds_back_the_readers(
    build: Callable[..., Workshop], meter: MovieMeter, slow: str
) -> None:
    sum_bytes = 4 * SHAPE_TYX[1] * SHAPE_TYX[2]
    needed_bytes = MOVIE_BYTES + 2 * FRAME_BYTES + sum_bytes  # as the engine counts one movie read by one thread
    budget_bytes = 4 * needed_bytes + needed_bytes // 2
    shop = build(stages=FAKES[:2], byte_budget_bytes=budget_bytes, readers=6)
    await shop.open_session()
    paths = [shop.write_movie(f"m{number:03d}", number, SHAPE_TYX) for number in range(MOVIES)]
    brake = Brake(shop, meter)
    shop.script.acts[slow, ""] = brake
    async with shop.running():
        await shop.intake.seen([identify(path) for path in paths])
        for path in paths:
            await shop.intake.complete(identify(path), None, "whole")
        with anyio.fail_after(120):
            while not shop.scheduler.is_idle:
                await shop.scheduler.wait_for_change(shop.scheduler.changes)

    assert shop.store.count_movies(shop.session_id) == {MovieState.DONE: MOVIES}
    counted = shop.store.count_tasks()
    assert {states.get(TaskState.COMPLETED) for states in counted.values()} == {MOVIES}
    assert meter.reads == {path.name: 1 for path in paths}
    assert brake.passed == MOVIES
    assert brake.held_back >= MOVIES - 8
    assert 3 * MOVIE_BYTES <= meter.peak_bytes <= 1.1 * budget_bytes
    assert meter.alive_bytes == 0
    budget = shop.engine.budget.statistics()
    assert budget.peak_bytes <= budget_bytes
    assert (budget.reserved_bytes, budget.waiting) == (0, 0)


@pytest.mark.slow
@pytest.mark.usefixtures("freed_memory_goes_back")
async def test_the_process_grows_by_the_budget_and_no_more(build: Callable[..., Workshop], meter: MovieMeter) -> None:
    """The operating system as a second witness: movies of 32 MiB, sixteen of them, room for three."""
    shape_tyx = (16, 1024, 1024)
    movie_bytes = 2 * 16 * 1024 * 1024
    budget_bytes = 3 * movie_bytes + movie_bytes // 2
    shop = build(stages=FAKES[:2], byte_budget_bytes=budget_bytes, readers=6)
    await shop.open_session()
    paths = [shop.write_movie(f"m{number:02d}", 1, shape_tyx) for number in range(2)]
    for number in range(2, 16):
        path = shop.frames / f"m{number:02d}.mrc"
        os.link(paths[0], path)
        paths.append(path)
    peak = [0]
    shop.script.acts["add", ""] = lambda _: peak.append(resident_bytes())
    await shop.prove(paths[0])
    await shop.process()
    before_bytes = resident_bytes()
    await shop.prove(*paths[1:])
    await shop.process()
    assert shop.store.count_movies(shop.session_id) == {MovieState.DONE: 16}
    assert max(peak) - before_bytes <= 1.1 * budget_bytes
    assert meter.peak_bytes <= 1.1 * budget_bytes
