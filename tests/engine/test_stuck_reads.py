"""A file system that hangs: a read that never returns occupies its reader, and nothing else; a write is told."""

import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from daemon.config.acquisition import AcquisitionSettings, GainSettings
from daemon.domain.states import MovieState, TaskState
from daemon.engine.inputs import CameraCache
from daemon.engine.threads import FileThreads, Lifeline
from daemon.engine.writes import _remove as remove
from daemon.formats.atomic import write_atomically
from daemon.formats.gain import read_gain
from daemon.formats.movie import read_movie
from daemon.formats.mrc_writer import write_mrc
from daemon.pipeline.context import MovieItem, StageContext
from daemon.pipeline.result import StageResult
from daemon.sessions.records import read_record
from daemon.store import tasks
from tests.engine.fakes import ALL_DONE, Add, FakeParams
from tests.engine.workshop import Workshop

pytestmark = pytest.mark.anyio

Build = Callable[..., Workshop]

LONG_TYX = (5, 8, 10)


class HangingMount:
    """Reads of one movie do not return until it is well again; their time limit is short, all others' long."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.is_well = threading.Event()
        self.path = Path()
        self.size_bytes = -1
        patch.setattr("daemon.engine.inputs.read_movie", self._read)
        patch.setattr("daemon.engine.workplace.read_limit_s", self._limit_s)

    def hang(self, path: Path) -> None:
        self.path, self.size_bytes = path, path.stat().st_size

    def _read(self, header: Any, **more: Any) -> Any:
        if header.path == self.path:
            assert self.is_well.wait(60), "nobody mended the mount"
        return read_movie(header, **more)

    def _limit_s(self, size_bytes: int) -> float:
        return 0.05 if size_bytes == self.size_bytes else 600.0


@pytest.fixture
def mount(monkeypatch: pytest.MonkeyPatch) -> HangingMount:
    return HangingMount(monkeypatch)


async def until(shop: Workshop, condition: Callable[[], bool]) -> None:
    with anyio.fail_after(60):
        while not condition():
            await shop.scheduler.wait_for_change(shop.scheduler.changes)


async def test_others_go_on_and_the_movie_is_read_when_the_mount_is_well(build: Build, mount: HangingMount) -> None:
    shop = build(readers=2)
    await shop.open_session()
    stuck, *others = shop.write_movie("stuck", shape_tyx=LONG_TYX), shop.write_movie("b"), shop.write_movie("c")
    mount.hang(stuck)
    await shop.prove(stuck, *others)
    try:
        async with shop.running():
            await until(shop, lambda: shop.scheduler.statistics() == _one_delayed(shop))
            for path in others:
                assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)
            assert shop.engine.readers.stuck == {str(stuck)}
            assert shop.engine.troubles.lasting() == [], "one reader is left"
            for _ in range(3):  # it asks again, and does not send another reader after the first
                shop.clock.now_s += 61
                before = shop.scheduler.statistics().visited
                shop.scheduler.look_again()
                await until(shop, lambda visited=before: shop.scheduler.statistics().visited > visited)  # type: ignore[misc]
            assert (await shop.tasks_of(stuck))["add"].attempts == 1
            mount.is_well.set()
            await shop.until_idle()
    finally:
        mount.is_well.set()
    assert await shop.states_of(stuck) == (MovieState.DONE, ALL_DONE)
    attempts = await tasks.attempts(shop.store, (await shop.tasks_of(stuck))["add"].task_id)
    assert [(row.outcome, row.error_kind) for row in attempts] == [("failed", "read_stuck"), ("completed", "")]


def _one_delayed(shop: Workshop) -> Any:
    now = shop.scheduler.statistics()
    return type(now)(**{**vars(now), "waiting": 0, "delayed": 1, "in_flight": 0})


async def test_when_no_reader_is_left_it_is_told_until_one_comes_back(build: Build, mount: HangingMount) -> None:
    shop = build(readers=1)
    await shop.open_session()
    stuck, other = shop.write_movie("stuck", shape_tyx=LONG_TYX), shop.write_movie("b")
    mount.hang(stuck)
    await shop.prove(stuck, other)
    try:
        async with shop.running():
            await until(shop, lambda: bool(shop.engine.troubles.lasting()))
            trouble = shop.engine.troubles.lasting()[0]
            assert f"none of 1 readers has come back from {stuck}" in trouble.message
            assert "check the mount" in trouble.hint
            mount.is_well.set()
            await shop.until_idle()
    finally:
        mount.is_well.set()
    assert shop.engine.troubles.lasting() == []
    for path in (stuck, other):
        assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)


class Corrected(Add):
    """Uses the gain."""

    acquisition = ("gain",)

    def run(self, item: MovieItem, params: FakeParams, context: StageContext) -> StageResult:
        assert context.read.gain_yx() is not None
        return super().run(item, params, context)


async def test_a_gain_that_is_not_read_holds_up_its_movies_and_no_thread_that_others_need(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_well = threading.Event()

    def read_late(*arguments: Any, **more: Any) -> Any:
        assert is_well.wait(60), "nobody mended the mount"
        return read_gain(*arguments, **more)

    monkeypatch.setattr("daemon.engine.inputs.read_gain", read_late)
    monkeypatch.setattr("daemon.engine.engine.CameraCache", partial(CameraCache, limit_s=0.2))
    shop = build(stages=(Corrected,))
    gain = shop.raw / "gain.mrc"
    write_mrc(gain, np.ones((8, 10), np.float32), pixel_size_ang=1.0)
    await shop.open_session(AcquisitionSettings(gain=GainSettings(path=gain)))
    paths = [shop.write_movie(name) for name in ("a", "b")]
    await shop.prove(*paths)
    try:
        async with shop.running():
            await until(shop, lambda: shop.scheduler.statistics().delayed == len(paths))
            for path in paths:
                task = (await shop.tasks_of(path))["add"]
                assert (task.state, task.error_kind) == (TaskState.PENDING, "read_stuck")
                assert str(gain) in task.reason
            assert shop.script.runs == []
            assert shop.engine.readers.stuck == frozenset()
            assert shop.engine.compute.submit(lambda: "free", priority=0).result(60) == "free"
            is_well.set()
            await shop.until_idle()
    finally:
        is_well.set()
    for path in paths:
        assert (await shop.movie(path)).state is MovieState.DONE


async def test_a_gain_that_cannot_be_looked_at_is_recorded_as_unknown(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_well = threading.Event()
    monkeypatch.setattr("daemon.engine.recorder._LOOK_LIMIT_S", 0.05)
    monkeypatch.setattr("daemon.engine.recorder.identify_reference", lambda _: is_well.wait(60))
    shop = build(stages=(Corrected,))
    gain = shop.raw / "gain.mrc"
    write_mrc(gain, np.ones((8, 10), np.float32), pixel_size_ang=1.0)
    await shop.open_session(AcquisitionSettings(gain=GainSettings(path=gain)))
    path = shop.write_movie("a")
    await shop.prove(path)
    try:
        await shop.process()
    finally:
        is_well.set()
    assert (await shop.movie(path)).state is MovieState.DONE
    record = read_record(shop.session_home, "add", "a")
    assert record is not None
    assert record.references == {"gain": {"path": str(gain), "size_bytes": None, "mtime_ns": None}}


async def test_a_write_that_does_not_return_is_told_until_it_does(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.engine.writes._PATIENCE_S", 0.5)
    is_well = threading.Event()

    def hang(path: Path, encode: Callable[[Path], None], **more: Any) -> Any:
        if path.name == "a_sum.mrc":
            assert is_well.wait(60), "nobody mended the mount"
        return write_atomically(path, encode, **more)

    monkeypatch.setattr("daemon.engine.context.write_atomically", hang)
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    await shop.prove(path)
    try:
        async with shop.running():
            with anyio.fail_after(60):
                while not shop.engine.troubles.lasting():
                    await anyio.lowlevel.checkpoint()
            (trouble,) = shop.engine.troubles.lasting()
            assert "add files of a has not ended" in trouble.message
            assert "check the mount" in trouble.hint
            is_well.set()
            await shop.until_idle()
    finally:
        is_well.set()
    assert shop.engine.troubles.lasting() == []
    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)


async def test_what_a_failed_attempt_wrote_and_does_not_go_is_told_with_its_path_and_others_go_on(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.engine.writes._PATIENCE_S", 0.5)
    is_well = threading.Event()

    def remove_late(paths: Sequence[Path]) -> None:
        assert is_well.wait(60), "nobody mended the mount"
        remove(paths)

    is_written = threading.Event()

    def tell(path: Path, encode: Callable[[Path], None], **more: Any) -> Any:
        written = write_atomically(path, encode, **more)
        is_written.set()
        return written

    def fail_once_written(_: StageContext) -> None:
        assert is_written.wait(60), "the sum was never written"  # a write that has not begun is taken back at once
        raise ValueError("no signal")

    monkeypatch.setattr("daemon.engine.writes._remove", remove_late)
    monkeypatch.setattr("daemon.engine.context.write_atomically", tell)
    shop = build()
    shop.script.acts["add", "a"] = fail_once_written
    await shop.open_session()
    stuck, other = shop.write_movie("a"), shop.write_movie("b")
    await shop.prove(stuck)
    left = shop.session_home / "sums" / "a_sum.mrc"
    try:
        async with shop.running():
            with anyio.fail_after(60):
                while not shop.engine.troubles.lasting():
                    await anyio.lowlevel.checkpoint()
            (trouble,) = shop.engine.troubles.lasting()
            assert f"Removing {left} has not ended" in trouble.message
            assert "check the mount" in trouble.hint
            await shop.prove(other)
            with anyio.fail_after(60):
                while (await shop.movie(other)).state is not MovieState.DONE:
                    await anyio.lowlevel.checkpoint()
            assert left.exists()
            is_well.set()
            await shop.until_idle()
    finally:
        is_well.set()
    assert shop.engine.troubles.lasting() == []
    assert not left.exists()


def test_a_sign_of_life_buys_time_and_waiting_for_a_turn_costs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr("daemon.engine.threads.time.monotonic", lambda: now_s[0])
    lifeline = Lifeline(30.0)
    now_s[0] += 1000
    assert lifeline.left_s() == 30
    lifeline.touch()
    now_s[0] += 29
    assert lifeline.left_s() == 1
    lifeline.touch()
    now_s[0] += 29
    assert lifeline.left_s() == 1
    now_s[0] += 2
    assert lifeline.left_s() < 0


async def test_progress_is_a_sign_of_life(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    touched: list[str] = []
    monkeypatch.setattr("daemon.engine.threads.Lifeline.touch", lambda _: touched.append("alive"))
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    seen: list[int] = []

    def act(context: Any) -> None:
        before = len(touched)
        context.progress(1, 2, "halves")
        context.check_cancelled()
        seen.append(len(touched) - before)

    shop.script.acts["divide", "a"] = act
    await shop.prove(path)
    await shop.process()
    assert seen == [2]


def test_a_process_ends_though_a_reader_hangs() -> None:
    program = (
        "import threading; from daemon.engine.threads import FileThreads; threads = FileThreads(2, 'reader'); "
        "threads.submit(threading.Event().wait); threads.shutdown(cancel_futures=True, patience_s=0.01); print('ended')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr


def test_what_waits_is_dropped_at_the_end_and_what_runs_ends() -> None:
    threads = FileThreads(1, "writer")
    gate, began = threading.Event(), threading.Event()

    def work() -> str:
        began.set()
        assert gate.wait(60)
        return "written"

    running = threads.submit(work)
    waiting = threads.submit(lambda: "never")
    assert began.wait(60)
    threads.shutdown(wait=False, cancel_futures=True)
    gate.set()
    assert running.result(60) == "written"
    assert waiting.cancelled()
