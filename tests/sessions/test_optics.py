"""Movies that change in the middle of a session: told once, and in an optics group of their own."""

import hashlib
import itertools
import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from daemon.domain.movie import FileIdentity
from daemon.domain.states import TaskState
from daemon.formats.mrc_writer import write_mrc
from daemon.formats.pace import READ_PACE
from daemon.sessions.optics import OPTICS_GROUPS, MovieFacts, find_group
from daemon.store import sessions
from daemon.store.changes import EndTask
from tests.sessions.desk import Desk

Build = Callable[..., Desk]

FACTS = MovieFacts(4096, 4096, 40, 0.83, "/g/gain.mrc", "a")


class TestRule:
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"width_px": 5760}, ["frame size from 4096 x 4096 to 5760 x 4096"]),
            ({"frame_count": 50}, ["frames from 40 to 50"]),
            ({"pixel_size_ang": 1.06}, ["pixel size from 0.83 Å to 1.06 Å"]),
            ({"gain_sha256": "b"}, ["gain reference: /g/gain.mrc was written anew"]),
            ({"gain_path": "/g/better.mrc", "gain_sha256": "b"}, []),
            ({"pixel_size_ang": 0.8303}, []),
            ({"pixel_size_ang": None}, []),
            ({"gain_path": None, "gain_sha256": None}, []),
            (
                {"frame_count": 20, "height_px": 10},
                ["frame size from 4096 x 4096 to 4096 x 10", "frames from 40 to 20"],
            ),
        ],
    )
    def test_what_makes_another_group(self, change: dict[str, object], said: list[str]) -> None:
        other = replace(FACTS, **change)  # type: ignore[arg-type]
        assert FACTS.differences(other) == said
        assert (find_group([FACTS], other) is None) == bool(said)

    def test_exposures_in_eer_differ_by_a_few_hardware_frames(self) -> None:
        eer = replace(FACTS, frame_count=1080)
        assert not eer.differences(replace(eer, frame_count=1077))
        assert eer.differences(replace(eer, frame_count=540))

    def test_who_returns_to_an_earlier_kind_returns_to_its_group(self) -> None:
        groups = [FACTS, replace(FACTS, frame_count=50), replace(FACTS, pixel_size_ang=1.06)]
        assert find_group(groups, FACTS) == 1
        assert find_group(groups, groups[1]) == 2
        assert find_group([], FACTS) is None


def write_movie(desk: Desk, name: str, *, frames: int = 4, edge_px: int = 16, pixel_ang: float = 0.83) -> FileIdentity:
    path = desk.raw / "frames" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mrc(path, np.ones((frames, edge_px, edge_px), dtype=np.int16), pixel_size_ang=pixel_ang)
    status = path.stat()
    return FileIdentity(path, status.st_size, status.st_mtime_ns)


async def take(desk: Desk, name: str, **how: float) -> int:
    """Let a movie be seen and proven whole; return its image's optics group as the database has it."""
    identity = write_movie(desk, name, **how)  # type: ignore[arg-type]
    await desk.intake.seen([identity])
    await desk.intake.complete(identity, None, "whole")
    movie = await desk.newest(f"frames/{name}")
    assert movie.image_id is not None
    image = await sessions.image(desk.store, movie.image_id)
    assert image is not None
    return image.acquisition.optics_group


async def told(desk: Desk) -> list[str]:
    found = [event["data"].get("message", "") for event in await desk.events()]
    return [message for message in found if "changed from" in message]


@pytest.mark.anyio
async def test_a_change_is_told_once_with_the_first_movie_and_outlives_a_restart(build: Build, tmp_path: Path) -> None:
    desk = build()
    await desk.open_session()
    assert [await take(desk, "a.mrc"), await take(desk, "b.mrc")] == [1, 1]
    assert await told(desk) == []
    assert [await take(desk, "c.mrc", frames=6), await take(desk, "d.mrc", frames=6)] == [2, 2]
    assert await take(desk, "e.mrc", frames=6, pixel_ang=1.06) == 3
    assert await take(desk, "f.mrc") == 1
    messages = await told(desk)
    assert len(messages) == 2
    assert f"from {desk.raw}/frames/c.mrc on: frames from 4 to 6." in messages[0]
    assert "pixel size from 0.83 Å to 1.06 Å." in messages[1]
    assert "optics group 3" in messages[1]

    desk.close()
    desk = Desk(tmp_path)
    try:
        await desk.open_session()
        assert [await take(desk, "g.mrc", frames=6), await take(desk, "h.mrc", edge_px=8)] == [2, 4]
        session_id = (await desk.newest("frames/g.mrc")).session_id
        kept = (await sessions.decisions(desk.store, session_id))[OPTICS_GROUPS]
        assert [group["frame_count"] for group in kept] == [4, 6, 6, 4]
        image_groups = [image.acquisition.optics_group for image in await sessions.images(desk.store, session_id)]
        assert sorted(image_groups) == [1, 1, 1, 2, 2, 2, 3, 4], "importing again keeps the groups"
    finally:
        desk.close()


