"""New session directories under the watched roots."""

import errno
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from daemon.domain.movie import FileIdentity
from daemon.sessions.raw_files import RawPlaces, raw_files
from daemon.watchers.directory import DirectoryPoller
from daemon.watchers.found import WatchProblem
from daemon.watchers.session_finder import SessionFinder, watch_sessions
from daemon.watchers.session_watch import selects


def make_session(folder: Path, content: str = "{}") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "session.json").write_text(content)
    return folder / "session.json"


def test_a_directory_becomes_a_session_when_its_manifest_has_come_to_rest(tmp_path: Path) -> None:
    (tmp_path / "24dec03a").mkdir()
    finder = SessionFinder([tmp_path])
    assert not finder.poll().found
    manifest = make_session(tmp_path / "24dec03a", '{"msession":')
    assert not finder.poll().found, "may still be written"
    make_session(tmp_path / "24dec03a", '{"msession": {}, "images": []}')
    assert not finder.poll().found
    assert [identity.path for identity in finder.poll().found] == [manifest]
    result = finder.poll()
    assert not result.found
    assert not result.updated


def test_a_manifest_written_anew_is_told(tmp_path: Path) -> None:
    manifest = make_session(tmp_path / "s")
    finder = SessionFinder([tmp_path])
    finder.poll()
    finder.poll()
    make_session(tmp_path / "s", '{"longer": true}')
    assert not finder.poll().updated
    result = finder.poll()
    assert [identity.path for identity in result.updated] == [manifest]
    assert not result.found


def test_known_sessions_are_not_told_again(tmp_path: Path) -> None:
    manifest = make_session(tmp_path / "s")
    status = manifest.stat()
    finder = SessionFinder([tmp_path], known=[FileIdentity(manifest, status.st_size, status.st_mtime_ns)])
    assert not any((finder.poll().found, finder.poll().found, finder.poll().updated))


def test_only_directories_directly_under_a_root_and_not_hidden_ones(tmp_path: Path) -> None:
    make_session(tmp_path / ".copying")
    make_session(tmp_path / "lost+found")
    make_session(tmp_path / "a" / "b")
    make_session(tmp_path)
    (tmp_path / "c" / "session.json").mkdir(parents=True)
    finder = SessionFinder([tmp_path])
    finder.poll()
    assert not finder.poll().found


@pytest.mark.parametrize("name", ["lost+found", "System Volume Information", "$RECYCLE.BIN", ".Trash-1", ".snapshots"])
def test_what_file_systems_keep_for_themselves_is_nobodys_movies(tmp_path: Path, name: str) -> None:
    for folder in (tmp_path / name, tmp_path / "session" / name):
        folder.mkdir(parents=True)
        (folder / "a.tif").write_bytes(b"II*\0")
    (tmp_path / "held" / name).mkdir(parents=True)
    make_session(tmp_path / "held")
    (tmp_path / "held" / name / "a.tif").write_bytes(b"II*\0")
    finder = SessionFinder([tmp_path])
    for _ in range(3):
        finder.poll()
    assert (finder.passed_over, finder.problems) == ((), {})
    assert DirectoryPoller(tmp_path / "held").poll(0.0).new == []
    assert not selects(None)(Path(name) / "a.tif")
    told: list[Path] = []
    seen = raw_files(tmp_path / "held", RawPlaces(), lambda path, _: told.append(path))
    assert ([path.name for path in seen], told) == (["session.json"], [])


