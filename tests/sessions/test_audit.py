"""The audit: a clean session is clean, and every planted gap is named once, by its path."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from daemon.domain.states import MovieState, TaskState
from daemon.messages import events
from daemon.messages.error_info import ErrorInfo
from daemon.messages.events import TaskRef
from daemon.pipeline.result import OutputFile, TaskCompleted, TaskFailed
from daemon.sessions.audit import AuditReport, audit_session, is_movie_name
from daemon.sessions.lifecycle import closing
from daemon.sessions.raw_files import RawPlaces
from daemon.sessions.records import TaskRecord, record_path, write_record
from daemon.sessions.series_names import DIFFRACTION, TILT_SERIES
from daemon.sessions.telling import queue
from daemon.store import outbox
from daemon.store.changes import (
    ArtifactRecord,
    EndTask,
    MoveMovie,
    OutputRecord,
    PutArtifacts,
    PutBackTask,
    StartAttempt,
)
from daemon.store.rows import TaskRow
from daemon.store.store import Store
from tests.sessions.desk import SUBJECTS, Desk, identify

pytestmark = pytest.mark.anyio

Build = Callable[..., Desk]
FOLDERS = ("motioncor", "ctf")


async def finish(desk: Desk, name: str, content: bytes = b"result") -> Path:
    """A movie on disk that went all the way, with one output, record and artifact for each stage."""
    path = desk.frames / f"{name}.mrc"
    path.write_bytes(b"movie")
    await desk.intake.seen([identify(path)])
    await desk.intake.complete(identify(path), None, "whole")
    movie = await desk.newest(f"frames/{name}.mrc")
    for task in await desk.tasks_of(movie):
        folder = "motioncor" if task.stage == "motion_correction" else "ctf"
        relative = f"{folder}/{name}_{folder}.out"
        (desk.imported.folders.home / relative).write_bytes(content)
        output = OutputFile("out", relative, len(content), hashlib.sha256(content).hexdigest())
        record = TaskRecord(
            session_id=desk.session_id,
            session_name="24dec03a",
            image_id=task.image_id or "",
            image_name=name,
            stage=task.stage,
            stage_version=1,
            elcano_version="0",
            parameters={},
            parameters_hash="h",
            movie=movie.identity,
            outcome=TaskCompleted((output,), {}),
        )
        write_record(desk.imported.folders.home, record)
        made = OutputRecord("out", relative, len(content), output.sha256)
        await end(desk, task, TaskState.COMPLETED, outputs=(made,))
    await desk.store.commit(MoveMovie(movie.movie_id, MovieState.DONE))
    return path


async def end(desk: Desk, task: TaskRow, state: TaskState, **more: Any) -> None:
    """A task ends, and it is told."""
    ref = TaskRef(task.job_id, task.task_id, task.image_id or "", "x", task.stage, 1)
    if state is TaskState.COMPLETED:
        event = events.step_completed(SUBJECTS, ref, output_files=[], metrics={}, at_s=desk.now_s)
    elif state is TaskState.SKIPPED:
        event = events.step_skipped(SUBJECTS, ref, reason="r", at_s=desk.now_s)
    else:
        error = ErrorInfo(kind="a", message="b")
        event = events.step_failed(SUBJECTS, ref, error=error, at_s=desk.now_s)
    await desk.store.commit(EndTask(task.task_id, state, **more), queue(SUBJECTS, event))


async def start(desk: Desk, task: TaskRow) -> None:
    """A task runs, and it is told."""
    ref = TaskRef(task.job_id, task.task_id, task.image_id or "", "x", task.stage, 1)
    event = events.step_started(SUBJECTS, ref, at_s=desk.now_s)
    await desk.store.commit(StartAttempt(task.task_id, 1, "h"), queue(SUBJECTS, event))


async def look(desk: Desk, *, deep: bool = False, unseen_for_s: float = 0.0) -> AuditReport:
    return await audit_session(desk.store, desk.imported.book.session, FOLDERS, deep=deep, unseen_for_s=unseen_for_s)


async def gaps(desk: Desk, *, deep: bool = False) -> list[tuple[str, str]]:
    """Kinds and paths of all gaps."""
    return [(gap.kind, gap.path) for gap in (await look(desk, deep=deep)).gaps]


async def test_a_clean_session_is_clean(build: Build) -> None:
    desk = build()
    await desk.open_session(link_frames=True)
    await finish(desk, "x")
    await finish(desk, "x_1")
    waiting = desk.frames / "y.mrc"
    waiting.write_bytes(b"movie")
    await desk.intake.seen([identify(waiting)])
    await desk.intake.ignored([(desk.file("frames/note.txt"), "no movie")])
    for name in ("gains/gain.mrc", "frames/.hidden.mrc", "frames/x.xml", "defects/d.tif"):
        place = desk.raw / name
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"x")
    report = await look(desk, deep=True)
    assert list(report.gaps) == []
    assert report.is_clean
    assert (report.movies, report.open_movies) == ({"done": 2, "ignored": 1, "settling": 1}, 1)
    assert report.tasks == {"completed": 4, "pending": 2}


async def test_an_unknown_file(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await finish(desk, "x")
    path = desk.frames / "lost.mrc"
    path.write_bytes(b"movie")
    assert await gaps(desk) == [("unknown_file", str(path))]
    # While the daemon runs, watching gets to a file that was just written.
    assert (await look(desk, unseen_for_s=3600)).is_clean


@pytest.mark.parametrize("change", ["truncated", "replaced"])
async def test_a_raw_file_that_is_not_the_one_processed(build: Build, change: str) -> None:
    desk = build()
    await desk.open_session()
    path = await finish(desk, "x")
    if change == "truncated":
        os.truncate(path, 2)
    else:
        path.write_bytes(b"other")  # as long as it was
        os.utime(path, ns=(5, 5))
    assert await gaps(desk) == [("raw_file_changed", str(path))]
    # While the daemon runs, watching gets to a file that was just written.
    assert (await look(desk, unseen_for_s=3600)).is_clean


async def test_a_file_that_is_no_movie_or_not_judged_yet_may_change(build: Build) -> None:
    desk = build()
    await desk.open_session()
    waiting, note = desk.frames / "y.mrc", desk.frames / "note.txt"
    for path in (waiting, note):
        path.write_bytes(b"x")
    await desk.intake.seen([identify(waiting)])
    await desk.intake.ignored([(identify(note), "no movie")])
    for path in (waiting, note):
        path.write_bytes(b"longer")
    assert await gaps(desk) == []


@pytest.mark.parametrize("refuses", ["listing", "looking"])
async def test_a_folder_that_cannot_be_read(build: Build, monkeypatch: pytest.MonkeyPatch, refuses: str) -> None:
    desk = build()
    await desk.open_session()
    (desk.frames / "square").mkdir()
    (desk.frames / "square" / "x.mrc").write_bytes(b"movie")
    scandir, lstat, refused = os.scandir, Path.lstat, desk.frames / "square"

    def list_folder(folder: Any) -> Any:
        if Path(folder) == refused:
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    def look_at(path: Path) -> os.stat_result:
        if path.parent == refused:
            raise PermissionError(13, "Permission denied")
        return lstat(path)

    if refuses == "listing":
        monkeypatch.setattr(os, "scandir", list_folder)
    else:
        monkeypatch.setattr(Path, "lstat", look_at)
    (gap,) = (await look(desk)).gaps
    assert (gap.kind, gap.path) == ("folder_unreadable", str(refused))
    assert "Permission denied" in gap.what


@pytest.mark.parametrize("refuses", ["listing and looking", "looking"])
async def test_movies_in_a_folder_that_cannot_be_read_are_not_taken_for_gone(
    build: Build, monkeypatch: pytest.MonkeyPatch, refuses: str
) -> None:
    desk = build()
    await desk.open_session()
    for name in ("x", "y"):
        await finish(desk, name)
    scandir, stat, lstat = os.scandir, os.stat, os.lstat
    refused = PermissionError(13, "Permission denied")

    def list_folder(folder: Any) -> Any:
        if Path(folder) == desk.frames and "listing" in refuses:
            raise refused
        return scandir(folder)

    def look_at(path: Any, **how: Any) -> os.stat_result:
        if Path(path).parent == desk.frames:
            raise refused
        return stat(path, **how)

    def look_at_link(path: Any, **how: Any) -> os.stat_result:
        if Path(path).parent == desk.frames:
            raise refused
        return lstat(path, **how)

    assert (await look(desk)).is_clean
    monkeypatch.setattr(os, "scandir", list_folder)
    monkeypatch.setattr(os, "stat", look_at)
    monkeypatch.setattr(os, "lstat", look_at_link)
    report = await look(desk)
    assert [(gap.kind, gap.path) for gap in report.gaps] == [("folder_unreadable", str(desk.frames))]
    assert report.notes == []


async def test_a_raw_directory_that_nobody_lets_us_look_at(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = build()
    await desk.open_session()
    stat = os.stat

    def look_at(path: Any, **how: Any) -> os.stat_result:
        if Path(path) == desk.raw:
            raise PermissionError(13, "Permission denied")
        return stat(path, **how)

    monkeypatch.setattr(os, "stat", look_at)
    (gap,) = (await look(desk)).gaps
    assert (gap.kind, gap.path) == ("folder_unreadable", str(desk.raw))


async def test_series_that_were_left_alone_are_a_note(build: Build) -> None:
    desk = build()
    await desk.open_session()
    tilts = [desk.file(f"frames/TS_01_{n:03d}_{3 * n}.0.mrc") for n in range(4)]
    await desk.intake.ignored([(tilt, TILT_SERIES) for tilt in tilts])
    crystal = desk.file("EPU-D/x_001.mrc")
    await desk.intake.ignored([(crystal, DIFFRACTION), (desk.file("a.jpg"), "not a movie: .jpg suffix")])
    report = await look(desk)
    assert report.is_clean
    assert [(note.kind, note.what) for note in report.notes] == [
        ("left_alone", "4 movies of 1 tilt series left alone, first frames/TS_01_000_0.0.mrc"),
        ("left_alone", "1 movie of 1 diffraction data set left alone, first EPU-D/x_001.mrc"),
    ]


async def test_links_are_followed_as_the_watcher_does(build: Build, tmp_path: Path) -> None:
    desk = build()
    await desk.open_session()
    allowed, outside, home = tmp_path / "allowed", tmp_path / "outside", tmp_path / "allowed" / "home"
    for place in (allowed, outside, home):
        place.mkdir()
        (place / "lost.mrc").write_bytes(b"movie")
    for name, place in {"far": allowed, "out": outside, "ours": home, "round": desk.raw, ".hidden": allowed}.items():
        (desk.raw / name).symlink_to(place)
    (desk.raw / "again").symlink_to(allowed)

    async def found() -> list[tuple[str, str]]:
        places = RawPlaces((allowed,), (home,))
        report = await audit_session(desk.store, desk.imported.book.session, FOLDERS, places=places)
        return [(gap.kind, gap.path) for gap in report.gaps]

    assert await found() == [("unknown_file", str(desk.raw / "again" / "lost.mrc"))]
    # Known by its other name is known.
    await desk.intake.seen([identify(desk.raw / "far" / "lost.mrc")])
    assert await found() == []


async def test_a_raw_directory_that_is_gone(build: Build) -> None:
    desk = build()
    await desk.open_session()
    desk.raw.rename(desk.raw.with_name("moved"))
    assert await gaps(desk) == [("raw_directory_missing", str(desk.raw))]


@pytest.mark.parametrize(
    ("content", "deep", "kind"),
    [
        (None, False, "output_missing"),
        (b"resul", False, "output_changed"),
        (b"resulT", True, "output_changed"),
        (b"resulT", False, None),
    ],
)
async def test_outputs_that_do_not_stand(build: Build, content: bytes | None, deep: bool, kind: str | None) -> None:
    desk = build()
    await desk.open_session()
    await finish(desk, "x")
    output = desk.imported.folders.home / "ctf" / "x_ctf.out"
    output.unlink() if content is None else output.write_bytes(content)
    assert await gaps(desk, deep=deep) == ([] if kind is None else [(kind, str(output))])


async def test_a_foreign_output(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await finish(desk, "x")
    foreign = desk.imported.folders.home / "ctf" / "somebody.txt"
    foreign.write_bytes(b"x")
    (foreign.parent / "notes").mkdir()
    nested = foreign.parent / "notes" / "more.txt"
    nested.write_bytes(b"x")
    assert sorted(await gaps(desk)) == [("foreign_output", str(nested)), ("foreign_output", str(foreign))]


async def test_outputs_of_open_work_are_not_foreign_but_those_of_longer_names_are(build: Build) -> None:
    desk = build()
    await desk.open_session()
    path = desk.frames / "x_1.mrc"
    path.write_bytes(b"movie")
    await desk.intake.seen([identify(path)])
    folder = desk.imported.folders.home / "ctf"
    (folder / "x_1_ctf.out").write_bytes(b"being made")
    (folder / "x_10_ctf.out").write_bytes(b"nobody's")
    assert await gaps(desk) == [("foreign_output", str(folder / "x_10_ctf.out"))]


async def test_a_leftover_of_a_dead_writer(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await finish(desk, "x")
    left = desk.imported.folders.home / "ctf" / ".elcano-tmp-host-1-1-00000000.star"
    left.write_bytes(b"half")
    assert await gaps(desk) == [("unfinished_output", str(left))]
    path = desk.frames / "y.mrc"
    path.write_bytes(b"movie")
    await desk.intake.seen([identify(path)])
    task = (await desk.tasks_of(await desk.newest("frames/y.mrc")))[0]
    await start(desk, task)
    assert await gaps(desk) == []  # someone is writing


async def test_records_and_tasks_that_miss_each_other(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await finish(desk, "x")
    home = desk.imported.folders.home
    record = record_path(home, "ctf_estimation", "x")
    stray = record_path(home, "ctf_estimation", "nobody")
    stray.write_bytes(record.read_bytes())
    assert await gaps(desk) == [("record_without_task", str(stray))]
    stray.unlink()
    whole = record.read_bytes()
    for broken in (None, b"{", whole.replace(b'"completed"', b'"failed"')):
        record.unlink() if broken is None else record.write_bytes(broken)
        assert await gaps(desk) == [("record_missing", str(record))]
    record.write_bytes(whole.replace(b'"size_bytes":5}', b'"size_bytes":7}'))
    assert await gaps(desk) == [("record_of_another_file", str(record))]
    record.unlink()
    record.mkdir()
    assert await gaps(desk) == [("record_unreadable", str(record))]


async def test_the_store_and_a_record_that_differ(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await finish(desk, "x")
    artifact = ArtifactRecord(desk.session_id, "ctf/x_ctf.out", "out", 6, "0" * 64, "h", "ctf_estimation")
    await desk.store.commit(PutArtifacts((artifact,)))
    output = desk.imported.folders.home / "ctf" / "x_ctf.out"
    assert await gaps(desk) == [("store_differs", str(output))]


async def test_work_that_was_left_open(build: Build) -> None:
    desk = build()
    await desk.open_session()
    path = await finish(desk, "x")
    movie = await desk.newest("frames/x.mrc")
    task = (await desk.tasks_of(movie))[1]
    await desk.store.commit(PutBackTask(task.task_id, "again", asked_by="ada"))
    assert await gaps(desk) == [("task_left_open", str(path))]
    await end(desk, task, TaskState.FAILED)
    await desk.store.commit(MoveMovie(movie.movie_id, MovieState.COMPLETE, asked_by="ada"))
    record = record_path(desk.imported.folders.home, task.stage, "x")
    assert (("movie_left_open", str(path))) in await gaps(desk)
    assert record.exists()


async def test_what_is_done_without_cancelled_steps_is_no_gap_but_counted(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await finish(desk, "x")
    left = desk.file("frames/y.mrc")
    await desk.intake.seen([left])
    await desk.intake.complete(left, None, "whole")
    movie = await desk.newest("frames/y.mrc")
    for task in await desk.tasks_of(movie):
        await end(desk, task, TaskState.CANCELLED)
    await desk.store.commit(MoveMovie(movie.movie_id, MovieState.DONE))
    report = await look(desk)
    assert (report.movies, report.partly_cancelled) == ({"done": 2}, 1)
    assert "movie_left_open" not in {gap.kind for gap in report.gaps}


async def test_a_file_that_is_gone_before_its_turn(build: Build) -> None:
    desk = build()
    await desk.open_session()
    done = await finish(desk, "x")
    path = desk.frames / "y.mrc"
    path.write_bytes(b"movie")
    await desk.intake.seen([identify(path)])
    path.unlink()
    done.unlink()  # archived after it was processed
    report = await look(desk)
    assert [(gap.kind, gap.path) for gap in report.gaps] == [("file_gone", str(path))]
    assert [(note.kind, note.path) for note in report.notes] == [("raw_file_gone", str(done))]


async def test_outputs_of_a_superseded_revision_are_known(build: Build) -> None:
    desk = build()
    await desk.open_session()
    path = await finish(desk, "x")
    before = identify(path)
    path.write_bytes(b"another movie")
    await desk.intake.rewritten(before, identify(path))
    assert await gaps(desk) == []
    movie = await desk.newest("frames/x.mrc")
    await desk.intake.complete(identify(path), None, "whole")
    first, second = await desk.tasks_of(movie)
    home = desk.imported.folders.home
    record = TaskRecord(
        desk.session_id, "s", "i", "x", first.stage, 1, "0", {}, "h", movie.identity, TaskFailed("a", "b")
    )
    write_record(home, record)
    await end(desk, first, TaskState.FAILED)
    await end(desk, second, TaskState.SKIPPED)
    await desk.store.commit(MoveMovie(movie.movie_id, MovieState.FAILED))
    assert await gaps(desk) == []


async def test_what_moves_between_two_looks_is_no_gap(build: Build) -> None:
    desk = build()
    await desk.open_session()
    path = desk.frames / "new.mrc"
    path.write_bytes(b"movie")
    read = desk.store.read
    looks = []

    async def read_late(query):  # type: ignore[no-untyped-def]
        looks.append(query)
        if len(looks) == 6:  # the second look begins: watching has entered the file by now
            desk.store.read = read  # type: ignore[method-assign]
            await desk.intake.seen([identify(path)])
        return await read(query)

    desk.store.read = read_late  # type: ignore[method-assign]
    assert (await look(desk)).is_clean
    assert len(looks) == 6


async def drop_event(desk: Desk, kind: str) -> None:
    """Lose one event, as no commit can."""
    path = desk.folder / "state" / "store.duckdb"
    desk.store.close()
    connection = duckdb.connect(str(path))
    (seq,) = connection.execute(
        "SELECT max(seq) FROM event WHERE decode(body)::JSON->>'$.type' = ?", [kind]
    ).fetchone() or (None,)
    connection.execute("DELETE FROM event WHERE seq = ?", [seq])
    connection.close()
    desk.store = Store.open(path, clock=lambda: desk.now_s)


@pytest.mark.parametrize(
    ("kind", "of_session"),
    [
        ("magellon.step.completed", False),
        ("magellon.session.movie.seen", False),
        ("magellon.session.movie.complete", False),
        ("magellon.session.closed", True),
        ("magellon.session.reopened", True),
    ],
)
async def test_a_state_change_without_its_event(build: Build, kind: str, of_session: bool) -> None:
    desk = build()
    await desk.open_session()
    path = await finish(desk, "x")
    change, event = closing(SUBJECTS, desk.imported.book.session, reason="idle", at_s=desk.now_s)
    await desk.store.commit(change, queue(SUBJECTS, event))
    await desk.open_session(asked_by="ada")
    assert await gaps(desk) == []
    await drop_event(desk, kind)
    (gap,) = (await look(desk)).gaps
    assert (gap.kind, gap.path) == ("event_missing", str(desk.raw if of_session else path))
    assert kind in gap.what


async def test_events_that_were_pruned_are_not_missed(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await finish(desk, "x")
    desk.now_s += 10
    waiting = await outbox.unpublished(desk.store)
    await outbox.mark_published(desk.store, [row.seq for row in waiting], desk.now_s)
    desk.now_s += 10
    await finish(desk, "y")
    desk.now_s += 1
    await finish(desk, "z")
    await outbox.prune(desk.store, desk.now_s - 5)
    assert await gaps(desk) == []
    await drop_event(desk, "magellon.step.completed")
    assert [kind for kind, _ in await gaps(desk)] == ["event_missing"]


async def test_a_file_left_for_one_that_nobody_processes(build: Build) -> None:
    desk = build()
    await desk.open_session()
    for name in ("x.eer", "x.tif"):
        (desk.frames / name).write_bytes(b"movie")
    chosen, spare = identify(desk.frames / "x.eer"), identify(desk.frames / "x.tif")
    await desk.intake.seen([chosen, spare])
    assert await gaps(desk) == []
    movie = await desk.newest("frames/x.eer")
    for task in await desk.tasks_of(movie):
        await end(desk, task, TaskState.SKIPPED)
    await desk.intake.set_aside(chosen.path)  # nothing: it is not quarantined
    await desk.store.commit(MoveMovie(movie.movie_id, MovieState.IGNORED, "no movie"))
    assert await gaps(desk) == [("spare_not_used", str(spare.path))]


async def test_a_moved_movie_is_no_gap(build: Build) -> None:
    desk = build()
    await desk.open_session()
    path = await finish(desk, "x")
    before = identify(path)
    await desk.intake.vanished([before])
    moved = path.rename(desk.frames / "moved.mrc")
    await desk.intake.seen([identify(moved)])
    report = await look(desk)
    assert list(report.gaps) == []
    assert report.movies == {"settling": 1, "superseded": 1}
    assert list(report.notes) == []


async def test_every_gap_at_once_is_named_once(build: Build) -> None:
    desk = build()
    await desk.open_session()
    for name in ("x", "y", "z"):
        await finish(desk, name)
    home = desk.imported.folders.home
    (home / "ctf" / "x_ctf.out").unlink()
    (home / "ctf" / "y_ctf.out").write_bytes(b"resu")
    (home / "ctf" / "nobody.txt").write_bytes(b"x")
    (desk.frames / "lost.mrc").write_bytes(b"movie")
    (desk.frames / "new.mrc").write_bytes(b"movie")
    await desk.intake.seen([identify(desk.frames / "new.mrc")])
    (desk.frames / "new.mrc").unlink()
    stray = record_path(home, "ctf_estimation", "ghost")
    stray.write_bytes(record_path(home, "ctf_estimation", "z").read_bytes())
    await drop_event(desk, "magellon.step.completed")
    assert Counter(kind for kind, _ in await gaps(desk)) == Counter(
        (
            "output_missing",
            "output_changed",
            "foreign_output",
            "unknown_file",
            "file_gone",
            "record_without_task",
            "event_missing",
        )
    )


async def test_paths_of_any_bytes_can_be_told(build: Build) -> None:
    desk = build()
    await desk.open_session()
    (desk.frames / os.fsdecode(b"x\xff.mrc")).write_bytes(b"x")
    ((kind, path),) = await gaps(desk)
    assert (kind, Path(path).name) == ("unknown_file", "x?.mrc")
    path.encode()


@pytest.mark.parametrize(
    ("relative", "is_movie"),
    [
        ("x.mrc", True),
        ("a/b/x.TIFF", True),
        ("a/gains/x.mrc", True),
        ("gains/x.mrc", False),
        ("a/.tmp/x.mrc", False),
        ("x.xml", False),
    ],
)
def test_names_of_movies(relative: str, is_movie: bool) -> None:
    assert is_movie_name(Path(relative)) is is_movie
