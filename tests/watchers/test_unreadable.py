"""Movies that nobody lets us read, until somebody does."""

from pathlib import Path

import pytest

from daemon.domain.movie import FileIdentity
from daemon.errors import FileUnreadable
from daemon.formats.structure import MovieStructure, inspect_structure
from daemon.watchers.directory import DirectoryPoller
from daemon.watchers.discovery import Discoverer
from daemon.watchers.found import ChangedFile, FoundFile, KnownFile, PollResult
from daemon.watchers.settle import UNREADABLE, SettleRule
from daemon.watchers.unreadable import Unreadable, try_to_read
from tests.watchers.stand_ins import RecordingSink, StepClock, live, write_small_mrc

pytestmark = pytest.mark.anyio


class Locked:
    """Files whose permissions are taken and given without a trace in size or time."""

    def __init__(self) -> None:
        self.paths: set[Path] = set()

    def can_be_read(self, path: Path) -> bool | None:
        return path not in self.paths if path.exists() else None

    def inspect(self, path: Path) -> MovieStructure:
        if path in self.paths:
            raise FileUnreadable(path, PermissionError(13, "Permission denied"))
        return inspect_structure(path)


def identity(path: Path) -> FileIdentity:
    status = path.stat()
    return FileIdentity(path, status.st_size, status.st_mtime_ns)


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_movie_comes_back_when_its_permission_does(tmp_path: Path, restarted: bool) -> None:
    clock, locked = StepClock(), Locked()
    sink = RecordingSink(clock)
    movie = write_small_mrc(tmp_path / "a.mrc")
    locked.paths.add(movie)

    def open_eyes(known: list[KnownFile], given_up: list[FileIdentity]) -> Discoverer:
        return Discoverer(
            DirectoryPoller(tmp_path, known=known),
            sink,
            expected_frames=lambda _: 2,
            rule=SettleRule(give_up_s=30.0),
            clock=clock,
            inspect=locked.inspect,
            unreadable=Unreadable(given_up, can_be_read=locked.can_be_read),
        )

    discoverer = open_eyes([], [])
    await live(discoverer, clock, 60.0)
    assert sink.log == [("seen", movie), ("quarantined", movie)]
    assert "Permission denied" in sink.refused[movie]
    assert sink.refused[movie].endswith(UNREADABLE), "by which the next daemon knows it"
    if restarted:
        discoverer = open_eyes([KnownFile(identity(movie), settled=True)], [identity(movie)])
        await live(discoverer, clock, 5.0)
    locked.paths.clear()
    await live(discoverer, clock, 10.0)
    await live(discoverer, clock, 10.0)
    assert sink.log[2:] == [("rewritten", movie), ("complete", movie)], "once"
    assert sink.changes[0].before == sink.changes[0].now.identity


async def test_a_bad_disk_is_not_asked_for_ever() -> None:
    """A file that opens and could not be read all the same: nobody's permission was lacking."""
    waiting = Unreadable(can_be_read=lambda _: True)
    waiting.note(FileIdentity(Path("/gpfs/a.mrc"), 9, 9), "Input/output error")
    assert waiting.add_readable(PollResult(), 1.0).changed == []


async def test_what_was_written_again_removed_or_judged_otherwise_is_not_waited_for() -> None:
    files = [FileIdentity(Path(f"/gpfs/{name}.mrc"), 9, 9) for name in ("written", "removed", "gone", "judged", "left")]
    written, removed, gone, judged, left = files
    locked = {file.path: False for file in files} | {gone.path: None}
    waiting = Unreadable(files, can_be_read=locked.get)
    news = PollResult(changed=[ChangedFile(written, FoundFile(written, 0.0))], vanished=[removed])
    waiting.note(judged, "")
    assert len(waiting.add_readable(news, 1.0).changed) == 1, "nothing of ours"
    locked = dict.fromkeys(locked, True)
    waiting._can_be_read = locked.get
    assert [change.now.path for change in waiting.add_readable(PollResult(), 2.0).changed] == [left.path]


async def test_many_have_their_turn_one_after_the_other() -> None:
    files = [FileIdentity(Path(f"/gpfs/{number}.mrc"), 9, 9) for number in range(50)]
    asked: list[Path] = []

    def refuse(path: Path) -> bool:
        asked.append(path)
        return False

    waiting = Unreadable(files, can_be_read=refuse)
    waiting.add_readable(PollResult(), 1.0)
    assert len(asked) < len(files)
    waiting.add_readable(PollResult(), 2.0)
    assert set(asked) == {file.path for file in files}


def test_trying(tmp_path: Path) -> None:
    movie = write_small_mrc(tmp_path / "a.mrc")
    assert try_to_read(movie) is True
    assert try_to_read(tmp_path / "gone.mrc") is None
    assert try_to_read(tmp_path) is False
