"""What a visit makes of writes that fail, movies that do not decode, and inputs that are broken."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.domain.movie import MovieHeader
from daemon.domain.states import MovieState, TaskState
from daemon.errors import DiskFull, FileNotWritten
from daemon.formats.movie import read_movie
from daemon.formats.mrc_writer import write_mrc
from daemon.pipeline.context import MovieItem, StageContext
from daemon.pipeline.result import StageResult
from daemon.pipeline.stage import Resources
from daemon.sessions.records import write_record
from daemon.store import ledger, metrics, sessions, tasks
from tests.engine.fakes import ALL_DONE, FAKES, SUM, Add, FakeMetrics, FakeParams, Hiccup
from tests.engine.workshop import MovieMeter, Workshop, identify

pytestmark = pytest.mark.anyio

Build = Callable[..., Workshop]


class FaultyDisk:
    """Writes of one product fail for a while."""

    def __init__(self, times: int, number: int = errno.EIO) -> None:
        self.left = times
        self.number = number

    def encode(self, path: Path) -> None:
        if self.left:
            self.left -= 1
            raise OSError(self.number, os.strerror(self.number))
        write_mrc(path, np.ones((8, 10), np.float32), pixel_size_ang=1.0)


class AddOnFaultyDisk(Add):
    """Its sum cannot be written at first."""

    disk: FaultyDisk

    def run(self, item: MovieItem, params: FakeParams, context: StageContext) -> StageResult:
        self.script.play(self.name, item, context)
        image_yx = np.ones((8, 10), np.float32)
        context.write(self.produces[0], self.disk.encode, image_yx)
        context.write(self.produces[1], lambda path: write_mrc(path, image_yx, pixel_size_ang=1.0))
        return StageResult(FakeMetrics(1.0, 1))


@pytest.mark.parametrize("times", [1, 9])
async def test_a_write_that_fails_puts_back_what_followed(build: Build, times: int) -> None:
    AddOnFaultyDisk.disk = FaultyDisk(times)
    shop = build(stages=(AddOnFaultyDisk, *FAKES[1:]))
    await shop.open_session()
    path = shop.write_movie("a")
    await shop.prove(path)
    await shop.process()
    state, states = await shop.states_of(path)
    owed = await shop.tasks_of(path)
    first = (await tasks.attempts(shop.store, owed["add"].task_id))[0]
    assert (first.outcome, first.error_kind, first.retryable) == ("failed", "file_not_written", True)
    if times == 1:
        assert (state, states) == (MovieState.DONE, ALL_DONE)
        assert shop.script.count("add", "a") == 2
        # What ran on the sum that never came to disk ran again.
        outcomes = [attempt.error_kind for attempt in await tasks.attempts(shop.store, owed["divide"].task_id)]
        assert outcomes in ([""], ["upstream", ""])
    else:
        assert state is MovieState.FAILED
        assert states["add"] is TaskState.FAILED
        assert set(states.values()) == {TaskState.FAILED, TaskState.SKIPPED}
        assert not [name for name in shop.outputs() if name.endswith(".mrc")]


async def test_a_record_that_cannot_be_written_is_a_failed_write(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    failures = [OSError(errno.EACCES, os.strerror(errno.EACCES))] * 2

    def write(home: Path, record: Any, **more: Any) -> None:
        if failures and record.stage == "mark":
            raise FileNotWritten(home, failures.pop())
        write_record(home, record, **more)

    monkeypatch.setattr("daemon.engine.recorder.write_record", write)
    await shop.prove(path)
    await shop.process()
    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)
    kinds = [a.error_kind for a in await tasks.attempts(shop.store, (await shop.tasks_of(path))["mark"].task_id)]
    assert kinds == ["file_not_written", "file_not_written", ""]


async def test_a_full_disk_uses_up_no_try_and_is_told_once(build: Build) -> None:
    AddOnFaultyDisk.disk = FaultyDisk(7, errno.ENOSPC)
    shop = build(stages=(AddOnFaultyDisk, *FAKES[1:]))
    waits, troubles = hold_disk_waits(shop)
    await shop.open_session()
    paths = [shop.write_movie(name) for name in "abc"]
    await shop.prove(*paths)
    await shop.process()
    for path in paths:
        assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)
        owed = await shop.tasks_of(path)
        kinds = {a.error_kind for a in await tasks.attempts(shop.store, owed["add"].task_id)}
        assert kinds <= {"disk_full", ""}
    assert AddOnFaultyDisk.disk.left == 0
    assert waits[0] == 10
    assert max(waits) > 10, "waits grow while writes go on failing"
    assert all("No space left on device" in messages[0] for messages in troubles)
    assert shop.engine.troubles.lasting() == []
    notifications = await rows(shop, "SELECT severity, kind, message FROM notification WHERE kind = 'disk_full'")
    assert [(row[0], row[1]) for row in notifications] == [("info", "disk_full")]
    assert "room again" in notifications[0][2]


async def test_a_record_without_room_waits_as_well(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = build()
    waits, _ = hold_disk_waits(shop)
    await shop.open_session()
    path = shop.write_movie("a")
    failures = [OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))] * 5

    def write(home: Path, record: Any, **more: Any) -> None:
        if failures and record.stage == "mark":
            raise DiskFull(home, failures.pop())
        write_record(home, record, **more)

    monkeypatch.setattr("daemon.engine.recorder.write_record", write)
    await shop.prove(path)
    await shop.process()
    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)
    assert waits == [10, 20, 40, 80, 160]


def hold_disk_waits(shop: Workshop) -> tuple[list[float], list[list[str]]]:
    """Let waits for room pass at once; returns how long each would have been, and what was told meanwhile."""
    waits: list[float] = []
    troubles: list[list[str]] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        troubles.append([trouble.message for trouble in shop.engine.troubles.lasting()])

    shop.engine.room._sleep = sleep
    return waits, troubles


async def rows(shop: Workshop, sql: str) -> list[tuple[Any, ...]]:
    def read(connection: Any) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
        return found

    return await shop.store.read(read)


async def test_a_movie_truncated_after_its_proof_is_read_again_then_quarantined(
    build: Build, meter: MovieMeter
) -> None:
    shop = build()
    await shop.open_session()
    path, other = shop.write_movie("a"), shop.write_movie("b")
    await shop.prove(path, other)
    with path.open("r+b") as file:
        file.truncate(1300)
    await shop.process()

    assert await shop.states_of(other) == (MovieState.DONE, ALL_DONE)
    movie, owed = await shop.movie(path), await shop.tasks_of(path)
    assert movie.state is MovieState.QUARANTINED
    assert "the file has 1300" in movie.reason
    assert owed["add"].error_kind == "movie_incomplete"
    assert owed["add"].attempts == 3
    assert {owed[stage].state for stage in ("divide", "mark", "draw")} == {TaskState.SKIPPED}
    kinds = await shop.event_kinds()
    assert kinds.count("session.movie.quarantined") == 1
    session_id = movie.session_id
    (said,) = [note for note in await sessions.notifications(shop.store, session_id) if "quarantined" in note.kind]
    assert said.message.startswith(f"{path}: ")
    assert said.message.count(str(path)) == 1
    # The step that failed and its movie are one failure.
    (failure,) = await metrics.failures(shop.store, session_id)
    assert (failure["what"], failure["stage"]) == ("task", "add")
    moves = [(move.from_state, move.to_state) for move in await ledger.history(shop.store, movie.movie_id)]
    assert ("complete", "quarantined") in moves


async def test_a_movie_that_becomes_whole_between_tries_is_done(build: Build) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    whole = path.read_bytes()
    identity_ns = path.stat().st_mtime_ns
    await shop.prove(path)
    path.write_bytes(whole[:-7])
    async with shop.running():
        await shop.until_delayed()
        path.write_bytes(whole)
        os.utime(path, ns=(identity_ns, identity_ns))
        await shop.until_idle()
    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)


async def test_a_movie_that_went_away_is_quarantined_with_the_systems_word(build: Build) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    await shop.prove(path)
    path.unlink()
    await shop.process()
    movie, owed = await shop.movie(path), await shop.tasks_of(path)
    assert movie.state is MovieState.QUARANTINED
    assert "No such file or directory" in movie.reason
    assert (owed["add"].error_kind, owed["add"].attempts) == ("movie_unreadable", 3)


async def test_another_movie_under_the_name_of_one_is_never_computed_in_its_place(build: Build) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    await shop.prove(path)
    identity_ns = path.stat().st_mtime_ns
    shop.write_movie("a", seed=2)
    os.utime(path, ns=(identity_ns + 1, identity_ns + 1))
    await shop.process()
    movie, owed = await shop.movie(path), await shop.tasks_of(path)
    assert movie.state is MovieState.FAILED
    assert "not the file any more that was proven whole" in movie.reason
    assert (owed["add"].error_kind, owed["add"].attempts, shop.script.runs) == ("movie_changed", 3, [])
    assert not list(shop.session_home.rglob("*.mrc"))
    # Watching sees it some time, and so it is a movie again.
    await shop.intake.rewritten(movie.identity, identify(path))
    await shop.intake.complete(identify(path), None, "whole")
    await shop.process()
    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)


async def test_a_reader_that_breaks_costs_the_movie_only(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = build()
    await shop.open_session()
    path, other = shop.write_movie("a"), shop.write_movie("b")

    def read(header: Any, **more: Any) -> Any:
        if header.path == path:
            raise IndexError("off by one")
        return read_movie(header, **more)

    monkeypatch.setattr("daemon.engine.inputs.read_movie", read)
    await shop.prove(path, other)
    await shop.process()
    assert await shop.states_of(other) == (MovieState.DONE, ALL_DONE)
    owed = await shop.tasks_of(path)
    assert owed["add"].error_kind == "internal"
    assert (await shop.movie(path)).state is MovieState.FAILED


async def test_a_damaged_product_is_not_the_movies_fault(build: Build) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    shop.script.fail("divide", "a", Hiccup("later."))
    await shop.prove(path)
    async with shop.running():
        await shop.until_delayed()
        SUM.path(shop.session_home, "a").write_bytes(b"nonsense")
        await shop.until_idle()
    movie, owed = await shop.movie(path), await shop.tasks_of(path)
    assert movie.state is MovieState.FAILED
    assert owed["divide"].error_kind == "product_damaged"
    assert "elcano reprocess STAGE --image NAME" in owed["divide"].hint


class AddOnGpu(Add):
    """Would need more than any device has."""

    def needs(self, movie: MovieHeader, params: FakeParams) -> Resources:
        return replace(super().needs(movie, params), device_bytes=2**40)


async def test_a_movie_too_large_for_the_device_fails_before_it_is_read(build: Build, meter: MovieMeter) -> None:
    shop = build(stages=(AddOnGpu, *FAKES[1:]))
    (await shop.engine.compute.device()).total_bytes = 2**30
    await shop.open_session()
    path = shop.write_movie("a")
    await shop.prove(path)
    await shop.process()
    task = (await shop.tasks_of(path))["add"]
    assert task.error_kind == "out_of_memory"
    assert "on the GPU needs 1024.0 GiB, 1.0 GiB are allowed" in task.reason
    assert meter.reads == {}


async def test_a_movie_too_large_for_the_budget_fails_with_what_to_do(build: Build) -> None:
    shop = build(byte_budget_bytes=4000)
    await shop.open_session()
    small, large = shop.write_movie("small"), shop.write_movie("large", shape_tyx=(50, 20, 20))
    await shop.prove(small, large)
    await shop.process()
    assert (await shop.movie(small)).state is MovieState.DONE
    owed = await shop.tasks_of(large)
    assert owed["add"].error_kind == "out_of_memory"
    assert "byte_budget_gib" in owed["add"].hint
