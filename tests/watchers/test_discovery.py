"""The discoverer with real files, simulated time and a sink that keeps everything."""

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from daemon.domain.movie import FileIdentity
from daemon.formats.structure import MovieStructure, inspect_structure
from daemon.watchers.directory import DirectoryPoller, PollSettings
from daemon.watchers.discovery import Discoverer, WatchSettings
from daemon.watchers.found import ChangedFile, FoundFile, KnownFile, PollResult, SettledMovie
from tests.watchers.stand_ins import RecordingSink, StepClock, live, run_looks, write_small_mrc

pytestmark = pytest.mark.anyio

HUNG_S = 0.5
"""After which what does not answer is given up here: far longer than what does answer takes, on any machine."""


def discover(
    root: Path, clock: StepClock, sink: RecordingSink, *, expected: int | None = 2, known: list[KnownFile] | None = None
) -> Discoverer:
    poller = DirectoryPoller(root, known=known or [])
    return Discoverer(poller, sink, expected_frames=lambda _: expected, clock=clock)


def identity(path: Path) -> FileIdentity:
    status = path.stat()
    return FileIdentity(path, status.st_size, status.st_mtime_ns)


@pytest.fixture
def clock() -> StepClock:
    return StepClock()


@pytest.fixture
def sink(clock: StepClock) -> RecordingSink:
    return RecordingSink(clock)


async def test_a_movie_is_announced_then_completed_with_its_final_identity(
    tmp_path: Path, clock: StepClock, sink: RecordingSink
) -> None:
    movie = write_small_mrc(tmp_path / "frames" / "a.mrc")
    discoverer = discover(tmp_path, clock, sink)
    await live(discoverer, clock, 7.0)
    assert sink.log == [("seen", movie), ("complete", movie)]
    assert discoverer.is_settled
    assert sink.movies[movie] == SettledMovie(
        identity(movie), inspect_structure(movie), 5.0, "whole and unchanged for 5 s: all 2 frames are there"
    )


