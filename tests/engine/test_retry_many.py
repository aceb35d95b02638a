"""A session of which much failed is taken up again in sets: what that costs does not grow with each movie."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.domain.states import MovieState, TaskState
from daemon.engine import redoing
from daemon.store import ledger
from daemon.store.changes import Change, MoveMovie, PutBackTasks
from tests.engine.desk import Desk
from tests.engine.fakes import ALL_DONE
from tests.engine.workshop import Workshop, identify

pytestmark = pytest.mark.anyio
OpenDesk = Callable[..., Awaitable[Desk]]

NAMES = ("a", "b", "c", "d", "e")


class Books:
    """Counts what a store is asked, and lets something happen before a commit."""

    def __init__(self, shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads = 0
        self.commits: list[tuple[Change, ...]] = []
        self.before: Callable[[tuple[Change, ...]], Awaitable[None]] | None = None
        read, commit = shop.store.read, shop.store.commit

        async def note_read(query: Callable[[Any], Any]) -> Any:
            self.reads += 1
            return await read(query)

        async def note_commit(*changes: Change) -> None:
            self.commits.append(changes)
            if self.before is not None:
                await self.before(changes)
            await commit(*changes)

        monkeypatch.setattr(shop.store, "read", note_read)
        monkeypatch.setattr(shop.store, "commit", note_commit)


async def fail(desk: Desk, *names: str) -> list[Path]:
    """Process movies of these names whose second stage fails once."""
    for name in names:
        desk.shop.script.fail("divide", name, ValueError("no rings"))
    return await desk.finish(*names)


def puts_back(changes: tuple[Change, ...]) -> bool:
    return any(isinstance(change, PutBackTasks) for change in changes)


async def test_reads_do_not_grow_with_the_movies(open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = await open_desk()
    one = await fail(desk, "one")
    books = Books(desk.shop, monkeypatch)
    await desk.ask("task.retry", session="session1")
    alone = books.reads
    await desk.shop.process()
    many = await fail(desk, *NAMES)
    books.reads = 0
    answer = await desk.ask("task.retry", session="session1", why="better")
    assert books.reads == alone
    assert (answer["tasks"], answer["movies"]) == (len(NAMES), len(NAMES))
    asked = await desk.moves(many[0])
    assert sorted(move[:3] for move in asked) == [
        ("movie", MovieState.FAILED, MovieState.COMPLETE),
        ("task", TaskState.FAILED, TaskState.PENDING),
        ("task", TaskState.SKIPPED, TaskState.PENDING),
    ]
    await desk.shop.process()
    for path in (*one, *many):
        assert await desk.shop.states_of(path) == (MovieState.DONE, ALL_DONE)


async def test_it_is_done_in_parts(open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redoing, "_CHUNK", 2)
    desk = await open_desk()
    paths = await fail(desk, *NAMES)
    books = Books(desk.shop, monkeypatch)
    answer = await desk.ask("task.retry", session="session1")
    assert (answer["tasks"], answer["movies"]) == (5, 5)
    parts = [sum(isinstance(change, MoveMovie) for change in changes) for changes in books.commits if changes]
    assert parts == [2, 2, 1]
    await desk.shop.process()
    for path in paths:
        assert await desk.shop.states_of(path) == (MovieState.DONE, ALL_DONE)


@pytest.mark.parametrize("command", ["task.retry", "stage.reprocess"])
async def test_a_file_written_again_meanwhile_keeps_no_other_from_it(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    desk = await open_desk()
    shop = desk.shop
    paths = await fail(desk, "x", "y")
    before = await shop.movie(paths[0])
    shop.write_movie("x", seed=9, shape_tyx=(4, 8, 10))
    books = Books(shop, monkeypatch)

    async def rewrite(changes: tuple[Change, ...]) -> None:
        if puts_back(changes):
            books.before = None
            await shop.intake.rewritten(before.identity, identify(paths[0]))

    books.before = rewrite
    answer = await desk.ask(command, session="session1", **({} if command == "task.retry" else {"stage": "divide"}))
    if command == "task.retry":
        assert (answer["tasks"], answer["movies"]) == (1, 1)
    superseded = await ledger.movie(shop.store, before.movie_id)
    assert superseded is not None
    assert superseded.state is MovieState.SUPERSEDED
    await shop.process()
    assert await shop.states_of(paths[1]) == (MovieState.DONE, ALL_DONE)