def test_linked_sessions_only_under_allowed_roots(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    make_session(tmp_path / "allowed" / "s1")
    make_session(tmp_path / "private" / "s2")
    (root / "one").symlink_to(tmp_path / "allowed" / "s1")
    (root / "two").symlink_to(tmp_path / "private" / "s2")
    (root / "self").symlink_to(root / "self")
    finder = SessionFinder([root], allowed_roots=[tmp_path / "allowed"])
    first, second = finder.poll(), finder.poll()
    assert [identity.path.parent.name for identity in second.found] == ["one"]
    assert [problem.path for problem in first.problems] == [root / "two"]
    assert "outside the allowed roots" in first.problems[0].what
    assert not second.problems


def test_a_missing_root_is_told_once_and_the_others_go_on(tmp_path: Path) -> None:
    make_session(tmp_path / "here" / "s")
    finder = SessionFinder([tmp_path / "missing", tmp_path / "here"])
    first, second = finder.poll(), finder.poll()
    assert [problem.path for problem in first.problems] == [tmp_path / "missing"]
    assert not second.problems
    assert len(second.found) == 1
    (tmp_path / "missing").mkdir()
    assert finder.poll().recovered == [tmp_path / "missing"]


def put(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folders_with_movies_and_no_manifest_are_named_once(tmp_path: Path) -> None:
    put(tmp_path / "a" / "x.mrc", tmp_path / "b" / "frames" / "y.tiff", tmp_path / "c" / "deeper" / "down" / "z.eer")
    put(tmp_path / "d" / "gains" / "gain.mrc", tmp_path / "e" / "notes.txt", tmp_path / "f" / ".x.mrc.rsync")
    put(tmp_path / "g" / "frames" / "w.mrc")
    make_session(tmp_path / "g")
    (tmp_path / "d" / "link.mrc").mkdir()
    finder = SessionFinder([tmp_path])
    assert finder.poll().passed_over == [], "its session.json may be about to come"
    assert finder.poll().passed_over == [tmp_path / "a", tmp_path / "b"]
    assert finder.poll().passed_over == []
    assert finder.passed_over == (tmp_path / "a", tmp_path / "b")


def test_a_folder_is_passed_over_no_more_when_its_manifest_comes_or_it_goes(tmp_path: Path) -> None:
    put(tmp_path / "a" / "x.mrc", tmp_path / "b" / "y.mrc")
    finder = SessionFinder([tmp_path])
    finder.poll()
    finder.poll()
    make_session(tmp_path / "a")
    (tmp_path / "b").rename(tmp_path / "c")
    finder.poll()
    assert finder.passed_over == ()
    assert finder.poll().passed_over == [tmp_path / "c"]


def test_movies_that_come_later_are_found_in_turn(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"s{number:02d}" / "frames").mkdir(parents=True)
    finder = SessionFinder([tmp_path])
    finder.poll()
    assert finder.poll().passed_over == []
    put(tmp_path / "s03" / "frames" / "x.eer")
    assert [path for _ in range(13) for path in finder.poll().passed_over] == [tmp_path / "s03"]


def test_movies_that_come_to_the_newest_folder_are_found_at_once(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"s{number:02d}").mkdir()
    finder = SessionFinder([tmp_path])
    finder.poll()
    finder.poll()
    (tmp_path / "new").mkdir()
    finder.poll()
    assert finder.poll().passed_over == []
    put(tmp_path / "new" / "x.eer")
    assert finder.poll().passed_over == [tmp_path / "new"]


def test_movies_directly_in_a_root_are_passed_over_too(tmp_path: Path) -> None:
    """Someone who names one session's folder as the root learns what is wrong."""
    put(tmp_path / "one" / "x.tif", tmp_path / "two" / "frames" / "y.tif", tmp_path / "three" / "z.tif")
    roots = [tmp_path / name for name in ("one", "two", "three")]
    finder = SessionFinder(roots, pattern="[xy]*")
    finder.poll()
    assert finder.poll().passed_over == [tmp_path / "one", tmp_path / "two" / "frames"]


class RecordingSessions:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.log: list[tuple[str, Path]] = []

    async def session_found(self, manifest: FileIdentity) -> None:
        self.log.append(("found", manifest.path))

    async def session_updated(self, manifest: FileIdentity) -> None:
        self.log.append(("updated", manifest.path))

    async def troubled(self, problems: Sequence[WatchProblem]) -> None:
        self.log += [("troubled", problem.path) for problem in problems]

    async def recovered(self, paths: Sequence[Path]) -> None:
        self.log += [("recovered", path) for path in paths]

    async def passed_over(self, folders: Sequence[Path]) -> None:
        self.log += [("passed over", folder) for folder in folders]

    async def wait_for(self, *expected: tuple[str, Path]) -> None:
        with anyio.fail_after(60):
            while not set(expected) <= set(self.log):
                await anyio.lowlevel.checkpoint()


@pytest.mark.anyio
async def test_the_loop_tells_the_sink(tmp_path: Path) -> None:
    root, sessions = tmp_path / "root", RecordingSessions()
    async with anyio.create_task_group() as group:
        group.start_soon(partial(watch_sessions, SessionFinder([root]), sessions, poll_s=0.001))
        await sessions.wait_for(("troubled", root))
        manifest = make_session(root / "s")
        await sessions.wait_for(("recovered", root), ("found", manifest))
        make_session(root / "s", '{"longer": true}')
        await sessions.wait_for(("updated", manifest))
        put(root / "t" / "x.mrc")
        await sessions.wait_for(("passed over", root / "t"))
        group.cancel_scope.cancel()
    assert [what for what, _ in sessions.log].count("found") == 1


@pytest.mark.anyio
async def test_a_session_that_takes_long_to_import_holds_up_no_other(tmp_path: Path) -> None:
    taken: list[str] = []
    looks = 0
    is_over = anyio.Event()

    class Slow(RecordingSessions):
        async def session_found(self, manifest: FileIdentity) -> None:
            if manifest.path.parent.name == "large":
                await is_over.wait()
            taken.append(manifest.path.parent.name)

    def count() -> None:
        nonlocal looks
        looks += 1

    make_session(tmp_path / "large")
    async with anyio.create_task_group() as group:
        group.start_soon(partial(watch_sessions, SessionFinder([tmp_path]), Slow(), poll_s=0.001, on_look=count))
        with anyio.fail_after(60):
            while not looks:
                await anyio.lowlevel.checkpoint()
            make_session(tmp_path / "small")
            while taken != ["small"]:
                await anyio.lowlevel.checkpoint()
            before = looks
            is_over.set()
            while looks == before or taken != ["small", "large"]:
                await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()


def test_what_keeps_a_folder_from_being_a_session_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "named").mkdir()
    misnamed = tmp_path / "named" / "Session.json"
    misnamed.write_text("{}")
    closed = tmp_path / "night" / "frames"
    closed.mkdir(parents=True)
    listed = os.scandir

    def scandir(path: Path) -> Any:
        if path == closed:
            raise PermissionError(errno.EACCES, "Permission denied")
        return listed(path)

    monkeypatch.setattr("daemon.watchers.passed_over.os.scandir", scandir)
    finder = SessionFinder([tmp_path])
    finder.poll()
    told = {problem.path: (problem.what, problem.hint) for problem in finder.poll().problems}
    assert told.keys() == {misnamed, closed}
    assert told[misnamed][1].startswith("Rename it to session.json")
    assert told[closed][0] == "cannot be looked at: Permission denied"
    assert not finder.poll().problems, "once"
    misnamed.rename(misnamed.with_name("session.json"))
    monkeypatch.undo()
    assert {path for _ in range(3) for path in finder.poll().recovered} == {misnamed, closed}
