"""Work that is on disk already is taken over, and only that very work."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import structlog.testing

from daemon.config.acquisition import AcquisitionSettings, GainSettings
from daemon.domain.states import MovieState
from daemon.engine.controls import Controls
from daemon.formats.mrc_writer import write_mrc
from daemon.messages import commands
from daemon.sessions.records import read_record
from daemon.store import metrics
from tests.engine.fakes import ALL_DONE, FAKES, SHARE, Draw, FakeParams, FakeStage
from tests.engine.workshop import MovieMeter, Workshop

pytestmark = pytest.mark.anyio

Build = Callable[..., Workshop]


async def test_finished_work_is_adopted_by_the_next_daemon(build: Build, meter: MovieMeter) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a", seed=5)
    await shop.prove(path)
    await shop.process()
    outputs = shop.outputs()
    numbers = await metrics.stage_rows(shop.store, "mark")
    shop.close()
    (shop.folder / "state" / "store.duckdb").unlink()  # a daemon that died before any result was committed

    again = Workshop(shop.folder)
    try:
        await again.open_session()
        await again.prove(path)
        with structlog.testing.capture_logs() as lines:
            await again.process()
        assert await again.states_of(path) == (MovieState.DONE, ALL_DONE)
        assert [line["stages"] for line in lines if "taken over" in line["event"]] == [sorted(ALL_DONE)]
        assert again.script.runs == []
        assert meter.reads == {"a.mrc": 1}
        assert await metrics.stage_rows(again.store, "mark") == numbers
        assert again.outputs() == outputs
        assert (await again.tasks_of(path))["add"].attempts == 0
        kinds = await again.event_kinds()
        assert kinds.count("completed marking") == 1
    finally:
        again.close()


class Corrected(FAKES[0]):  # type: ignore[misc,valid-type]
    """A stage that uses the gain."""

    acquisition = ("gain",)


@pytest.mark.parametrize("is_new", [False, True])
async def test_what_another_gain_made_is_not_adopted(tmp_path: Path, is_new: bool) -> None:
    gain = tmp_path / "gpfs" / "session1" / "gains" / "gain.mrc"
    gain.parent.mkdir(parents=True)
    write_mrc(gain, np.ones((8, 10), np.float32), pixel_size_ang=1.0)
    stages: tuple[type[FakeStage], ...] = (Corrected, *FAKES[1:])
    told = AcquisitionSettings(gain=GainSettings(path=gain))
    first = Workshop(tmp_path, stages=stages)
    await first.open_session(told)
    path = first.write_movie("a", seed=5)
    await first.prove(path)
    await first.process()
    first.close()
    record = read_record(first.session_home, Corrected.name, "a")
    assert record is not None
    assert record.references["gain"]["size_bytes"] == gain.stat().st_size
    (tmp_path / "state" / "store.duckdb").unlink()
    if is_new:
        write_mrc(gain, np.full((8, 10), 2.0, np.float32), pixel_size_ang=1.0)
        os.utime(gain, ns=(1, 1))
    second = Workshop(tmp_path, stages=stages)
    try:
        await second.open_session(told)
        await second.prove(path)
        await second.process()
        assert (Corrected.name in {stage for stage, _ in second.script.runs}) is is_new
    finally:
        second.close()


class NewDraw(Draw):
    """The next version of a stage."""

    version = 2


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ("version", {"draw"}),
        ("parameters", {"add", "divide", "mark", "draw"}),
        ("output", {"divide", "mark"}),
        ("record", {"divide", "mark"}),
        ("movie", {"add", "divide", "mark", "draw"}),
    ],
)
async def test_other_work_is_not_adopted(tmp_path: Path, change: str, again: set[str]) -> None:
    first = Workshop(tmp_path)
    await first.open_session()
    path = first.write_movie("a", seed=5)
    await first.prove(path)
    await first.process()
    first.close()
    (tmp_path / "state" / "store.duckdb").unlink()
    share = SHARE.path(first.session_home, "a")
    if change == "output":
        share.write_bytes(share.read_bytes()[:-1])
    if change == "record":
        (first.session_home / ".elcano" / "tasks" / "divide" / "a.json").write_text("{")
    if change == "movie":
        first.write_movie("a", seed=6)
        os.utime(path, ns=(1, 1))
    stages: tuple[type[FakeStage], ...] = (*FAKES[:3], NewDraw) if change == "version" else FAKES
    params = FakeParams(factor=2.0) if change == "parameters" else None
    second = Workshop(tmp_path, stages=stages, params=params)
    try:
        await second.open_session()
        await second.prove(path)
        await second.process()
        assert await second.states_of(path) == (MovieState.DONE, ALL_DONE)
        assert {stage for stage, _ in second.script.runs} == again
    finally:
        second.close()


async def test_who_reads_the_gain_again_has_the_movie_looked_at(build: Build) -> None:
    shop = build(stages=(Corrected, *FAKES[1:]))
    await shop.open_session()
    path = shop.write_movie("x")
    looked: list[tuple[str, Path]] = []

    async def look(session_id: str, movie: Path) -> None:
        looked.append((session_id, movie))

    shop.engine.recorder.on_gain_read_again = look
    await shop.prove(path)
    await shop.process()
    assert looked == [], "it was placed before it was processed"
    command = commands.StageReprocess(stage="add", values={})
    await Controls(shop.engine).redoing.reprocess(command, "ada")
    await shop.process()
    assert looked == [(shop.session_id, path)]