async def test_a_folder_that_cannot_be_listed_stands_as_a_problem_until_it_can(
    tmp_path: Path, clock: StepClock, sink: RecordingSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    listdir = os.listdir

    def list_folder(folder: str) -> list[str]:
        if folder == str(closed):
            raise PermissionError(13, "Permission denied")
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", list_folder)
    discoverer = discover(tmp_path, clock, sink)
    for _ in range(2):  # told once, but it stands
        await discoverer.scan()
        assert discoverer.problems == {closed: "cannot be watched: Permission denied"}
    assert discoverer.is_settled
    monkeypatch.undo()
    await discoverer.scan()
    assert discoverer.problems == {}


async def test_a_movie_whose_frame_count_nobody_knows_waits_longer(
    tmp_path: Path, clock: StepClock, sink: RecordingSink
) -> None:
    movie = write_small_mrc(tmp_path / "a.mrc")
    discoverer = discover(tmp_path, clock, sink, expected=None)
    assert not discoverer.is_settled, "nothing has been looked at"
    await live(discoverer, clock, 14.0)
    (waiting,) = discoverer.waiting()
    assert waiting.path == movie
    assert "not known yet" in waiting.reason
    await live(discoverer, clock, 3.0)
    assert sink.paths("complete") == [movie]


async def test_garbage_never_stops_a_movie_and_ends_with_a_reason(
    tmp_path: Path, clock: StepClock, sink: RecordingSink
) -> None:
    (tmp_path / "empty.mrc").touch()
    (tmp_path / "noise.eer").write_bytes(os.urandom(5000))
    (tmp_path / "text.tif").write_text("Dear camera, where are the frames?")
    (tmp_path / "zeros.tiff").write_bytes(bytes(10_000))
    (tmp_path / "notes.txt").write_text("grid 3 is the good one")
    whole = write_small_mrc(tmp_path / "whole.mrc", frames=4)
    (tmp_path / "cut.mrc").write_bytes(whole.read_bytes()[:-1])
    write_small_mrc(tmp_path / "image.mrc", frames=1)
    discoverer = discover(tmp_path, clock, sink, expected=None)
    await live(discoverer, clock, 20.0)
    assert sink.paths("complete") == [whole]
    assert sink.passed_over == {
        tmp_path / "notes.txt": "not a movie: .txt suffix",
        tmp_path / "image.mrc": "a single image, not a movie: 1 frame(s)",
    }
    await live(discoverer, clock, 1900.0, step_s=20.0, poll_s=20.0)
    assert {path.name for path in sink.refused} == {"empty.mrc", "noise.eer", "text.tif", "zeros.tiff", "cut.mrc"}
    assert all("Nothing changed for 30 min" in reason for reason in sink.refused.values())
    assert not any(str(tmp_path) in reason for reason in sink.refused.values())
    assert discoverer.is_settled


async def test_a_reader_that_fails_costs_one_movie_only(tmp_path: Path, clock: StepClock, sink: RecordingSink) -> None:
    bad, good = write_small_mrc(tmp_path / "bad.mrc"), write_small_mrc(tmp_path / "good.mrc")

    def inspect(path: Path) -> MovieStructure:
        if path == bad:
            raise ZeroDivisionError("a fault in a reader")
        return inspect_structure(path)

    discoverer = Discoverer(DirectoryPoller(tmp_path), sink, expected_frames=lambda _: 2, clock=clock, inspect=inspect)
    await live(discoverer, clock, 8.0)
    assert sink.paths("complete") == [good]
    await live(discoverer, clock, 1900.0, step_s=20.0, poll_s=20.0)
    assert "ZeroDivisionError: a fault in a reader" in sink.refused[bad]


async def test_five_thousand_at_once(tmp_path: Path, clock: StepClock, sink: RecordingSink) -> None:
    content = write_small_mrc(tmp_path / "template" / "t.mrc").read_bytes()
    for index in range(4999):
        folder = tmp_path / f"GridSquare_{index % 20}"
        folder.mkdir(exist_ok=True)
        (folder / f"{index}.mrc").write_bytes(content)
    discoverer = discover(tmp_path, clock, sink)
    await live(discoverer, clock, 6.0, step_s=5.0)
    assert len(sink.paths("seen")) == 5000
    assert len(set(sink.paths("complete"))) == len(sink.paths("complete")) == 5000
    assert discoverer.is_settled


class TestChanges:
    async def test_a_movie_written_again_after_completion_is_judged_again(
        self, tmp_path: Path, clock: StepClock, sink: RecordingSink
    ) -> None:
        movie = write_small_mrc(tmp_path / "a.mrc")
        discoverer = discover(tmp_path, clock, sink)
        await live(discoverer, clock, 8.0)
        before = identity(movie)
        write_small_mrc(movie, edge_px=16)
        await live(discoverer, clock, 8.0)
        assert sink.log == [("seen", movie), ("complete", movie), ("rewritten", movie), ("complete", movie)]
        assert sink.changes[0].before == before
        assert sink.movies[movie].identity == identity(movie)

    async def test_a_writer_that_only_paused_is_noticed_without_the_slow_sweep(
        self, tmp_path: Path, clock: StepClock, sink: RecordingSink
    ) -> None:
        movie = write_small_mrc(tmp_path / "a.mrc")
        poller = DirectoryPoller(tmp_path, settings=PollSettings(sweep_files_per_poll=0))
        discoverer = Discoverer(poller, sink, expected_frames=lambda _: None, clock=clock)
        await live(discoverer, clock, 20.0)
        assert sink.paths("complete") == [movie]
        write_small_mrc(movie, frames=3)
        await live(discoverer, clock, 3.0)
        assert sink.paths("rewritten") == [movie]

    async def test_a_growing_candidate_is_not_called_rewritten(
        self, tmp_path: Path, clock: StepClock, sink: RecordingSink
    ) -> None:
        movie = write_small_mrc(tmp_path / "a.mrc", frames=4)
        content = movie.read_bytes()
        movie.write_bytes(content[:1100])
        discoverer = discover(tmp_path, clock, sink, expected=4)
        await live(discoverer, clock, 30.0)
        movie.write_bytes(content)
        await live(discoverer, clock, 9.0)
        assert sink.log == [("seen", movie), ("complete", movie)]

    async def test_a_copy_that_grows_while_the_folder_is_polled_is_not_called_rewritten(
        self, tmp_path: Path, clock: StepClock, sink: RecordingSink, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        discoverer, lstat = discover(tmp_path, clock, sink, expected=4), os.lstat
        await discoverer.scan()  # from here on the files are compared in turn, those that are met meanwhile as well
        movie = write_small_mrc(tmp_path / "a.mrc", frames=4)
        content = movie.read_bytes()
        movie.write_bytes(content[:1100])

        def grow_after(path: str) -> os.stat_result:
            status = lstat(path)
            if path == str(movie):
                movie.write_bytes(content)
            return status

        monkeypatch.setattr(os, "lstat", grow_after)
        await live(discoverer, clock, 9.0)
        assert sink.log == [("seen", movie), ("complete", movie)]

    def test_what_is_judged_during_a_poll_is_not_compared_with_what_it_was_before(self, tmp_path: Path) -> None:
        grown, other, readable = (FileIdentity(tmp_path / name, 100, 1) for name in ("a.mrc", "b.mrc", "c.mrc"))
        result = PollResult(
            changed=[
                ChangedFile(FileIdentity(grown.path, 50, 0), FoundFile(grown, 0.0)),
                ChangedFile(FileIdentity(other.path, 50, 0), FoundFile(other, 0.0)),
                ChangedFile(readable, FoundFile(readable, 0.0)),
            ]
        )
        assert [change.now.identity for change in result.rewrites([grown, readable])] == [other, readable]

    async def test_a_candidate_that_vanishes(self, tmp_path: Path, clock: StepClock, sink: RecordingSink) -> None:
        movie = write_small_mrc(tmp_path / "a.mrc")
        discoverer = discover(tmp_path, clock, sink)
        await discoverer.scan()
        movie.unlink()
        clock.now_s += 5.0
        await run_looks(discoverer)
        assert sink.paths("vanished") == [], "only the poller can tell a deletion from a mount that went away"
        await discoverer.scan()
        assert sink.log == [("seen", movie), ("vanished", movie)]
        assert discoverer.is_settled

    async def test_a_movie_sent_back_is_judged_anew(
        self, tmp_path: Path, clock: StepClock, sink: RecordingSink
    ) -> None:
        movie = write_small_mrc(tmp_path / "a.mrc")
        discoverer = discover(tmp_path, clock, sink)
        await live(discoverer, clock, 8.0)
        discoverer.reconsider(identity(movie))
        assert not discoverer.is_settled
        await live(discoverer, clock, 8.0)
        assert sink.paths("complete") == [movie, movie]

    async def test_after_a_restart_only_what_is_unjudged_or_different_is_judged(
        self, tmp_path: Path, clock: StepClock, sink: RecordingSink
    ) -> None:
        done, waiting, changed, new = (write_small_mrc(tmp_path / f"{name}.mrc") for name in "abcd")
        known = [
            KnownFile(identity(done), settled=True),
            KnownFile(identity(waiting), settled=False),
            KnownFile(FileIdentity(changed, 17, 17), settled=True),
            KnownFile(FileIdentity(tmp_path / "gone.mrc", 17, 17), settled=True),
        ]
        discoverer = discover(tmp_path, clock, sink, known=known)
        await live(discoverer, clock, 8.0)
        assert sink.paths("seen") == [new]
        assert sink.paths("rewritten") == [changed]
        assert sink.paths("vanished") == [tmp_path / "gone.mrc"]
        assert set(sink.paths("complete")) == {waiting, changed, new}


class TestHungFileSystem:
    @pytest.fixture
    def release(self) -> Iterator[threading.Event]:
        event = threading.Event()
        yield event
        event.set()

    async def test_a_read_that_never_returns_delays_only_itself(
        self, tmp_path: Path, clock: StepClock, sink: RecordingSink, release: threading.Event
    ) -> None:
        hung = [write_small_mrc(tmp_path / f"a{index}.mrc") for index in range(4)]
        others = [write_small_mrc(tmp_path / f"b{index}.mrc") for index in range(30)]

        def inspect(path: Path) -> MovieStructure:
            if path in hung:
                release.wait()
            return inspect_structure(path)

        discoverer = Discoverer(
            DirectoryPoller(tmp_path), sink, expected_frames=lambda _: 2, clock=clock, inspect=inspect,
            settings=WatchSettings(look_timeout_s=HUNG_S),
        )  # fmt: skip
        await live(discoverer, clock, 8.0)
        assert set(sink.paths("complete")) == set(others)
        assert set(sink.paths("troubled")) == set(hung)
        assert len(sink.paths("troubled")) == len(hung), "told once, and not asked again while the first read hangs"
        assert {waiting.path for waiting in discoverer.waiting()} == set(hung)

        release.set()
        with anyio.fail_after(60):
            while len(sink.paths("complete")) < len(hung) + len(others):
                await live(discoverer, clock, 2.0)
                await anyio.lowlevel.checkpoint()
        assert set(sink.paths("recovered")) == set(hung)

    async def test_the_trouble_of_a_hung_file_ends_when_the_file_is_removed(
        self, tmp_path: Path, clock: StepClock, sink: RecordingSink, release: threading.Event
    ) -> None:
        def inspect(path: Path) -> MovieStructure:
            release.wait()
            return inspect_structure(path)

        movie = write_small_mrc(tmp_path / "a.mrc")
        discoverer = Discoverer(
            DirectoryPoller(tmp_path), sink, expected_frames=lambda _: 2, clock=clock, inspect=inspect,
            settings=WatchSettings(look_timeout_s=HUNG_S),
        )  # fmt: skip
        await live(discoverer, clock, 8.0)
        movie.unlink()
        await live(discoverer, clock, 2.0)
        assert sink.log == [(what, movie) for what in ("seen", "troubled", "vanished", "recovered")]
        assert discoverer.is_settled

    async def test_no_more_threads_are_risked_than_agreed(
        self, tmp_path: Path, clock: StepClock, sink: RecordingSink, release: threading.Event
    ) -> None:
        entered: list[Path] = []

        def inspect(path: Path) -> MovieStructure:
            entered.append(path)
            release.wait()
            return inspect_structure(path)

        for index in range(12):
            write_small_mrc(tmp_path / f"{index}.mrc")
        discoverer = Discoverer(
            DirectoryPoller(tmp_path), sink, expected_frames=lambda _: 2, clock=clock, inspect=inspect,
            settings=WatchSettings(look_timeout_s=HUNG_S, most_hung=3, looks_at_once=2),
        )  # fmt: skip
        await live(discoverer, clock, 20.0)
        assert 3 <= len(entered) <= 4
        assert len(discoverer.waiting()) == 12

    async def test_a_directory_that_does_not_answer_is_told_and_waited_for(
        self, tmp_path: Path, clock: StepClock, sink: RecordingSink, release: threading.Event
    ) -> None:
        movie = write_small_mrc(tmp_path / "a.mrc")

        class HangingPoller(DirectoryPoller):
            def suspect(self, path: Path) -> bool:
                release.wait()
                return super().suspect(path)

        discoverer = Discoverer(
            HangingPoller(tmp_path), sink, expected_frames=lambda _: 2, clock=clock,
            settings=WatchSettings(slow_poll_s=HUNG_S),
        )  # fmt: skip
        assert discoverer.hint(tmp_path / "a.mrc")
        async with anyio.create_task_group() as group:
            group.start_soon(discoverer.scan)
            with anyio.fail_after(60):
                while not sink.problems:
                    await anyio.lowlevel.checkpoint()
            release.set()
        assert "has not answered" in sink.problems[0].what
        assert sink.log == [("troubled", tmp_path), ("recovered", tmp_path), ("seen", movie)]


async def test_a_sink_that_takes_its_time_loses_nothing(tmp_path: Path, clock: StepClock, sink: RecordingSink) -> None:
    sink.gate = anyio.Event()
    first = write_small_mrc(tmp_path / "a.mrc")
    discoverer = discover(tmp_path, clock, sink)
    async with anyio.create_task_group() as group:
        group.start_soon(discoverer.scan)
        await anyio.wait_all_tasks_blocked()
        assert not discoverer.waiting(), "a movie is a candidate only once the ledger has it"
        second = write_small_mrc(tmp_path / "b.mrc")
        sink.gate.set()
    await live(discoverer, clock, 8.0)
    assert set(sink.paths("complete")) == {first, second}


async def test_an_error_of_the_sink_ends_the_watch(tmp_path: Path) -> None:
    class FullLedger(RecordingSink):
        async def seen(self, files: object) -> None:
            raise OSError(28, "No space left on device")

    write_small_mrc(tmp_path / "a.mrc")
    discoverer = Discoverer(DirectoryPoller(tmp_path), FullLedger(), expected_frames=lambda _: 2)
    with anyio.fail_after(60), pytest.raises(ExceptionGroup) as caught:
        await discoverer.run()
    assert caught.group_contains(OSError, match="No space left")


async def test_hints_from_elsewhere_are_checked(tmp_path: Path, clock: StepClock, sink: RecordingSink) -> None:
    root = tmp_path / "raw"
    root.mkdir()
    poller = DirectoryPoller(root, settings=PollSettings(hot_s=0.0, rescan_s=1e9))
    discoverer = Discoverer(poller, sink, expected_frames=lambda _: 2, clock=clock)
    await discoverer.scan()
    stale_ns = root.stat().st_mtime_ns
    movie = write_small_mrc(root / "a.mrc")
    os.utime(root, ns=(stale_ns, stale_ns))
    await discoverer.scan()
    assert not sink.log
    assert not discoverer.hint(root / ".." / "other" / "a.mrc")
    assert not discoverer.hint(Path("/etc/passwd"))
    assert discoverer.hint(movie)
    await discoverer.scan()
    assert sink.log == [("seen", movie)]


async def test_a_file_that_is_written_for_ever_is_looked_at_ever_less_and_said(
    tmp_path: Path, clock: StepClock, sink: RecordingSink
) -> None:
    movie = write_small_mrc(tmp_path / "a.mrc")
    discoverer = Discoverer(DirectoryPoller(tmp_path), sink, expected_frames=lambda _: 2, clock=clock)
    await discoverer.scan()
    looks: list[float] = []
    async with anyio.create_task_group() as group:
        for second in range(7200):
            clock.now_s += 1
            if not discoverer.start_looks(group):
                continue
            looks.append(second)
            with movie.open("ab") as file:
                file.write(b"more")
            while discoverer._in_flight:
                await anyio.lowlevel.checkpoint()
    early, late = (sum(start <= at < start + 600 for at in looks) for start in (0, 6600))
    assert early > 150
    assert late <= 25
    (waiting,) = discoverer.waiting()
    assert re.search(r"still being written, after 1(19|20|18) min of writing", waiting.reason)
    assert not sink.paths("complete")


async def test_a_look_through_lists_folders_that_no_time_and_no_event_speak_for(
    tmp_path: Path, clock: StepClock, sink: RecordingSink
) -> None:
    folder = tmp_path / "raw" / "frames"
    folder.mkdir(parents=True)
    poller = DirectoryPoller(folder.parent, settings=PollSettings(hot_s=0.0, rescan_s=1e9))
    discoverer = Discoverer(poller, sink, expected_frames=lambda _: 2, clock=clock)
    await discoverer.scan()
    stale_ns = folder.stat().st_mtime_ns
    movie = write_small_mrc(folder / "a.mrc")
    os.utime(folder, ns=(stale_ns, stale_ns))
    await discoverer.scan()
    assert not sink.log
    looked = discoverer.look_through()
    assert not looked.is_set()
    await discoverer.scan()
    assert looked.is_set()
    assert sink.log == [("seen", movie)]


async def test_what_the_last_poll_could_not_see_is_told_from_what_is_wrong_for_good(
    tmp_path: Path, clock: StepClock, sink: RecordingSink
) -> None:
    root = tmp_path / "raw"
    root.mkdir()
    (root / "dangling.mrc").symlink_to(tmp_path / "nowhere")
    discoverer = Discoverer(DirectoryPoller(root), sink, expected_frames=lambda _: 2, clock=clock)
    await discoverer.scan()
    assert list(discoverer.problems) == [root / "dangling.mrc"]
    assert discoverer.unseen == {}
    away = root.rename(tmp_path / "away")
    for _ in range(2):  # it is told once, and unseen for as long as it lasts
        await discoverer.scan()
        assert discoverer.unseen == {root: "cannot be watched: No such file or directory"}
    away.rename(root)
    await discoverer.scan()
    assert discoverer.unseen == {}


@pytest.mark.parametrize("kernel_hints", [True, False])
async def test_the_loops_run_by_themselves(tmp_path: Path, kernel_hints: bool) -> None:
    """Real time, impatient settings: from the first file to the last, with and without kernel events."""
    from daemon.watchers.settle import SettleRule

    sink = RecordingSink()
    discoverer = Discoverer(
        DirectoryPoller(tmp_path), sink, expected_frames=lambda _: 2,
        rule=SettleRule(min_quiet_s=0.02, look_every_s=0.01),
        settings=WatchSettings(poll_min_s=0.02, hint_gap_s=0.01, kernel_hints=kernel_hints),
    )  # fmt: skip
    early = write_small_mrc(tmp_path / "early.mrc")
    async with anyio.create_task_group() as group:
        group.start_soon(discoverer.run)
        with anyio.fail_after(60):
            while not discoverer.is_settled:
                await anyio.lowlevel.checkpoint()
            assert sink.paths("complete") == [early]
            late = write_small_mrc(tmp_path / "folder" / "late.mrc")
            while sink.paths("complete") != [early, late]:
                await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert sink.paths("seen") == [early, late]