def write_gain(desk: Desk, value: float = 1.0) -> Path:
    gain = desk.raw / "gains" / "gain.mrc"
    gain.parent.mkdir(parents=True, exist_ok=True)
    write_mrc(gain, np.full((16, 16), value, dtype=np.float32), pixel_size_ang=1.0)
    (desk.raw / "session.json").write_text(
        json.dumps({"msession": {"name": "s"}, "images": [], "acquisition": {"gain": {"path": "gains/gain.mrc"}}})
    )
    return gain


async def end_tasks(desk: Desk, name: str, state: TaskState) -> None:
    ends = [EndTask(task.task_id, state) for task in await desk.tasks_of(await desk.newest(f"frames/{name}"))]
    assert ends
    for end in ends:
        await desk.store.commit(end)


@pytest.mark.anyio
async def test_a_gain_that_is_mended_before_any_movie_was_processed_with_it_is_no_change(build: Build) -> None:
    desk = build()
    write_gain(desk)
    await desk.open_session()
    assert await take(desk, "a.mrc") == 1
    await end_tasks(desk, "a.mrc", TaskState.FAILED)
    write_gain(desk, 2.0)
    assert await take(desk, "b.mrc") == 1
    write_gain(desk, 3.0)
    assert await take(desk, "c.mrc", frames=6) == 2, "other movies are told as ever"
    assert len(await told(desk)) == 1


@pytest.mark.anyio
async def test_a_gain_measured_anew_makes_a_group_and_a_touched_one_does_not(build: Build) -> None:
    desk = build()
    gain = write_gain(desk)
    await desk.open_session()
    assert await take(desk, "a.mrc") == 1
    await end_tasks(desk, "a.mrc", TaskState.COMPLETED)
    os.utime(gain, ns=(1, 1))
    assert await take(desk, "b.mrc") == 1
    write_mrc(gain, np.full((16, 16), 2.0, dtype=np.float32), pixel_size_ang=1.0)
    assert await take(desk, "c.mrc") == 2
    (message,) = await told(desk)
    assert f"gain reference: {gain} was written anew" in message


