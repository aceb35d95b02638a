"""One alone or many together, first come, first served, and nobody who gives up leaves the door closed."""

import anyio
import anyio.lowlevel
import pytest

from daemon.sessions.sharing import SharedLock

pytestmark = pytest.mark.anyio


class Visitors:
    """Tasks that hold a lock until they are let go; `inside` names those who have it, `order` who got it when."""

    def __init__(self) -> None:
        self.lock = SharedLock()
        self.inside: set[str] = set()
        self.order: list[str] = []
        self._leave: dict[str, anyio.Event] = {}

    async def visit(self, name: str) -> None:
        self._leave[name] = anyio.Event()
        async with self.lock.shared() if name.islower() else self.lock:
            self.inside.add(name)
            self.order.append(name)
            await self._leave[name].wait()
            self.inside.discard(name)

    def let_go(self, name: str) -> None:
        self._leave[name].set()


async def settle() -> None:
    """Let every task go on as far as it can."""
    await anyio.wait_all_tasks_blocked()


async def test_those_who_share_hold_it_together_and_who_is_alone_waits_for_all_of_them() -> None:
    visitors = Visitors()
    async with anyio.create_task_group() as group:
        for name in ("a", "b", "X", "c"):
            group.start_soon(visitors.visit, name)
            await settle()
        assert visitors.inside == {"a", "b"}, "c came after X and does not overtake it"
        visitors.let_go("a")
        await settle()
        assert visitors.inside == {"b"}
        visitors.let_go("b")
        await settle()
        assert visitors.inside == {"X"}
        visitors.let_go("X")
        await settle()
        assert visitors.inside == {"c"}
        visitors.let_go("c")
    assert visitors.order == ["a", "b", "X", "c"]


async def test_two_who_want_to_be_alone_take_turns() -> None:
    visitors = Visitors()
    async with anyio.create_task_group() as group:
        for name in ("X", "Y"):
            group.start_soon(visitors.visit, name)
            await settle()
        assert visitors.inside == {"X"}
        visitors.let_go("X")
        await settle()
        assert visitors.inside == {"Y"}
        visitors.let_go("Y")


@pytest.mark.parametrize("waiter", ["X", "c"])
async def test_who_gives_up_waiting_lets_the_others_in(waiter: str) -> None:
    visitors = Visitors()
    async with anyio.create_task_group() as group:
        group.start_soon(visitors.visit, "a" if waiter == "X" else "Y")
        await settle()
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(visitors.visit, waiter)
            await settle()
            waiting.cancel_scope.cancel()
        visitors.let_go("a" if waiter == "X" else "Y")
        group.start_soon(visitors.visit, "d")
        group.start_soon(visitors.visit, "Z")
        await settle()
        assert visitors.inside == {"d"}
        visitors.let_go("d")
        await settle()
        assert visitors.inside == {"Z"}
        visitors.let_go("Z")


async def test_an_error_inside_frees_it() -> None:
    lock = SharedLock()
    with pytest.raises(ValueError, match="shared"):
        async with lock.shared():
            raise ValueError("shared")
    with pytest.raises(ValueError, match="alone"):
        async with lock:
            raise ValueError("alone")
    with anyio.fail_after(60):
        async with lock:
            await anyio.lowlevel.checkpoint()
        async with lock.shared():
            await anyio.lowlevel.checkpoint()
