"""Looks at a gain that are slow, fail, or end the daemon: no movie is held up, and none is looked at for ever."""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from daemon.domain.acquisition import Acquisition, GainReference
from daemon.messages.events import SessionRef
from daemon.sessions.found_orientation import FoundOrientation
from daemon.sessions.gain_looks import GAIN_LOOKS, MOST_UNENDED
from daemon.sessions.gain_orientation import GainOrientation
from daemon.sessions.telling import Teller
from daemon.store import sessions
from daemon.store.changes import PutDecision
from tests.numerics.gain_cases import turn
from tests.sessions.desk import SUBJECTS, Desk
from tests.sessions.gain_desk import CAMERA, ENOUGH, asking, notes, take, told, write_gain, write_movie

pytestmark = pytest.mark.anyio
Build = Callable[..., Desk]

LIMIT_S = 60.0


class Calls:
    """Stands for a function: counts its calls, does something first, then what it does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, first: Callable[[], None] = lambda: None) -> None:
        module, attribute = name.rsplit(".", 1)
        self._function = getattr(__import__(module, fromlist=[attribute]), attribute)
        self._first = first
        self.count = 0
        monkeypatch.setattr(name, self)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self.count += 1
        self._first()
        return self._function(*arguments, **named)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """How often a movie was decoded."""
    return Calls(monkeypatch, "daemon.sessions.gain_evidence.iterate_frames")


async def marks(desk: Desk) -> Any:
    return (await sessions.decisions(desk.store, desk.session_id)).get(GAIN_LOOKS)


async def test_a_look_that_was_the_end_of_the_daemon_is_not_begun_again(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = build()
    write_gain(desk, turn(CAMERA.gain_yx, "mirrored"))
    await desk.open_session(acquisition=asking(orientation="auto"))
    movie = write_movie(desk, "a.mrc", ENOUGH)
    begun, release = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        release.wait()

    with monkeypatch.context() as patched:
        Calls(patched, "daemon.sessions.gain_looks.weigh", hang)
        async with anyio.create_task_group() as group:
            group.start_soon(take, desk, movie)
            await anyio.to_thread.run_sync(begun.wait, LIMIT_S)
            kept = await marks(desk)
            assert [Path(mark["movie"]).name for mark in kept] == ["a.mrc"], "it is kept before the movie is decoded"
            group.cancel_scope.cancel()
        release.set()
    assert await marks(desk) == [], "a stop in order leaves nothing"
    # As a daemon leaves it that was killed there.
    await desk.store.commit(PutDecision(desk.session_id, GAIN_LOOKS, kept))

    desk = build()
    await desk.open_session(acquisition=asking(orientation="auto"))
    decoded = Calls(monkeypatch, "daemon.sessions.gain_evidence.iterate_frames")
    assert (await take(desk, movie)).flip == "none"
    assert (decoded.count, len(desk.offered)) == (0, 1)
    assert (await take(desk, write_movie(desk, "b.mrc", ENOUGH))).flip == "x"
    assert decoded.count == 1
    assert await marks(desk) == kept


async def test_a_gain_whose_looks_were_the_end_of_the_daemon_is_given_up(build: Build, decoded: Calls) -> None:
    desk = build()
    path = write_gain(desk, turn(CAMERA.gain_yx, "mirrored"))
    await desk.open_session(acquisition=asking(orientation="auto"))
    await take(desk, write_movie(desk, "0.mrc", 0.05))
    sha256 = gain_sha256(path)
    kept = [{"movie": f"{number}.mrc", "gain": str(path), "sha256": sha256} for number in range(MOST_UNENDED)]
    await desk.store.commit(PutDecision(desk.session_id, GAIN_LOOKS, kept))
    decoded.count = 0
    desk = build()
    await desk.open_session(acquisition=asking(orientation="auto"))
    for name in ("c.mrc", "d.mrc"):
        assert (await take(desk, write_movie(desk, name, ENOUGH))).flip == "none"
    (note,) = await told(desk)
    assert "is not looked for any more: 2 looks began and did not end." in note.message
    assert (decoded.count, len(desk.offered)) == (0, 2)
    write_gain(desk, turn(CAMERA.gain_yx, "upside down"))
    assert (await take(desk, write_movie(desk, "e.mrc", ENOUGH))).flip == "y", "another gain is another matter"


def gain_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("orientation", ["auto", "as_is"])
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("a codec's own")])
async def test_whatever_goes_wrong_in_a_look_the_movie_is_offered(
    build: Build, monkeypatch: pytest.MonkeyPatch, orientation: str, error: Exception
) -> None:
    desk = build()
    write_gain(desk, turn(CAMERA.gain_yx, "mirrored"))
    await desk.open_session(acquisition=asking(orientation=orientation))

    def fail() -> None:
        raise error

    failing = Calls(monkeypatch, "daemon.sessions.gain_evidence.iterate_frames", fail)
    for name in ("a.mrc", "b.mrc"):
        assert (await take(desk, write_movie(desk, name, ENOUGH))).flip == "none"
    assert len(desk.offered) == 2
    assert failing.count == (1 if isinstance(error, MemoryError) else 2)
    assert await marks(desk) == []


@pytest.mark.parametrize("orientation", ["auto", "as_is"])
async def test_without_a_gain_of_its_size_no_movie_is_decoded(
    build: Build, monkeypatch: pytest.MonkeyPatch, decoded: Calls, orientation: str
) -> None:
    desk = build()
    read = Calls(monkeypatch, "daemon.sessions.gain_evidence.read_stored_image")
    await desk.open_session(acquisition=asking(orientation=orientation))
    await take(desk, write_movie(desk, "a.mrc", ENOUGH))
    assert (decoded.count, read.count, await marks(desk)) == (0, 0, None)
    write_gain(desk, np.ones((128, 256)))
    for name in ("b.mrc", "c.mrc"):
        await take(desk, write_movie(desk, name, ENOUGH))
    assert (decoded.count, read.count) == (0, 1)
    write_gain(desk, turn(CAMERA.gain_yx, "mirrored"))
    gain = await take(desk, write_movie(desk, "d.mrc", ENOUGH))
    assert (decoded.count, read.count, len(desk.offered)) == (1, 2, 4)
    assert gain.flip == ("x" if orientation == "auto" else "none")


async def test_a_gain_written_anew_in_place_is_looked_at_anew(build: Build, tmp_path: Path, decoded: Calls) -> None:
    desk = build()
    write_gain(desk, turn(CAMERA.gain_yx, "mirrored"))
    await desk.open_session(acquisition=asking(orientation="auto"))
    assert (await take(desk, write_movie(desk, "a.mrc", ENOUGH))).flip == "x"
    write_gain(desk, turn(CAMERA.gain_yx, "upside down"))
    desk = build()
    await desk.open_session(acquisition=asking(orientation="auto"))
    assert (await take(desk, write_movie(desk, "b.mrc", ENOUGH))).flip == "y"
    path = write_gain(desk, turn(CAMERA.gain_yx, "upside down"))
    path.touch()
    assert (await take(desk, write_movie(desk, "c.mrc", ENOUGH))).flip == "y"
    assert decoded.count == 2, "a touch changes nothing"
    write_gain(desk, np.ones((256, 256)))
    assert (await take(desk, write_movie(desk, "d.mrc", ENOUGH))).flip == "none"
    assert "it is the same for all pixels" in (await notes(desk))[0]
    await desk.intake.look_back(desk.raw)
    assert decoded.count == 3, "what images have from an earlier gain is not what somebody configured"


async def test_a_gain_written_anew_in_place_is_compared_anew(build: Build) -> None:
    desk = build()
    write_gain(desk, CAMERA.gain_yx)
    await desk.open_session(acquisition=asking())
    await take(desk, write_movie(desk, "a.mrc", ENOUGH))
    assert await told(desk) == []
    write_gain(desk, turn(CAMERA.gain_yx, "mirrored"))
    await take(desk, write_movie(desk, "b.mrc", ENOUGH))
    (note,) = await told(desk)
    assert "show that it fits mirrored left to right" in note.message


async def test_another_configuration_asks_anew_where_movies_did_not_tell(build: Build, decoded: Calls) -> None:
    desk = build()
    write_gain(desk, turn(CAMERA.gain_yx, "mirrored"))
    await desk.open_session(acquisition=asking(orientation="auto", operation="divide"))
    assert (await take(desk, write_movie(desk, "a.mrc", ENOUGH))).flip == "none"
    assert "only with the other operation" in (await notes(desk))[0]
    await desk.open_session(acquisition=asking(orientation="auto"))
    assert (await notes(desk))[0].startswith("how the gain reference lies is not found yet")
    assert (await take(desk, write_movie(desk, "b.mrc", ENOUGH))).flip == "x"
    assert decoded.count == 2
    await desk.open_session(acquisition=asking(orientation="auto", rotate_deg=90))
    assert await take(desk, write_movie(desk, "c.mrc", ENOUGH)) == GainReference(
        desk.raw / "gains" / "gain.mrc", "x", 0, "multiply", "auto"
    )
    assert decoded.count == 2, "what the movies showed does not depend on how the gain was configured to lie"
    await desk.open_session(acquisition=asking(orientation="auto", operation="divide"))
    assert (await take(desk, write_movie(desk, "d.mrc", ENOUGH))).operation == "divide"
    assert decoded.count == 3


async def test_what_a_look_shows_after_its_time_is_there_for_the_next_movie(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = build()
    path = write_gain(desk, turn(CAMERA.gain_yx, "mirrored"))
    await desk.open_session(acquisition=asking(orientation="auto"))
    release, found = threading.Event(), list[int]()

    def hang() -> None:
        release.wait()

    weigh = Calls(monkeypatch, "daemon.sessions.gain_looks.weigh", hang)
    acquisition = Acquisition(gain=GainReference(path, orientation="auto"))

    async def hash_gain(_gain: Path) -> str | None:
        return "hash"

    orientation = GainOrientation(
        Teller(desk.store, SUBJECTS, lambda: None),
        SessionRef(desk.session_id, "24dec03a"),
        lambda: desk.now_s,
        lambda: found.append(1),
        configured=lambda: acquisition,
        hash_gain=hash_gain,
        limit_s=0.0,
    )
    for name in ("a.mrc", "b.mrc"):
        assert await orientation.find(write_movie(desk, name, ENOUGH).path, acquisition) is None
    (note,) = await told(desk)
    assert "is not found yet: looking at" in note.message
    assert weigh.count == 1
    assert len(await marks(desk)) == 1, "should it never end, it is not begun again by the next daemon"
    release.set()
    for thread in threading.enumerate():
        if thread.name == "elcano-detached":
            thread.join(LIMIT_S)
    late = await orientation.find(desk.frames / "c.mrc", acquisition)
    assert late is not None
    assert (late.flip, late.movies, weigh.count, found) == ("x", 1, 1, [1])
    assert await marks(desk) == []


def test_only_the_gain_that_was_looked_at_is_turned() -> None:
    gain = GainReference(Path("/gains/gain.mrc"), orientation="auto")
    found = FoundOrientation("/gains/gain.mrc", 90, "none", "multiply", False, None, 1, 15.0, 15.0, 1.0)
    acquisition = Acquisition(gain=gain)
    assert found.turn(acquisition) == Acquisition(gain=replace(gain, rotate_deg=90, operation="multiply"))
    for other in (
        replace(gain, path=Path("/gains/other.mrc")),
        replace(gain, operation="divide"),
        replace(gain, orientation="as_is"),
    ):
        assert found.turn(Acquisition(gain=other)) == Acquisition(gain=other)
    assert replace(found, doubt="alike").turn(acquisition) == acquisition
