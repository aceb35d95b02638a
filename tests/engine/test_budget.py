"""The byte budget: first come first served, nothing lost, nothing admitted beyond the total."""

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.engine.budget import ByteBudget
from daemon.errors import OutOfMemory

pytestmark = pytest.mark.anyio


async def test_a_large_movie_is_not_overtaken() -> None:
    budget = ByteBudget(100)
    admitted: list[str] = []
    gates = {name: anyio.Event() for name in ("first", "large", "small")}

    async def take(name: str, wanted_bytes: int) -> None:
        async with budget.reserve(wanted_bytes, name):
            admitted.append(name)
            await gates[name].wait()

    async with anyio.create_task_group() as group:
        for name, wanted_bytes in (("first", 60), ("large", 90), ("small", 10)):
            group.start_soon(take, name, wanted_bytes)
            await anyio.wait_all_tasks_blocked()
        assert admitted == ["first"]  # 40 bytes are free, but small came after large
        assert budget.statistics().waiting == 2
        gates["first"].set()
        await anyio.wait_all_tasks_blocked()
        assert admitted == ["first", "large", "small"]
        for gate in gates.values():
            gate.set()
    now = budget.statistics()
    assert (now.reserved_bytes, now.waiting, now.peak_bytes) == (0, 0, 100)


async def test_the_impossible_is_refused_at_once() -> None:
    budget = ByteBudget(2**30)
    with pytest.raises(OutOfMemory, match=r"movie x needs 1\.5 GiB, 1\.0 GiB are allowed"):
        async with budget.reserve(3 * 2**29, "movie x"):
            pytest.fail("admitted")
    with pytest.raises(ValueError, match="positive"):
        ByteBudget(0)


async def test_who_gives_up_waiting_lets_the_next_one_in() -> None:
    budget = ByteBudget(100)
    admitted = anyio.Event()

    async def take_little() -> None:
        async with budget.reserve(30, "little"):
            admitted.set()

    async with anyio.create_task_group() as group, budget.reserve(60, "first"):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as inner:

                async def take_much() -> None:
                    async with budget.reserve(90, "much"):
                        pytest.fail("admitted")

                inner.start_soon(take_much)
                await anyio.wait_all_tasks_blocked()
                group.start_soon(take_little)
                await anyio.wait_all_tasks_blocked()
                assert not admitted.is_set()
                scope.cancel()
        with anyio.fail_after(60):
            await admitted.wait()
    assert budget.statistics().reserved_bytes == 0


async def test_who_is_cancelled_in_the_moment_of_admission_gives_it_back() -> None:
    budget = ByteBudget(100)
    scope = anyio.CancelScope()

    async def wait_in_line() -> None:
        with scope:
            async with budget.reserve(80, "late"):
                await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        async with budget.reserve(50, "first"):
            group.start_soon(wait_in_line)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()  # it has not run since, and the end of this block admits it
        assert budget.statistics().waiting == 0
    assert budget.statistics().reserved_bytes == 0
    async with budget.reserve(100, "all of it"):
        assert budget.statistics().reserved_bytes == 100


async def test_an_error_inside_gives_back() -> None:
    budget = ByteBudget(10)
    with pytest.raises(RuntimeError):
        async with budget.reserve(10, "x"):
            raise RuntimeError
    assert budget.statistics().reserved_bytes == 0


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 3)), max_size=25))
def test_all_are_served_in_order_and_never_too_much(wishes: list[tuple[int, int]]) -> None:
    served: list[int] = []

    async def run() -> int:
        budget = ByteBudget(100)

        async def take(number: int, wanted_bytes: int, steps: int) -> None:
            async with budget.reserve(wanted_bytes, str(number)):
                served.append(number)
                assert budget.statistics().reserved_bytes <= 100
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            for number, (wanted_bytes, steps) in enumerate(wishes):
                group.start_soon(take, number, wanted_bytes, steps)
        return budget.statistics().reserved_bytes

    assert anyio.run(run) == 0
    assert served == list(range(len(wishes)))
