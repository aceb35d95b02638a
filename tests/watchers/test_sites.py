"""What real sites do to a watched tree: clocks that are wrong, folders renamed under way, servers that hang."""

import os
import threading
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from daemon.domain.states import MovieState
from daemon.watchers.directory import DirectoryPoller
from daemon.watchers.discovery import Discoverer, WatchSettings
from daemon.watchers.found import PollResult
from daemon.watchers.ledger_sink import LedgerSink
from tests.sessions.desk import Desk
from tests.watchers.stand_ins import RecordingSink, StepClock, live, write_small_mrc

pytestmark = pytest.mark.anyio

HOUR_NS = 3600 * 10**9


@pytest.mark.parametrize(
    "off_ns", [5 * HOUR_NS, -5 * HOUR_NS, -(10**6) * HOUR_NS // 4], ids=["ahead", "behind", "1970s"]
)
async def test_the_camera_computers_clock_decides_nothing(tmp_path: Path, off_ns: int) -> None:
    clock = StepClock()
    sink = RecordingSink(clock)
    discoverer = Discoverer(DirectoryPoller(tmp_path), sink, expected_frames=lambda _: 2, clock=clock)
    movie = write_small_mrc(tmp_path / "a.mrc")
    written_ns = movie.stat().st_mtime_ns + off_ns
    os.utime(movie, ns=(written_ns, written_ns))
    await live(discoverer, clock, 4.0)
    assert sink.paths("complete") == [], "a time in the past is no proof of silence"
    os.utime(movie, ns=(written_ns + 1, written_ns + 1))  # the writer goes on
    changed_at_s = clock.now_s
    await live(discoverer, clock, 10.0)
    assert sink.paths("complete") == [movie], "a time in the future is no reason to wait for it"
    assert 5.0 <= sink.completed_at_s[movie] - changed_at_s <= 7.0


async def test_a_folder_renamed_under_way_loses_and_doubles_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    try:
        await desk.open_session()
        clock = StepClock()
        sink = LedgerSink("s", desk.intake)
        discoverer = Discoverer(DirectoryPoller(desk.raw), sink, expected_frames=lambda _: 2, clock=clock)
        old, new = desk.frames / "GridSquare_1", desk.frames / "GridSquare_1_good"
        # Sizes are alike, as a camera's are: only the times tell the movies apart.
        for number in range(3):
            write_small_mrc(old / "Data" / f"{number}.mrc", seed=number)
        await live(discoverer, clock, 8.0)
        before = {movie.image_id for movie in await desk.movies()}
        assert [movie.state for movie in await desk.movies()] == [MovieState.COMPLETE] * 3

        waiting = write_small_mrc(old / "Data" / "3.mrc", seed=3)
        await live(discoverer, clock, 2.0)
        old.rename(new)
        await live(discoverer, clock, 10.0)
        movies = await desk.movies()
        there = [movie for movie in movies if movie.state is MovieState.COMPLETE]
        assert sorted(movie.identity.path for movie in there) == [new / "Data" / f"{n}.mrc" for n in range(4)]
        assert {movie.state for movie in movies if movie.identity.path.is_relative_to(old)} <= {
            MovieState.SUPERSEDED,
            MovieState.VANISHED,
        }
        assert not waiting.exists()
        images = [movie.image_id for movie in there]
        assert len(set(images)) == 4
        assert before <= set(images), "each movie kept its image"
        assert discoverer.is_settled
    finally:
        desk.close()


async def test_a_server_that_hangs_stops_no_other_session(tmp_path: Path) -> None:
    clock = StepClock()
    released = threading.Event()

    class HangingPoller(DirectoryPoller):
        def poll(self, now_s: float, *, everything: bool = False) -> PollResult:
            released.wait(60)
            return super().poll(now_s)

    well = write_small_mrc(tmp_path / "well" / "a.mrc")
    ill = write_small_mrc(tmp_path / "ill" / "a.mrc")
    sinks = RecordingSink(clock), RecordingSink(clock)
    settings = WatchSettings(slow_poll_s=0.01, kernel_hints=False)
    hung = Discoverer(HangingPoller(ill.parent), sinks[0], expected_frames=lambda _: 2, settings=settings, clock=clock)
    sound = Discoverer(DirectoryPoller(well.parent), sinks[1], expected_frames=lambda _: 2, clock=clock)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(hung.scan)
            while not sinks[0].problems:
                await anyio.lowlevel.checkpoint()
            await live(sound, clock, 8.0)
            assert sinks[1].paths("complete") == [well]
            (problem,) = sinks[0].problems
            assert problem.path == ill.parent
            assert "not answered" in problem.what
            assert not hung.is_settled
            released.set()
        assert sinks[0].log == [("troubled", ill.parent), ("recovered", ill.parent), ("seen", ill)]
    finally:
        released.set()
