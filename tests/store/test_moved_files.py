"""A session whose raw directory was moved: all that is kept of its paths follows, and nothing of other sessions."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.domain.acquisition import Acquisition, GainReference
from daemon.domain.movie import FileIdentity
from daemon.domain.session import ImageRecord, Session
from daemon.domain.states import MovieState
from daemon.store import ledger, sessions
from daemon.store.changes import MoveFiles, MoveMovie, PutDecision, PutImages, PutSession, SeeMovie
from daemon.store.moved_files import owners_of, whole_files
from daemon.store.store import Store
from tests.store.records import put_session, see_movie

pytestmark = pytest.mark.anyio

OLD, NEW = Path('/raw/gr"id1'), Path("/elsewhere/ö s1")


def session_at(place: Path, *former: Path) -> Session:
    gain = GainReference(place / "gains" / "g.mrc")
    return Session("s1", "grid1", place, Path("/home/grid1"), Acquisition(gain=gain), former_directories=former)


def see(movie_id: str, path: Path, state: MovieState, *, session_id: str = "s1", time_ns: int = 17) -> SeeMovie:
    seen = see_movie(movie_id, session_id=session_id, state=state)
    return replace(seen, entry=replace(seen.entry, identity=FileIdentity(path, 1000, time_ns)))


async def test_movies_gains_and_decisions_follow_their_session_and_nothing_else_does(store: Store) -> None:
    no_text = os.fsdecode(b"fr\xff.mrc")
    elsewhere = Path('/raw/gr"id10/x.mrc')
    before, now = session_at(OLD), session_at(NEW, OLD)
    image = ImageRecord("i1", "s1", "x", None, None, before.acquisition)
    foreign = replace(image, image_id="i2", session_id="s2")
    await store.commit(
        PutSession(before, {"stages": ["fft"]}),
        put_session("s2", "grid2"),
        PutImages((image, foreign)),
        see("m1", OLD / "frames" / "x.mrc", MovieState.COMPLETE),
        see("m2", OLD / no_text, MovieState.IGNORED),
        see("m3", elsewhere, MovieState.COMPLETE),
        see("m4", OLD / "frames" / "x.mrc", MovieState.COMPLETE, session_id="s2"),
        PutDecision("s1", "looks", [{"gain": str(OLD / "gains" / "g.mrc"), "said": f"in {OLD}/gains"}]),
    )
    await store.commit(PutSession(now, {"stages": ["fft"]}), MoveFiles(before, now))
    paths = {movie.movie_id: movie.identity.path for movie in await ledger.movies(store, "s1")}
    assert paths == {"m1": NEW / "frames" / "x.mrc", "m2": NEW / no_text, "m3": elsewhere}
    assert [movie.identity.path for movie in await ledger.movies(store, "s2")] == [OLD / "frames" / "x.mrc"]
    assert [one.acquisition for one in await sessions.images(store, "s1")] == [now.acquisition]
    assert await sessions.images(store, "s2") == [foreign]
    looks = [{"gain": str(NEW / "gains" / "g.mrc"), "said": f"in {OLD}/gains"}]
    assert await sessions.decisions(store, "s1") == {"looks": looks}
    row = await sessions.session(store, "s1")
    assert row is not None
    assert (row.session, row.facts) == (now, {"stages": ["fft"]})
    # What the writer had at hand knows the new place as well.
    await store.commit(MoveMovie("m1", MovieState.DONE))
    done = await ledger.movie(store, "m1")
    assert done is not None
    assert (done.identity.path, done.state) == (NEW / "frames" / "x.mrc", MovieState.DONE)


async def test_whole_movies_are_found_by_size_and_time_in_whatever_session(store: Store) -> None:
    await store.commit(
        put_session(),
        put_session("s2", "grid2"),
        see("m1", OLD / "a.mrc", MovieState.DONE, time_ns=1),
        see("m2", OLD / "b.mrc", MovieState.SETTLING, time_ns=2),
        see("m3", OLD / "c.mrc", MovieState.FAILED, time_ns=1, session_id="s2"),
        see("m4", OLD / "d.mrc", MovieState.SUPERSEDED, time_ns=1),
    )
    wanted = [FileIdentity(NEW / "x.mrc", 1000, 1), FileIdentity(NEW / "y.mrc", 1000, 2)]
    assert await owners_of(store, wanted) == {
        "s1": [FileIdentity(OLD / "a.mrc", 1000, 1)],
        "s2": [FileIdentity(OLD / "c.mrc", 1000, 1)],
    }
    assert await owners_of(store, [FileIdentity(NEW / "x.mrc", 999, 1)]) == {}
    assert await whole_files(store, "s1") == [FileIdentity(OLD / "a.mrc", 1000, 1)]