@pytest.mark.anyio
async def test_a_gain_is_compared_at_the_pace_of_all_reading_part_by_part(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part, not the whole gain, must be read within the time that a file system has to answer."""
    desk = build()
    gain = desk.raw / "gain.mrc"
    write_mrc(gain, np.ones((64, 64), dtype=np.float32), pixel_size_ang=1.0)
    (desk.raw / "session.json").write_text(
        json.dumps({"msession": {"name": "s"}, "images": [], "acquisition": {"gain": {"path": "gain.mrc"}}})
    )
    await desk.open_session()
    taken: list[int] = []
    monkeypatch.setattr(READ_PACE, "take", taken.append)
    monkeypatch.setattr("daemon.sessions.optics._HASHED_AT_ONCE_BYTES", 5000)
    assert await take(desk, "a.mrc") == 1
    whole = gain.stat().st_size
    parts = [5000] * (whole // 5000) + [whole % 5000]
    assert [count for count in taken if count in parts] == parts
    kept = (await sessions.decisions(desk.store, desk.session_id))[OPTICS_GROUPS]
    assert kept[0]["gain_sha256"] == hashlib.sha256(gain.read_bytes()).hexdigest()


@pytest.mark.anyio
async def test_a_gain_that_was_never_there_is_told_as_what_it_is(
    build: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = build()
    (desk.raw / "session.json").write_text(
        json.dumps({"msession": {"name": "s"}, "images": [], "acquisition": {"gain": {"path": "gain.mrc"}}})
    )
    await desk.open_session()
    assert await take(desk, "a.mrc") == 1
    said = capsys.readouterr().out
    assert f"Gain reference {desk.raw / 'gain.mrc'}: cannot be read: No such file or directory." in said
    assert "Put the file there, then run `elcano retry --session NAME`" in said
    assert "whether it changed" not in said


@pytest.mark.anyio
async def test_a_gain_that_is_written_while_it_is_read_is_not_compared(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = build()
    gain = desk.raw / "gain.mrc"
    write_mrc(gain, np.ones((64, 64), dtype=np.float32), pixel_size_ang=1.0)
    (desk.raw / "session.json").write_text(
        json.dumps({"msession": {"name": "s"}, "images": [], "acquisition": {"gain": {"path": "gain.mrc"}}})
    )
    await desk.open_session()
    times_ns = itertools.count(1)
    monkeypatch.setattr(READ_PACE, "take", lambda _: os.utime(gain, ns=(1, next(times_ns))))
    assert await take(desk, "a.mrc") == 1
    kept = (await sessions.decisions(desk.store, desk.session_id))[OPTICS_GROUPS]
    assert kept[0]["gain_sha256"] is None


@pytest.mark.anyio
async def test_a_folder_that_does_not_answer_holds_up_no_movie_and_is_told_once(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = build()
    await desk.open_session()
    assert await take(desk, "a.mrc") == 1
    await desk.open_session(book=desk.imported.book, read_limit_s=0.05)
    answers = threading.Event()
    with monkeypatch.context() as hung:
        hung.setattr("daemon.sessions.optics.read_movie_header", lambda _: answers.wait())
        assert [await take(desk, "b.mrc", frames=6), await take(desk, "c.mrc", frames=6)] == [1, 1]
    assert len(desk.offered) == 3
    notes = await sessions.notifications(desk.store, desk.session_id)
    (unanswered,) = [note for note in notes if note.kind == "optics_group_unknown"]
    assert f"{desk.raw}/frames/b.mrc was not compared" in unanswered.message
    assert f"{desk.raw}/frames: has not answered for 0.05 s" in unanswered.message
    answers.set()
    for thread in threading.enumerate():
        if thread.name == "elcano-detached":
            thread.join(20.0)
    await desk.open_session(book=desk.imported.book)
    assert await take(desk, "d.mrc", frames=6) == 2


@pytest.mark.anyio
async def test_a_gain_that_does_not_answer_is_told_and_the_rest_is_compared(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = build()
    gain = desk.raw / "gain.mrc"
    write_mrc(gain, np.ones((16, 16), dtype=np.float32), pixel_size_ang=1.0)
    (desk.raw / "session.json").write_text(
        json.dumps({"msession": {"name": "s"}, "images": [], "acquisition": {"gain": {"path": "gain.mrc"}}})
    )
    await desk.open_session()
    assert await take(desk, "a.mrc") == 1
    await desk.open_session(book=desk.imported.book, read_limit_s=2.0)
    answers = threading.Event()
    monkeypatch.setattr("daemon.sessions.optics._identify", lambda _: answers.wait())
    try:
        assert await take(desk, "b.mrc", frames=6) == 2
    finally:
        answers.set()
    assert any(f"{gain}: has not answered" in note.message for note in await sessions.notifications(desk.store))


@pytest.mark.anyio
async def test_a_movie_that_is_made_again_with_a_mended_gain_goes_to_its_optics_group(build: Build) -> None:
    desk = build()
    write_gain(desk)
    await desk.open_session()
    assert [await take(desk, name) for name in ("a.mrc", "b.mrc")] == [1, 1]
    await end_tasks(desk, "b.mrc", TaskState.COMPLETED)
    path = desk.raw / "frames" / "a.mrc"
    await desk.intake.place_anew(path)
    assert await groups_of(desk) == {"a": 1, "b": 1}, "its gain is what it was"
    write_gain(desk, 2.0)
    await desk.intake.place_anew(path)
    await desk.intake.place_anew(desk.raw / "frames" / "nobody.mrc")
    assert await groups_of(desk) == {"a": 2, "b": 1}
    book = desk.intake.book.find(path)
    assert book is not None
    assert book.image is not None
    assert book.image.acquisition.optics_group == 2, "what is entered of it later keeps the group"


async def groups_of(desk: Desk) -> dict[str, int]:
    return {image.name: image.acquisition.optics_group for image in await sessions.images(desk.store, desk.session_id)}
