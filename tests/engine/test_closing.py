"""A session ends in order: a last full look, then all work, then closed; what comes late opens it again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from daemon.domain.states import MovieState, SessionState
from daemon.engine.controls import Controls
from daemon.messages import commands
from daemon.sessions.closing import CLOSING, SessionCloser, Unfinished
from daemon.store import outbox, sessions
from daemon.store.unfinished import Backlog, backlog, has_new_movie
from daemon.watchers.directory import DirectoryPoller
from daemon.watchers.discovery import Discoverer
from daemon.watchers.ledger_sink import LedgerSink
from daemon.watchers.settle import SettleRule
from tests.engine.fakes import ALL_DONE
from tests.engine.workshop import Workshop, identify

pytestmark = pytest.mark.anyio

Build = Callable[..., Workshop]


@pytest.fixture
async def shop(build: Build) -> Workshop:
    shop = build()
    await shop.open_session()
    return shop


@pytest.fixture
def closer(shop: Workshop) -> SessionCloser:
    return Controls(shop.engine).closer


async def state_of(shop: Workshop) -> SessionState:
    row = await sessions.session(shop.store, shop.session_id)
    assert row is not None
    return row.session.state


async def told(shop: Workshop) -> list[dict[str, Any]]:
    """Every event about the session's end, in order: its type, and what it says."""
    rows = await outbox.unpublished(shop.store, 1000)
    events = [msgspec.json.decode(row.body) for row in rows]
    kinds = ("session.closed", "session.reopened", "session.notification")
    return [event for event in events if event["type"].removeprefix("magellon.") in kinds]


async def close(shop: Workshop, **more: Any) -> dict[str, Any]:
    """As `elcano close` asks for it."""
    return await Controls(shop.engine).close_session(commands.SessionClose(session=shop.session_id, **more), "ada")


async def test_pending_work_is_done_before_a_session_is_closed_and_named_meanwhile(
    shop: Workshop, closer: SessionCloser
) -> None:
    await shop.prove(shop.write_movie("x"), shop.write_movie("y"))
    answer = await close(shop, reason="grid unloaded")
    assert not answer["closed"]
    count = len(ALL_DONE) * 2
    assert answer["unfinished"].startswith(f"{count} step(s) of 2 movie(s) have not ended (")
    assert await state_of(shop) is SessionState.OPEN
    await closer.go_on()
    assert await state_of(shop) is SessionState.OPEN
    (waits,) = await told(shop)
    assert "will be closed (grid unloaded)" in waits["data"]["message"], "it is said once"
    await shop.process()
    await closer.go_on()
    assert await state_of(shop) is SessionState.CLOSED
    closed = (await told(shop))[-1]
    assert (closed["data"]["reason"], closed["data"]["asked_by"]) == ("grid unloaded", "ada")
    kinds = await shop.event_kinds()
    assert max(n for n, kind in enumerate(kinds) if kind.startswith("completed ")) < kinds.index("session.closed")


async def test_the_last_look_finds_what_nobody_told_of_and_comes_first(shop: Workshop, closer: SessionCloser) -> None:
    poller = DirectoryPoller(shop.raw)
    now_s = 0.0
    discoverer = Discoverer(
        poller,
        LedgerSink("session1", shop.intake),
        expected_frames=lambda _: 3,
        rule=SettleRule(min_quiet_s=1.0),
        clock=lambda: now_s,
    )
    await discoverer.scan()
    asked = anyio.Event()

    def look(session_id: str) -> anyio.Event:
        assert session_id == shop.session_id
        asked.set()
        return discoverer.look_through()

    closer.look = look
    row = await sessions.session(shop.store, shop.session_id)
    assert row is not None
    last = shop.write_movie("last")
    async with anyio.create_task_group() as group:

        async def ask() -> None:
            left = await closer.begin(row.session, "done")
            assert left.describe() == "1 file(s) are not whole: last.mrc"

        group.start_soon(ask)
        await asked.wait()
        assert await state_of(shop) is SessionState.OPEN, "nothing is closed before the look has ended"
        await discoverer.scan()
    async with anyio.create_task_group() as group:
        while not discoverer.is_settled:
            now_s += 1.0
            discoverer.start_looks(group)
            await anyio.lowlevel.checkpoint()
    await closer.go_on()
    assert await state_of(shop) is SessionState.OPEN, "it is whole, and not processed yet"
    await shop.process()
    await closer.go_on()
    assert await state_of(shop) is SessionState.CLOSED
    assert await shop.states_of(last) == (MovieState.DONE, ALL_DONE)


