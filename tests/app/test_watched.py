"""The sessions that are watched: what their last look at the files did not see."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.app.watched import WatchedSession, WatchedSessions
from daemon.sessions.troubles import PlaceTroubles
from daemon.watchers.directory import DirectoryPoller
from daemon.watchers.discovery import Discoverer
from daemon.watchers.ledger_sink import LedgerSink
from tests.sessions.desk import SUBJECTS, Desk

pytestmark = pytest.mark.anyio


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


async def test_places_that_a_look_did_not_see_are_named_and_a_session_that_nobody_watches(desk: Desk) -> None:
    await desk.open_session()
    watched = WatchedSessions()
    assert watched.unseen(desk.session_id) == ["its raw directory is not watched"]
    sink = LedgerSink("24dec03a", desk.intake)
    discoverer = Discoverer(DirectoryPoller(desk.raw), sink, expected_frames=lambda _: None)
    watched[desk.raw] = WatchedSession(
        desk.imported, desk.intake, discoverer, PlaceTroubles(desk.store, SUBJECTS, lambda: None)
    )
    await discoverer.scan()
    assert watched.unseen(desk.session_id) == []
    desk.raw.rename(Path(f"{desk.raw}-away"))
    looked = watched.look_through(desk.session_id)
    await discoverer.scan()
    assert looked.is_set()
    assert watched.unseen(desk.session_id) == [f"{desk.raw} cannot be watched: No such file or directory"]


async def test_what_a_movie_waits_for_is_told_session_by_session(desk: Desk) -> None:
    await desk.open_session()
    watched = WatchedSessions()
    assert watched.why_waiting(desk.session_id) == {}
    discoverer = Discoverer(DirectoryPoller(desk.raw), LedgerSink("s", desk.intake), expected_frames=lambda _: None)
    watched[desk.raw] = WatchedSession(
        desk.imported, desk.intake, discoverer, PlaceTroubles(desk.store, SUBJECTS, lambda: None)
    )
    (desk.raw / "empty.eer").touch()
    await discoverer.scan()
    assert watched.why_waiting("another") == {}
    (told,) = watched.waiting_movies()
    assert watched.why_waiting(desk.session_id) == {desk.raw / "empty.eer": told["reason"]}
