"""A session of which most movies fail is told of once, with the reason, and once more when that is over."""

from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.engine.controls import Controls
from daemon.engine.failing import KIND
from daemon.messages.commands import TaskRetry
from daemon.store import sessions
from daemon.store.changes import PutNotification
from tests.engine.fakes import ALL_DONE
from tests.engine.workshop import Workshop

pytestmark = pytest.mark.anyio

Build = Callable[..., Workshop]


async def told(shop: Workshop) -> list[PutNotification]:
    return [note for note in await sessions.notifications(shop.store) if note.kind == KIND]


async def process_failing(shop: Workshop, *names: str) -> list[Path]:
    paths = [shop.write_movie(name) for name in names]
    for name in names:
        shop.script.fail("divide", name, ValueError(f"the gain of {name} has another size"))
    for path in paths:
        await shop.prove(path)
        await shop.process()
    return paths


async def test_a_session_of_which_every_movie_fails_is_told_of_once(build: Build) -> None:
    shop = build()
    await shop.open_session()
    await process_failing(shop, "a")
    assert await told(shop) == []
    await process_failing(shop, "b")
    (note,) = await told(shop)
    assert (note.severity, note.session_id) == ("warning", shop.session_id)
    assert note.message.startswith("divide failed for all 2 movies of session1 so far; the latest: ")
    assert "the gain of b has another size" in note.message
    await process_failing(shop, "c")
    assert await told(shop) == [note]
    assert (await shop.event_kinds()).count("session.notification") == 1
    # The next daemon does not say it again.
    shop = build()
    await shop.open_session()
    await process_failing(shop, "d")
    assert await told(shop) == [note]


async def test_a_movie_that_fails_among_others_is_no_such_thing(build: Build) -> None:
    shop = build()
    await shop.open_session()
    good = [shop.write_movie(name) for name in ("a", "b", "c")]
    await shop.prove(*good)
    await shop.process()
    await process_failing(shop, "x", "y", "z")
    assert await told(shop) == []
    await process_failing(shop, "w")
    (note,) = await told(shop)
    assert note.message.startswith("divide failed for 4 of 7 movies of session1")


async def test_it_is_said_when_that_is_over(build: Build) -> None:
    shop = build()
    await shop.open_session()
    paths = await process_failing(shop, "a", "b")
    await Controls(shop.engine).handlers()["task.retry"](TaskRetry(session="session1"), "ada")
    await shop.process()
    assert [(await shop.states_of(path))[1] for path in paths] == [ALL_DONE, ALL_DONE]
    (note,) = await told(shop)
    assert (note.severity, note.message) == ("info", "divide succeeds again for most movies of session1.")
