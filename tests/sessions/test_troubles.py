"""Places that cannot be watched: told once, shown while it lasts, told once more when it is over."""

from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.domain.states import SessionState
from daemon.messages.events import SessionRef
from daemon.sessions.lifecycle import closing
from daemon.sessions.telling import queue
from daemon.sessions.troubles import PlaceTrouble, PlaceTroubles
from daemon.store import sessions
from tests.sessions.desk import START_S, SUBJECTS, Desk

pytestmark = pytest.mark.anyio
Build = Callable[..., Desk]
REFUSED = "cannot be watched: Permission denied"
HINT = "Let elcano read it."


def places_of(desk: Desk) -> PlaceTroubles:
    """The account that the daemon of this desk keeps."""
    ref = SessionRef(desk.session_id, "24dec03a")
    return PlaceTroubles(desk.store, SUBJECTS, lambda: None, ref, raw_directory=desk.raw, clock_s=lambda: desk.now_s)


async def told(desk: Desk) -> list[tuple[str, str]]:
    """Severity and message of every notification that was sent."""
    found = [event["data"] for event in await desk.events() if event["type"] == "magellon.session.notification"]
    return [(data["severity"], data["message"]) for data in found]


async def test_a_trouble_lasts_until_it_is_mended_and_is_told_once_each(build: Build) -> None:
    desk = build()
    await desk.open_session()
    places, closed = places_of(desk), desk.frames / "square"
    await places.begin([(closed, REFUSED, HINT)])
    desk.now_s += 60
    await places.begin([(closed, REFUSED, HINT)])
    assert places.lasting() == [PlaceTrouble(closed, REFUSED, HINT, START_S)]
    assert await told(desk) == [("warning", f"{closed} {REFUSED}. {HINT}")]
    await places.end([closed, desk.frames / "never"])
    await places.end([closed])
    assert places.lasting() == []
    assert (await told(desk))[1:] == [("info", f"{closed} is watched again.")]
    (kept,) = await sessions.notifications(desk.store, desk.session_id)
    assert (kept.severity, kept.kind) == ("info", "not_watched")
    await places.begin([(closed, REFUSED, HINT)])
    assert len(await told(desk)) == 3, "what comes back is told again"


async def test_the_next_daemon_goes_on_with_it(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await places_of(desk).begin([(desk.frames, REFUSED, HINT)])
    desk.now_s += 3600
    after = places_of(desk)
    assert after.lasting() == []
    await after.begin([(desk.frames, REFUSED, HINT)])
    assert [trouble.since_s for trouble in after.lasting()] == [START_S]
    assert len(await told(desk)) == 1
    await after.begin([(desk.frames, "cannot be watched: Stale file handle", "Mount it.")])
    assert [trouble.since_s for trouble in after.lasting()] == [desk.now_s], "another trouble of the same place"
    assert len(await told(desk)) == 2


async def test_many_places_at_once_are_one_event(build: Build) -> None:
    desk = build()
    await desk.open_session()
    places = places_of(desk)
    squares = [desk.frames / f"square{n:02d}" for n in range(40)]
    await places.begin([(square, REFUSED, HINT) for square in squares])
    assert [trouble.path for trouble in places.lasting()] == squares
    assert await told(desk) == [("warning", f"{squares[0]} {REFUSED}. Likewise 39 more. {HINT}")]
    await places.end(squares)
    assert len(await told(desk)) == 2


async def test_a_closed_session_may_lose_its_raw_directory(build: Build) -> None:
    desk = build()
    await desk.open_session()
    places = places_of(desk)
    change, event = closing(SUBJECTS, desk.imported.book.session, reason="idle", at_s=desk.now_s)
    await desk.store.commit(change, queue(SUBJECTS, event))
    row = await sessions.session(desk.store, desk.session_id)
    assert row is not None
    assert row.session.state is SessionState.CLOSED
    await places.begin([(desk.raw, "cannot be watched: No such file or directory", HINT)])
    assert places.lasting() == []
    await places.begin([(desk.frames, REFUSED, HINT)])
    assert [trouble.path for trouble in places.lasting()] == [desk.frames]


async def test_roots_are_told_without_a_session(build: Build, tmp_path: Path) -> None:
    desk = build()
    await desk.open_session()
    roots = PlaceTroubles(desk.store, SUBJECTS, lambda: None, clock_s=lambda: desk.now_s)
    await roots.begin([(tmp_path, REFUSED, HINT)])
    (kept,) = await sessions.notifications(desk.store)
    assert (kept.session_id, kept.message, kept.hint) == (None, f"{tmp_path} {REFUSED}.", HINT)
    assert await told(desk) == []
