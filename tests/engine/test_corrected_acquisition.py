"""A corrected acquisition reaches what was made with the old one, and only that."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from daemon.config.acquisition import AcquisitionSettings
from daemon.domain.states import JobState, MovieState, SessionState, TaskState
from daemon.engine.jobs import view_jobs
from daemon.errors import AcquisitionUnknown
from daemon.store import ledger, sessions
from daemon.store.changes import CloseSession, EndTask, PutBackTask
from tests.engine.fakes import ALL_DONE, Add, Divide, Draw, FakeStage, Mark
from tests.engine.hold import Hold
from tests.engine.workshop import MovieMeter, Workshop

pytestmark = pytest.mark.anyio

Build = Callable[..., Workshop]


class Weigh(Add):
    """Needs the pixel size, the binning and the dose."""

    acquisition = ("pixel_size_ang", "motion_binning", "dose_per_frame_e_per_ang2", "total_dose_e_per_ang2")


class Defocus(Divide):
    """Needs the voltage."""

    acquisition = ("voltage_kv",)


STAGES: tuple[type[FakeStage], ...] = (Weigh, Defocus, Mark, Draw)
FIRST = AcquisitionSettings(voltage_kv=200.0, pixel_size_ang=1.0)


async def process_one(shop: Workshop, acquisition: AcquisitionSettings = FIRST) -> Path:
    await shop.open_session(acquisition)
    path = shop.write_movie("a")
    await shop.prove(path)
    await shop.process()
    shop.script.runs.clear()
    return path


@pytest.mark.parametrize(
    ("corrected", "again"),
    [
        (FIRST, set()),
        (FIRST.model_copy(update={"magnification": 105000}), set()),
        (FIRST.model_copy(update={"voltage_kv": 300.0}), {"divide", "mark"}),
        (FIRST.model_copy(update={"motion_binning": 2}), {"add", "divide", "mark", "draw"}),
        (FIRST.model_copy(update={"pixel_size_ang": 0.9}), {"add", "divide", "mark", "draw"}),
    ],
)
async def test_stages_that_used_a_changed_value_run_again(
    build: Build, meter: MovieMeter, corrected: AcquisitionSettings, again: set[str]
) -> None:
    shop = build(stages=STAGES)
    path = await process_one(shop)
    movie = await shop.movie(path)
    await shop.open_session(corrected)
    assert shop.imported is not None
    assert shop.imported.reopened.tasks == len(again)
    assert (await shop.movie(path)).state is (MovieState.COMPLETE if again else MovieState.DONE)
    await shop.process()
    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)
    assert {stage for stage, _ in shop.script.runs} == again
    assert meter.reads["a.mrc"] == (2 if "add" in again else 1)
    notices = [n for n in await sessions.notifications(shop.store) if n.kind == "acquisition_changed"]
    assert len(notices) == bool(again)
    assert (await shop.event_kinds()).count("session.notification") == bool(again)
    if again:
        assert f"{len(again)} step(s) of 1 movie(s)" in notices[0].message
        causes = [move.cause for move in await ledger.history(shop.store, movie.movie_id)]
        assert causes.count("acquisition changed") == len(again) + 1
    for stage in again & {"divide"}:
        record = json.loads((shop.session_home / ".elcano" / "tasks" / stage / "a.json").read_bytes())
        assert record["acquisition"]["voltage_kv"] == corrected.voltage_kv


async def test_what_failed_for_want_of_a_value_runs_once_it_is_known(build: Build) -> None:
    shop = build(stages=STAGES)
    shop.script.fail("add", "a", AcquisitionUnknown("pixel_size_ang", "a"))
    path = await process_one(shop, AcquisitionSettings(voltage_kv=200.0))
    assert (await shop.states_of(path))[0] is MovieState.FAILED
    await shop.open_session(FIRST)
    await shop.process()
    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)


async def test_a_closed_session_is_corrected_too_and_its_job_runs(build: Build) -> None:
    shop = build(stages=STAGES)
    await process_one(shop)
    await shop.store.commit(CloseSession(shop.session_id, "idle"))
    (view,) = await view_jobs(shop.store, shop.engine.graph)
    assert view.state is JobState.COMPLETED
    await shop.open_session(FIRST.model_copy(update={"voltage_kv": 300.0}))
    (view,) = await view_jobs(shop.store, shop.engine.graph)
    assert view.state is JobState.RUNNING
    row = await sessions.session(shop.store, shop.session_id)
    assert row is not None
    assert row.session.state is SessionState.CLOSED


async def test_a_late_movie_reopens_a_session_whose_job_runs_again(build: Build) -> None:
    shop = build(stages=STAGES)
    await process_one(shop)
    await shop.store.commit(CloseSession(shop.session_id, "idle"))
    await shop.prove(shop.write_movie("late"))
    (view,) = await view_jobs(shop.store, shop.engine.graph)
    assert view.state is JobState.RUNNING
    assert (await shop.event_kinds()).count("session.reopened") == 1


async def test_a_correction_during_a_visit_is_not_lost(build: Build) -> None:
    """The import sees tasks that run; their visit finds at its end that what it used is not true any more."""
    shop = build(stages=STAGES)
    await shop.open_session(FIRST)
    path = shop.write_movie("a")
    await shop.prove(path)
    hold = Hold()
    shop.script.acts["divide", "a"] = hold
    async with shop.running():
        await hold.reached()
        await shop.open_session(FIRST.model_copy(update={"voltage_kv": 300.0}))
        hold.go_on()
        await shop.until_idle()
    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)
    assert shop.script.count("add", "a") == 1
    assert shop.script.count("divide", "a") == 2
    record = json.loads((shop.session_home / ".elcano" / "tasks" / "divide" / "a.json").read_bytes())
    assert record["acquisition"]["voltage_kv"] == 300.0


async def hold_divide(shop: Workshop, meanwhile: Callable[[Path], Awaitable[None]]) -> Path:
    """Process one movie; `meanwhile` happens while `divide` runs on it."""
    await shop.open_session(FIRST)
    path = shop.write_movie("a")
    await shop.prove(path)
    hold = Hold()
    shop.script.acts["divide", "a"] = hold
    async with shop.running():
        await hold.reached()
        with anyio.fail_after(60):
            while (await shop.tasks_of(path))["add"].state is not TaskState.COMPLETED:
                await anyio.lowlevel.checkpoint()
        await meanwhile(path)
        shop.scheduler.offer((await shop.movie(path)).movie_id, 0.0)
        hold.go_on()
        await shop.until_idle()
    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)
    return path


async def test_what_is_made_of_the_old_result_in_a_visit_under_way_is_made_again(build: Build) -> None:
    """The pixel size concerns `add`, which has ended; `divide` runs on its old sum, the others wait for it."""
    shop = build(stages=STAGES)

    async def correct(_: Path) -> None:
        await shop.open_session(FIRST.model_copy(update={"pixel_size_ang": 0.9}))
        assert shop.imported is not None
        assert shop.imported.reopened.tasks == len(STAGES)

    await hold_divide(shop, correct)
    assert {stage: shop.script.count(stage, "a") for stage in ALL_DONE} == {"add": 2, "divide": 2, "mark": 1, "draw": 1}


async def test_a_result_whose_input_was_put_back_meanwhile_is_outdated(build: Build) -> None:
    shop = build(stages=STAGES)

    async def put_back(path: Path) -> None:
        task = (await shop.tasks_of(path))["add"]
        await shop.store.commit(PutBackTask(task.task_id, "again", asked_by="ada", from_scratch=True))

    await hold_divide(shop, put_back)
    assert {stage: shop.script.count(stage, "a") for stage in ALL_DONE} == dict.fromkeys(ALL_DONE, 2)


async def test_a_movie_of_which_nothing_was_made_is_not_put_back(build: Build) -> None:
    shop = build(stages=STAGES)
    await shop.open_session(FIRST)
    await shop.prove(shop.write_movie("a"))
    await shop.open_session(FIRST.model_copy(update={"voltage_kv": 300.0}))
    assert shop.imported is not None
    assert shop.imported.reopened.tasks == 0


async def test_records_hold_what_their_stage_uses_and_no_more(build: Build) -> None:
    """Of a value that a stage does not use it is not made again: its record must not depend on it either."""
    shop = build(stages=STAGES)
    await process_one(shop)
    for stage in STAGES:
        record = json.loads((shop.session_home / ".elcano" / "tasks" / stage.name / "a.json").read_bytes())
        assert set(record["acquisition"]) == set(stage.acquisition)


async def test_a_cancelled_task_stays_cancelled(build: Build) -> None:
    shop = build(stages=STAGES)
    path = await process_one(shop)
    task = (await shop.tasks_of(path))["mark"]
    await shop.store.commit(
        PutBackTask(task.task_id, "again", asked_by="ada"), EndTask(task.task_id, TaskState.CANCELLED, asked_by="ada")
    )
    await shop.open_session(FIRST.model_copy(update={"voltage_kv": 300.0}))
    await shop.process()
    _, states = await shop.states_of(path)
    assert states == {**ALL_DONE, "mark": TaskState.CANCELLED}


async def test_unrelated_corrections_do_not_keep_finished_work_from_being_adopted(tmp_path: Path) -> None:
    first = Workshop(tmp_path, stages=STAGES)
    path = await process_one(first)
    first.close()
    (tmp_path / "state" / "store.duckdb").unlink()
    second = Workshop(tmp_path, stages=STAGES)
    try:
        await second.open_session(FIRST.model_copy(update={"voltage_kv": 300.0}))
        await second.prove(path)
        await second.process()
        assert {stage for stage, _ in second.script.runs} == {"divide", "mark"}
    finally:
        second.close()


async def test_a_moved_movie_takes_its_results_along(build: Build, meter: MovieMeter) -> None:
    shop = build(stages=STAGES)
    path = await process_one(shop)
    outputs = shop.outputs()
    before = await shop.movie(path)
    await shop.intake.vanished([before.identity])
    moved = path.rename(path.with_name("renamed.mrc"))
    await shop.prove(moved)
    await shop.process()
    assert await shop.states_of(moved) == (MovieState.DONE, ALL_DONE)
    assert (await shop.movie(path)).state is MovieState.SUPERSEDED
    assert shop.script.runs == []
    assert meter.reads == {"a.mrc": 1}
    assert shop.outputs() == outputs


async def test_a_movie_set_aside_while_it_was_processed_is_told(build: Build) -> None:
    told: list[tuple[str, Path]] = []
    shop = build(stages=STAGES)
    shop.engine.recorder.on_set_aside = lambda session_id, movie: told.append((session_id, movie))
    await shop.open_session(FIRST)
    path = shop.write_movie("a")
    await shop.prove(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    await shop.process()
    assert (await shop.states_of(path))[0] is MovieState.QUARANTINED
    assert told == [(shop.session_id, path)]
