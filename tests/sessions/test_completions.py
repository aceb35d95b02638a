"""Movies that become whole at the same time are committed beside each other; what must be alone still is."""

from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from daemon.domain.states import MovieState
from daemon.store import sessions
from daemon.store.changes import Change, CloseSession, MoveMovie, ReopenSession
from tests.sessions.desk import START_S, Desk

pytestmark = pytest.mark.anyio

Build = Callable[..., Desk]
X, Y = "frames/x.tif", "frames/y.tif"
LIMIT_S = 60.0


class Gate:
    """Stands before a store's commits: each that the test picks waits until it is opened."""

    def __init__(self, desk: Desk, picks: Callable[[Change], bool]) -> None:
        self._commit = desk.store.commit
        self._picks = picks
        self._changed = anyio.Event()
        self._open = anyio.Event()
        self.waiting = 0
        desk.store.commit = self.commit  # type: ignore[method-assign]

    async def commit(self, *changes: Change) -> None:
        if any(map(self._picks, changes)):
            self.waiting += 1
            self._changed.set()
            await self._open.wait()
        await self._commit(*changes)

    async def until(self, waiting: int) -> None:
        """Return when so many wait."""
        with anyio.fail_after(LIMIT_S):
            while self.waiting < waiting:
                self._changed = anyio.Event()
                await self._changed.wait()

    def open(self) -> None:
        self._open.set()


def completes(change: Change) -> bool:
    return isinstance(change, MoveMovie) and change.state is MovieState.COMPLETE


async def test_completions_of_one_session_are_committed_beside_each_other(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file(X), desk.file(Y)])
    gate = Gate(desk, completes)
    async with anyio.create_task_group() as group:
        group.start_soon(desk.intake.complete, desk.file(X), 40, "whole")
        group.start_soon(desk.intake.complete, desk.file(Y), 40, "whole")
        await gate.until(2)
        gate.open()
    assert {movie.state for movie in await desk.movies()} == {MovieState.COMPLETE}
    assert len(desk.offered) == 2
    assert (await desk.event_kinds()).count("session.movie.complete") == 2


@pytest.mark.parametrize("what", ["vanished", "quarantined", "moved"])
async def test_what_ends_or_moves_a_movie_waits_for_completions(build: Build, what: str) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file(X), desk.file(Y)])
    if what == "moved":
        await desk.intake.vanished([desk.file(Y)])
        moved = desk.file("moved/y.tif", 200, START_S + 100)  # still being copied
        await desk.intake.seen([moved])
    gate = Gate(desk, lambda change: isinstance(change, MoveMovie))
    async with anyio.create_task_group() as group:
        group.start_soon(desk.intake.complete, desk.file(X), None, "whole")
        await gate.until(1)
        if what == "vanished":
            group.start_soon(desk.intake.vanished, [desk.file(X)])
        elif what == "quarantined":
            group.start_soon(desk.intake.quarantined, desk.file(X), "cut off")
        else:
            group.start_soon(desk.intake.complete, desk.file("moved/y.tif"), None, "whole")
        with anyio.fail_after(LIMIT_S):
            while not desk.intake.book.in_hand.statistics().locked:
                await anyio.lowlevel.checkpoint()
        assert gate.waiting == 1
        gate.open()
    entry = await desk.newest(X)
    expected = {
        "vanished": MovieState.VANISHED,
        "quarantined": MovieState.QUARANTINED,
        "moved": MovieState.COMPLETE,
    }
    assert entry.state is expected[what]
    known = desk.intake.book.find(desk.file(X).path)
    assert known is not None
    assert known.state is entry.state


async def test_of_several_late_movies_the_first_reopens_the_session(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file(X), desk.file(Y)])
    await desk.store.commit(CloseSession(desk.session_id, "idle"))
    gate = Gate(desk, lambda change: isinstance(change, ReopenSession))
    looked: set[int] = set()
    read = sessions.session

    async def read_and_note(*arguments: Any) -> Any:
        row = await read(*arguments)
        looked.add(anyio.get_current_task().id)
        return row

    monkeypatch.setattr("daemon.sessions.lifecycle.sessions.session", read_and_note)
    async with anyio.create_task_group() as group:
        group.start_soon(desk.intake.complete, desk.file(X), 40, "whole")
        group.start_soon(desk.intake.complete, desk.file(Y), 40, "whole")
        await gate.until(1)
        with anyio.fail_after(LIMIT_S):
            while len(looked) < 2:
                await anyio.lowlevel.checkpoint()
        gate.open()  # both have found it closed, and one of them is at its commit
    kinds = await desk.event_kinds()
    assert (kinds.count("session.reopened"), kinds.count("session.movie.complete")) == (1, 2)
    assert {movie.state for movie in await desk.movies()} == {MovieState.COMPLETE}
