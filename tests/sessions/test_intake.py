"""From what watching says to ledger, tasks and events."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from daemon.domain.movie import FileIdentity
from daemon.domain.states import MovieState, SessionState, TaskState
from daemon.errors import FormatError, IllegalMove
from daemon.store import ledger, metrics, sessions
from daemon.store.changes import Change, CloseSession, EndTask, MoveMovie, StartAttempt
from daemon.store.store import Store
from tests.sessions.desk import START_S, Desk

pytestmark = pytest.mark.anyio

Build = Callable[..., Desk]
X = "frames/x.tif"


async def test_from_seen_to_complete(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file(X, 50), desk.file("frames/y.tif")])
    movie = await desk.newest(X)
    assert (movie.state, movie.revision, movie.identity.size_bytes) == (MovieState.SETTLING, 1, 50)
    assert await desk.states_of(movie) == [TaskState.PENDING] * 2
    assert [task.stage for task in await desk.tasks_of(movie)] == ["motion_correction", "ctf_estimation"]
    assert desk.offered == []

    desk.now_s += 30
    await desk.intake.complete(desk.file(X, 700, START_S + 20), 40, "structure is whole")
    movie = await desk.newest(X)
    assert (movie.state, movie.reason) == (MovieState.COMPLETE, "structure is whole")
    assert movie.identity == desk.file(X, 700, START_S + 20)
    assert movie.last_write_s == START_S + 20
    assert await desk.moves_of(movie) == ["seen", "settling", "complete"]
    assert desk.offered == [(movie.movie_id, START_S + 20)]
    assert (await desk.newest("frames/y.tif")).state is MovieState.SETTLING

    kinds = await desk.event_kinds()
    seen = ["session.movie.seen"] * 2
    assert kinds == ["session.imported", "job.started", *seen, "session.movie.complete"]
    complete = (await desk.events())[-1]
    assert complete["data"]["image_name"] == "x"
    assert complete["data"]["size_bytes"] == 700
    assert complete["id"] == complete["event_id"]
    assert {event["stream"] for event in await desk.events()} == {"MAGELLON_SESSION_EVENTS"}


async def test_ids_of_events_are_the_same_for_the_same_fact(build: Build, tmp_path: Path) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file(X)])
    first = [event["id"] for event in await desk.events()]
    desk.close()
    (tmp_path / "state" / "store.duckdb").unlink()
    desk = Desk(tmp_path)
    try:
        await desk.open_session()
        await desk.intake.seen([desk.file(X)])
        assert [event["id"] for event in await desk.events()] == first
        assert len(set(first)) == len(first)
    finally:
        desk.close()


async def test_a_rewritten_movie_is_a_new_revision(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file(X)])
    await desk.intake.complete(desk.file(X), None, "whole")
    old = await desk.newest(X)
    running = (await desk.tasks_of(old))[0]
    await desk.store.commit(StartAttempt(running.task_id, 1, "hash"))

    await desk.intake.rewritten(desk.file(X), desk.file(X, 900, START_S))
    old, new = await desk.revisions(X)
    assert (old.state, new.state) == (MovieState.SUPERSEDED, MovieState.SETTLING)
    assert (new.revision, new.image_id) == (2, old.image_id)
    assert "100 bytes became 900" in old.reason
    assert await desk.states_of(old) == [TaskState.CANCELLED] * 2
    assert await desk.states_of(new) == [TaskState.PENDING] * 2
    assert desk.withdrawn == [old.movie_id]
    events = [event for event in await desk.events() if event["type"].startswith("magellon.step.")]
    assert [(event["type"], event["data"]["step"], event["data"]["attempt"]) for event in events] == [
        ("magellon.step.cancelled", "motioncor", 1),
        ("magellon.step.cancelled", "ctf", 0),
    ]
    assert {event["stream"] for event in events} == {"MAGELLON_STEP_EVENTS"}

    await desk.intake.complete(desk.file(X, 900, START_S), None, "whole")
    assert (await desk.newest(X)).state is MovieState.COMPLETE
    assert desk.offered[-1] == (new.movie_id, START_S)


@pytest.mark.parametrize("state", [MovieState.DONE, MovieState.FAILED, MovieState.QUARANTINED])
async def test_a_movie_that_ended_is_superseded_too(build: Build, state: MovieState) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file(X)])
    await desk.intake.complete(desk.file(X), None, "whole")
    movie = await desk.newest(X)
    await desk.store.commit(
        *(EndTask(task.task_id, TaskState.SKIPPED) for task in await desk.tasks_of(movie)),
        MoveMovie(movie.movie_id, state, "by the engine"),
    )
    await desk.intake.rewritten(desk.file(X), desk.file(X, 900))
    old, new = await desk.revisions(X)
    assert (old.state, new.state) == (MovieState.SUPERSEDED, MovieState.SETTLING)
    assert await desk.states_of(old) == [TaskState.SKIPPED] * 2


async def test_a_quarantined_movie_comes_back_by_a_rewrite(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file(X)])
    await desk.intake.quarantined(desk.file(X, 130), "ends in the middle of frame 7")
    movie = await desk.newest(X)
    assert (movie.state, movie.reason) == (MovieState.QUARANTINED, "ends in the middle of frame 7")
    assert movie.identity.size_bytes == 130  # as it stood when it was judged: a restart must not find it changed
    for task in await desk.tasks_of(movie):
        assert task.state is TaskState.SKIPPED
        assert task.reason == "movie quarantined: ends in the middle of frame 7"
    kinds = await desk.event_kinds()
    assert kinds[-1] == "session.movie.quarantined"
    assert kinds.count("step.skipped") == 2
    (notification,) = await sessions.notifications(desk.store, desk.session_id)
    assert "ends in the middle" in notification.message

    await desk.intake.rewritten(desk.file(X, 130), desk.file(X, 900))
    await desk.intake.complete(desk.file(X, 900), None, "whole")
    assert [entry.state for entry in await desk.revisions(X)] == [MovieState.SUPERSEDED, MovieState.COMPLETE]
    assert await desk.states_of(await desk.newest(X)) == [TaskState.PENDING] * 2


async def test_a_quarantined_movie_that_can_be_read_now_is_looked_at_anew_and_one_that_is_removed_vanishes(
    build: Build,
) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file(X)])
    await desk.intake.quarantined(desk.file(X), "Permission denied")
    await desk.intake.rewritten(desk.file(X), desk.file(X))
    old, new = await desk.revisions(X)
    assert (old.state, old.reason, new.state) == (MovieState.SUPERSEDED, "it can be read now", MovieState.SETTLING)
    assert new.image_id == old.image_id
    await desk.intake.quarantined(desk.file(X), "0 bytes")
    await desk.intake.vanished([desk.file(X)])
    assert (await desk.newest(X)).state is MovieState.VANISHED
    assert await metrics.failures(desk.store, desk.session_id) == []


async def test_a_movie_that_vanishes_before_it_was_processed(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file(X)])
    await desk.intake.vanished([desk.file(X), desk.file("frames/never_seen.tif")])
    movie = await desk.newest(X)
    assert movie.state is MovieState.VANISHED
    assert await desk.states_of(movie) == [TaskState.SKIPPED] * 2
    await desk.intake.complete(desk.file(X), None, "whole")  # a look that was under way
    assert (await desk.newest(X)).state is MovieState.VANISHED

    await desk.intake.seen([desk.file(X)])  # moved back
    old, new = await desk.revisions(X)
    assert (old.state, new.state) == (MovieState.SUPERSEDED, MovieState.SETTLING)
    await desk.intake.complete(desk.file(X), None, "whole")
    assert (await desk.newest(X)).state is MovieState.COMPLETE


async def test_a_processed_movie_that_is_archived_stays_done(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file(X)])
    await desk.intake.complete(desk.file(X), None, "whole")
    movie = await desk.newest(X)
    ends = [EndTask(task.task_id, TaskState.COMPLETED) for task in await desk.tasks_of(movie)]
    await desk.store.commit(*ends, MoveMovie(movie.movie_id, MovieState.DONE))
    await desk.intake.vanished([desk.file(X)])
    assert (await desk.newest(X)).state is MovieState.DONE
    # A directory that was unreadable for a moment: the same files are no news.
    told = len(await desk.events())
    await desk.intake.seen([desk.file(X)])
    await desk.intake.complete(desk.file(X), None, "whole")
    (entry,) = await desk.revisions(X)
    assert entry.state is MovieState.DONE
    assert len(await desk.events()) == told


async def test_files_that_are_no_movies(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.ignored([(desk.file("frames/notes.txt"), "not a movie: .txt suffix")])
    await desk.intake.ignored([(desk.file("frames/notes.txt"), "not a movie: .txt suffix")])
    (entry,) = await desk.movies()
    assert (entry.state, entry.reason, entry.image_id) == (MovieState.IGNORED, "not a movie: .txt suffix", None)
    await desk.intake.seen([desk.file("frames/single.mrc")])
    await desk.intake.ignored([(desk.file("frames/single.mrc", 77), "one frame: an image, no movie")])
    movie = await desk.newest("frames/single.mrc")
    assert (movie.state, movie.identity.size_bytes) == (MovieState.IGNORED, 77)
    assert await desk.states_of(movie) == [TaskState.SKIPPED] * 2


async def test_two_movies_of_one_stem_in_two_folders_get_two_names(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file("grid1/x.tif")])
    await desk.intake.seen([desk.file("grid2/x.tif")])
    names = {image.image_id: image.name for image in await sessions.images(desk.store, desk.session_id)}
    by_folder = {entry.identity.path.parent.name: names[entry.image_id or ""] for entry in await desk.movies()}
    assert by_folder == {"grid1": "x", "grid2": "grid2__x"}


@pytest.mark.parametrize("together", [True, False])
async def test_of_two_files_of_one_exposure_one_is_processed(build: Build, together: bool) -> None:
    desk = build()
    await desk.open_session()
    tif, eer = desk.file("frames/x.tif"), desk.file("frames/x_EER.eer")
    if together:
        await desk.intake.seen([tif, eer])
    else:
        await desk.intake.seen([tif])
        await desk.intake.seen([eer])
    chosen, left = ("frames/x_EER.eer", "frames/x.tif") if together else ("frames/x.tif", "frames/x_EER.eer")
    ignored = await desk.newest(left)
    assert ignored.state is MovieState.IGNORED
    assert Path(chosen).name in ignored.reason
    assert await desk.tasks_of(ignored) == []
    assert len(await desk.tasks_of(await desk.newest(chosen))) == 2
    # Watching proves the other one whole as well: it stays ignored, also when it is written again.
    await desk.intake.complete(desk.file(left), None, "whole")
    await desk.intake.rewritten(desk.file(left), desk.file(left, 555))
    assert [entry.state for entry in await desk.revisions(left)] == [MovieState.SUPERSEDED, MovieState.IGNORED]
    assert desk.offered == []


async def test_the_usual_frame_count_is_decided_once_and_kept(build: Build) -> None:
    desk = build()
    await desk.open_session()
    for number, count in enumerate([40, 40, 38]):
        name = f"frames/m{number}.tif"
        await desk.intake.seen([desk.file(name)])
        await desk.intake.complete(desk.file(name), count, "whole")
    assert desk.imported.book.expected_frames(desk.raw / X) is None
    await desk.intake.seen([desk.file(X)])
    await desk.intake.complete(desk.file(X), 40, "whole")
    assert desk.imported.book.expected_frames(desk.raw / "frames/next.tif") == 40
    assert (await sessions.decisions(desk.store, desk.session_id))["usual_frame_count"] == 40
    desk = build()
    await desk.open_session()
    assert desk.imported.book.expected_frames(desk.raw / "frames/next.tif") == 40


async def test_a_restart_neither_renames_nor_repeats(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file("grid1/x.tif"), desk.file("grid2/x.tif"), desk.file("frames/y.tif")])
    await desk.intake.complete(desk.file("frames/y.tif"), None, "whole")
    await desk.intake.rewritten(desk.file("frames/y.tif"), desk.file("frames/y.tif", 900))
    before = sorted(await desk.movies(), key=lambda entry: entry.movie_id)

    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file("grid2/x.tif"), desk.file("grid1/x.tif"), desk.file("frames/y.tif", 900)])
    assert sorted(await desk.movies(), key=lambda entry: entry.movie_id) == before
    await desk.intake.complete(desk.file("grid2/x.tif"), None, "whole")
    await desk.intake.seen([desk.file("grid3/x.tif")])
    names = {image.image_id: image.name for image in await sessions.images(desk.store, desk.session_id)}
    by_path = {entry.identity.path.parent.name: names[entry.image_id or ""] for entry in await desk.movies()}
    assert by_path == {"grid1": "x", "grid2": "grid2__x", "grid3": "grid3__x", "frames": "y"}
    kinds = await desk.event_kinds()
    assert kinds.count("session.imported") == 1
    assert kinds.count("session.movie.seen") == 5


async def test_a_late_movie_reopens_its_session(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.store.commit(CloseSession(desk.session_id, "idle"))
    await desk.intake.ignored([(desk.file("frames/notes.txt"), "no movie")])
    row = await sessions.session(desk.store, desk.session_id)
    assert row is not None
    assert row.session.state is SessionState.CLOSED
    await desk.intake.seen([desk.file(X)])
    row = await sessions.session(desk.store, desk.session_id)
    assert row is not None
    assert row.session.state is SessionState.OPEN


async def test_a_task_that_ends_at_the_same_moment_does_not_stop_watching(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file(X)])
    await desk.intake.complete(desk.file(X), None, "whole")
    movie = await desk.newest(X)
    first, _ = await desk.tasks_of(movie)
    await desk.store.commit(StartAttempt(first.task_id, 1, "hash"))
    commit = desk.store.commit
    raced: list[bool] = []

    async def commit_late(*changes: Change) -> None:
        if not raced:
            raced.append(True)
            await commit(EndTask(first.task_id, TaskState.COMPLETED, attempt=1))
        await commit(*changes)

    desk.store.commit = commit_late  # type: ignore[method-assign]
    await desk.intake.rewritten(desk.file(X), desk.file(X, 900))
    old, new = await desk.revisions(X)
    assert (old.state, new.state) == (MovieState.SUPERSEDED, MovieState.SETTLING)
    assert await desk.states_of(old) == [TaskState.COMPLETED, TaskState.CANCELLED]


@pytest.mark.parametrize("end", ["vanished", "rewritten"])
async def test_a_movie_that_ends_while_it_is_proven_whole_is_not_processed(
    build: Build, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file(X)])
    reading, go_on = threading.Event(), threading.Event()

    def read_slowly(path: Path) -> None:
        reading.set()
        go_on.wait()
        raise FormatError(path, "no header")

    monkeypatch.setattr("daemon.sessions.optics.read_movie_header", read_slowly)
    async with anyio.create_task_group() as group:
        group.start_soon(desk.intake.complete, desk.file(X), 40, "whole")
        await anyio.to_thread.run_sync(reading.wait)
        try:
            if end == "vanished":
                await desk.intake.vanished([desk.file(X)])
            else:
                await desk.intake.rewritten(desk.file(X), desk.file(X, 900))
        finally:
            go_on.set()
    movie = await desk.newest(X)
    assert movie.state is (MovieState.VANISHED if end == "vanished" else MovieState.SETTLING)
    assert desk.offered == []
    assert "session.movie.complete" not in await desk.event_kinds()
    if end == "rewritten":
        monkeypatch.undo()
        await desk.intake.complete(desk.file(X, 900), 40, "whole")
        assert [offered for offered, _ in desk.offered] == [movie.movie_id]


@pytest.mark.parametrize("has_ended", [True, False])
async def test_a_movie_that_somebody_else_ended_at_the_same_moment_is_left(build: Build, has_ended: bool) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file(X)])
    movie = await desk.newest(X)
    commit = desk.store.commit

    async def commit_late(*changes: Change) -> None:
        if has_ended:
            ends = [EndTask(task.task_id, TaskState.SKIPPED) for task in await desk.tasks_of(movie)]
            await commit(*ends, MoveMovie(movie.movie_id, MovieState.VANISHED, "gone"))
            await commit(*changes)
        raise IllegalMove("movie", "cannot go")

    desk.store.commit = commit_late  # type: ignore[method-assign]
    if has_ended:
        await desk.intake.complete(desk.file(X), 40, "whole")
    else:
        with pytest.raises(IllegalMove):
            await desk.intake.complete(desk.file(X), 40, "whole")
    assert desk.offered == []
    known = desk.imported.book.find(desk.raw / X)
    assert known is not None
    assert known.state is (MovieState.VANISHED if has_ended else MovieState.SETTLING)


async def test_a_movie_that_may_not_end_is_not_withdrawn(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file(X)])
    await desk.intake.complete(desk.file(X), 40, "whole")
    await desk.intake.ignored([(desk.file(X), "it belongs to a tilt series")])
    assert (await desk.newest(X)).state is MovieState.COMPLETE
    assert desk.withdrawn == []


async def test_a_change_that_is_always_illegal_is_told(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file(X)])

    async def refuse(*_: Change) -> None:
        raise IllegalMove("task", "cannot go")

    desk.store.commit = refuse  # type: ignore[method-assign]
    with pytest.raises(IllegalMove):
        await desk.intake.vanished([desk.file(X)])


async def test_frames_are_linked_when_a_movie_is_whole(build: Build) -> None:
    desk = build()
    await desk.open_session(link_frames=True)
    path = desk.raw / X
    path.write_bytes(b"II*\0")
    await desk.intake.seen([desk.file(X)])
    link = desk.imported.folders.frames / "x.tif"
    assert not link.is_symlink()
    await desk.intake.complete(desk.file(X), None, "whole")
    assert link.readlink() == path
    link.unlink()
    link.mkdir()  # somebody's own: not made, and no reason to stop
    await desk.intake.rewritten(desk.file(X), desk.file(X, 900))
    await desk.intake.complete(desk.file(X, 900), None, "whole")
    assert (await desk.newest(X)).state is MovieState.COMPLETE


@pytest.mark.parametrize("mtime_ns", [-1, 0, 2**63 - 1])
async def test_absurd_times_of_files_do_no_harm(build: Build, mtime_ns: int) -> None:
    desk = build()
    await desk.open_session()
    file = FileIdentity(desk.raw / X, 100, mtime_ns)
    await desk.intake.seen([file])
    await desk.intake.complete(file, None, "whole")
    movie = await desk.newest(X)
    assert movie.identity.mtime_ns == mtime_ns
    assert movie.last_write_s >= 0


async def test_a_name_that_is_not_utf8_is_left_alone_with_the_reason(build: Build) -> None:
    desk = build()
    await desk.open_session()
    path = desk.raw / os.fsdecode(b"frames/x\xff.tif")
    await desk.intake.seen([FileIdentity(path, 100, 5)])
    (movie,) = await ledger.movies(desk.store, desk.session_id)
    assert (movie.identity.path, movie.state) == (path, MovieState.IGNORED)
    assert movie.reason == "its name is not UTF-8: rename it"


async def test_every_commit_with_events_wakes_the_publisher(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.ignored([(desk.file("a.txt"), "no movie")])
    assert desk.told == 0
    await desk.intake.seen([desk.file(X)])
    await desk.intake.complete(desk.file(X), None, "whole")
    assert desk.told == 2
    assert isinstance(desk.store, Store)


async def test_a_name_that_no_star_file_can_hold_is_left_alone_with_the_reason(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file("frames/a\nb.tif")])
    movie = await desk.newest("frames/a\nb.tif")
    assert movie.state is MovieState.IGNORED
    assert "rename it" in movie.reason


async def test_when_the_file_of_an_exposure_vanishes_another_one_stands_for_it(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file("frames/x.eer", 0)])
    await desk.intake.vanished([desk.file("frames/x.eer", 0)])
    await desk.intake.seen([desk.file(X)])
    assert (await desk.newest("frames/x.eer")).state is MovieState.VANISHED
    assert (await desk.newest(X)).state is MovieState.SETTLING