async def test_a_look_that_hangs_keeps_the_asker_only_so_long_and_the_session_open(
    shop: Workshop, closer: SessionCloser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.sessions.closing._PATIENCE_S", 0.01)
    looked = anyio.Event()
    closer.look = lambda _: looked
    row = await sessions.session(shop.store, shop.session_id)
    assert row is not None
    left = await closer.begin(row.session, "done")
    assert left.describe() == "the last look at its files has not ended"
    await closer.go_on()
    assert await state_of(shop) is SessionState.OPEN
    looked.set()
    await closer.go_on()
    assert await state_of(shop) is SessionState.CLOSED


async def test_a_late_file_opens_it_again_and_is_told(shop: Workshop, closer: SessionCloser) -> None:
    assert (await close(shop))["closed"]
    late = shop.write_movie("late")
    await shop.prove(late)
    assert await state_of(shop) is SessionState.OPEN
    assert [event["type"] for event in await told(shop)] == ["magellon.session.closed", "magellon.session.reopened"]
    await shop.process()
    await closer.go_on()
    assert await state_of(shop) is SessionState.OPEN, "it was closed once, for what was there then"
    assert await shop.states_of(late) == (MovieState.DONE, ALL_DONE)


async def test_a_file_that_never_becomes_whole_is_named_and_holds_the_end_up_for_an_hour(
    shop: Workshop, closer: SessionCloser
) -> None:
    grows = shop.write_movie("grows")
    await shop.intake.seen([identify(grows)])
    assert (await close(shop))["unfinished"] == "1 file(s) are not whole: grows.mrc"
    shop.clock.now_s += 3599
    await closer.go_on()
    assert await state_of(shop) is SessionState.OPEN
    shop.clock.now_s += 2
    await closer.go_on()
    assert await state_of(shop) is SessionState.CLOSED
    closed = (await told(shop))[-1]
    assert closed["data"]["reason"] == "closed by command; 1 file(s) are not whole: grows.mrc"
    await shop.intake.complete(identify(grows), 3, "whole after all")
    assert await state_of(shop) is SessionState.OPEN, "there is work again"
    assert (await told(shop))[-1]["data"]["reason"] == "a movie became whole"


async def test_a_file_that_comes_takes_back_an_end_for_idleness_but_not_one_that_was_asked_for(
    shop: Workshop, closer: SessionCloser
) -> None:
    row = await sessions.session(shop.store, shop.session_id)
    assert row is not None
    for is_idle, state in ((True, SessionState.OPEN), (False, SessionState.CLOSED)):
        await shop.prove(shop.write_movie(f"old{is_idle}"))
        await closer.begin(row.session, "why", is_idle=is_idle)
        shop.clock.now_s += 1
        await shop.prove(shop.write_movie(f"new{is_idle}"))
        await shop.process()
        await closer.go_on()
        assert await state_of(shop) is state
        assert not await closer.is_asked(shop.session_id)


async def test_the_next_daemon_goes_on_with_an_end(build: Build) -> None:
    first = build()
    await first.open_session()
    path = first.write_movie("x")
    await first.prove(path)
    assert not (await close(first, reason="over"))["closed"]
    second = build()
    await second.open_session()
    closer = Controls(second.engine).closer
    assert await closer.is_asked(second.session_id)
    movie = await second.movie(path)
    second.scheduler.offer(movie.movie_id, movie.last_write_s)
    await second.process()
    await closer.go_on()
    assert await state_of(second) is SessionState.CLOSED
    assert (await told(second))[-1]["data"]["reason"] == "over"


async def test_a_file_entered_at_the_moment_of_the_end_opens_it_again(
    shop: Workshop, closer: SessionCloser, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shop.write_movie("x")
    commit, is_entered = shop.store.commit, False

    async def enter_just_before(*changes: Any) -> None:
        nonlocal is_entered
        if not is_entered and any(type(change).__name__ == "CloseSession" for change in changes):
            is_entered = True
            await shop.intake.seen([identify(path)])
        await commit(*changes)

    monkeypatch.setattr(shop.store, "commit", enter_just_before)
    await close(shop)
    assert is_entered
    assert await state_of(shop) is SessionState.OPEN
    assert (await told(shop))[-1]["data"]["reason"] == "a file came as it was closed"
    assert (await sessions.decisions(shop.store, shop.session_id))[CLOSING] is None


async def test_who_asks_again_puts_the_end_off_no_further_and_takes_no_reason_away(
    shop: Workshop, closer: SessionCloser
) -> None:
    row = await sessions.session(shop.store, shop.session_id)
    assert row is not None
    await shop.intake.seen([identify(shop.write_movie("grows"))])
    shop.clock.now_s += 1
    await closer.begin(row.session, "no new file", is_idle=True)
    asked = [("the marker says so", ""), ("grid unloaded", "ada"), ("closed by command", "bob"), ("again", "")]
    for reason, asked_by in asked:
        assert await state_of(shop) is SessionState.OPEN
        shop.clock.now_s += 1000
        await closer.begin(row.session, reason, asked_by=asked_by)
    assert await state_of(shop) is SessionState.CLOSED, "an hour after it was first asked for"
    closed = (await told(shop))[-1]
    reason = "grid unloaded; 1 file(s) are not whole: grows.mrc"
    assert (closed["data"]["reason"], closed["data"]["asked_by"]) == (reason, "ada")


async def test_an_end_for_idleness_that_someone_asks_for_is_taken_back_no_more(
    shop: Workshop, closer: SessionCloser
) -> None:
    row = await sessions.session(shop.store, shop.session_id)
    assert row is not None
    await shop.prove(shop.write_movie("old"))
    await closer.begin(row.session, "no new file", is_idle=True)
    await closer.begin(row.session, "the marker says so")
    await closer.begin(row.session, "no new file", is_idle=True)
    shop.clock.now_s += 1
    await shop.prove(shop.write_movie("new"))
    await shop.process()
    await closer.go_on()
    assert await state_of(shop) is SessionState.CLOSED
    assert (await told(shop))[-1]["data"]["reason"] == "the marker says so"


async def test_a_look_that_saw_nothing_is_not_the_last(shop: Workshop, closer: SessionCloser) -> None:
    discoverer = Discoverer(DirectoryPoller(shop.raw), LedgerSink("session1", shop.intake), expected_frames=lambda _: 3)
    await discoverer.scan()
    asked, looks = anyio.Event(), list[anyio.Event]()

    def look(_: str) -> anyio.Event:
        asked.set()
        looks.append(discoverer.look_through())
        return looks[-1]

    closer.look = look
    closer.unseen = lambda _: [f"{path} {what}" for path, what in discoverer.unseen.items()]
    row = await sessions.session(shop.store, shop.session_id)
    assert row is not None
    away = shop.raw.rename(shop.raw.with_name("away"))
    async with anyio.create_task_group() as group:
        group.start_soon(closer.begin, row.session, "done")
        await asked.wait()
        await discoverer.scan()
    assert await state_of(shop) is SessionState.OPEN
    why = f"the last look at its files did not see all: {shop.raw} cannot be watched: No such file or directory"
    assert why in (await told(shop))[-1]["data"]["message"]
    assert [looked.is_set() for looked in looks] == [True, False], "every folder is to be listed anew"
    away.rename(shop.raw)
    late = shop.write_movie("late")
    await closer.go_on()
    assert await state_of(shop) is SessionState.OPEN, "it is there again, and not looked at yet"
    await discoverer.scan()
    await closer.go_on()
    assert [movie.path for movie in discoverer.waiting()] == [late]
    assert await state_of(shop) is SessionState.OPEN, "a file came to light"


async def test_what_cannot_be_looked_at_for_an_hour_is_named_in_the_reason(
    shop: Workshop, closer: SessionCloser
) -> None:
    row = await sessions.session(shop.store, shop.session_id)
    assert row is not None
    closer.unseen = lambda _: ["/raw cannot be watched: Stale file handle"]
    left = await closer.begin(row.session, "closed by command")
    assert left.unseen == ("/raw cannot be watched: Stale file handle",)
    assert await state_of(shop) is SessionState.OPEN
    shop.clock.now_s += 3601
    await closer.go_on()
    assert await state_of(shop) is SessionState.CLOSED
    reason = "closed by command; the last look at its files did not see all: /raw cannot be watched: Stale file handle"
    assert (await told(shop))[-1]["data"]["reason"] == reason


def test_the_names_of_many_files_are_cut(tmp_path: Path) -> None:
    paths = tuple(tmp_path / f"m{n}.tif" for n in range(6))
    said = Unfinished(True, Backlog(7, paths, {}, 0, 0)).describe()
    assert said == "7 file(s) are not whole: m0.tif, m1.tif, m2.tif, m3.tif, m4.tif and 2 more"


async def test_what_is_owed_is_counted_and_only_its_first_names_are_read(shop: Workshop) -> None:
    await shop.prove(*(shop.write_movie(name) for name in "xy"))
    await shop.intake.seen([identify(shop.write_movie(f"g{n}")) for n in range(8)])
    owed = await backlog(shop.store, shop.session_id)
    assert (owed.movies, [path.stem for path in owed.first_movies]) == (8, [f"g{n}" for n in range(6)])
    assert (owed.tasks, owed.task_movies) == (dict.fromkeys(ALL_DONE, 2), 2)
    assert not await has_new_movie(shop.store, shop.session_id, owed.newest_move)
    await shop.intake.seen([identify(shop.write_movie("late"))])
    assert await has_new_movie(shop.store, shop.session_id, owed.newest_move)


class _Died(Exception):
    """Stands for a daemon that is killed."""


@pytest.mark.parametrize("comes", [True, False])
async def test_a_daemon_killed_between_the_end_and_the_look_after_it_leaves_no_movie_in_a_closed_session(
    build: Build, monkeypatch: pytest.MonkeyPatch, *, comes: bool
) -> None:
    first = build()
    await first.open_session()
    path = first.write_movie("x")
    commit = first.store.commit

    async def die_once_it_is_closed(*changes: Any) -> None:
        is_the_end = any(type(change).__name__ == "CloseSession" for change in changes)
        if is_the_end and comes:
            await first.intake.seen([identify(path)])
        await commit(*changes)
        if is_the_end:
            raise _Died

    monkeypatch.setattr(first.store, "commit", die_once_it_is_closed)
    with pytest.raises(_Died):
        await close(first)
    assert await state_of(first) is SessionState.CLOSED
    second = build()
    await second.open_session()
    closer = Controls(second.engine).closer
    await closer.go_on()
    assert await state_of(second) is (SessionState.OPEN if comes else SessionState.CLOSED)
    assert not await closer.is_asked(second.session_id)
    await closer.go_on()
    assert len(await told(second)) == (2 if comes else 1), "the end, and where something came the reopening"
