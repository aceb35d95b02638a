"""What one visit does to an image: reading once, recording in order, and every way to fail."""

import gc
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from daemon.config.acquisition import AcquisitionSettings
from daemon.domain.states import MovieState, TaskState
from daemon.engine.adoption import adopt_finished
from daemon.errors import AcquisitionUnknown
from daemon.formats.mrc_writer import write_mrc
from daemon.pipeline.context import MovieItem, StageContext
from daemon.pipeline.result import StageResult
from daemon.sessions.records import read_record
from daemon.store import artifacts, metrics, tasks
from tests.engine.fakes import ALL_DONE, FAKES, SHARE, SUM, Add, FakeMetrics, FakeParams, Hiccup, whole
from tests.engine.workshop import MovieMeter, Workshop, movie_pixels

pytestmark = pytest.mark.anyio

Build = Callable[..., Workshop]


async def test_a_movie_is_read_once_and_every_stage_told_in_order(build: Build, meter: MovieMeter) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a", seed=3)
    alive_bytes: list[int] = []
    for stage in ("add", "divide"):
        shop.script.acts[stage, "a"] = lambda _: alive_bytes.append(meter.alive_bytes)
    await shop.prove(path)
    await shop.process()

    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)
    assert meter.reads == {"a.mrc": 1}
    assert alive_bytes == [movie_pixels(3).nbytes, 0]  # given up once nobody consumes it any more
    assert shop.script.runs == [(stage, "a") for stage in ("add", "divide", "mark", "draw")]
    kinds = await shop.event_kinds()
    assert kinds[:4] == ["session.imported", "job.started", "session.movie.seen", "session.movie.complete"]
    assert [kind for kind in kinds if kind.startswith("completed")] == [
        "completed adding",
        "completed dividing",
        "completed marking",
        "completed drawing",
    ]
    for step in ("adding", "dividing", "marking", "drawing"):
        assert kinds.index(f"started {step}") < kinds.index(f"completed {step}")


async def test_outputs_record_and_store_agree(build: Build) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a", seed=3)
    await shop.prove(path)
    await shop.process()

    movie = await shop.movie(path)
    stored = {row.path: row for row in await artifacts.artifacts(shop.store, shop.session_id)}
    assert set(stored) == {
        "sums/a_sum.mrc",
        "sums/a_noise.mrc",
        "shares/a_share.mrc",
        "marks/a_mark.mrc",
        "pictures/a_picture.mrc",
    }
    for stage in FAKES:
        record = read_record(shop.session_home, stage.name, "a")
        assert record is not None
        assert record.state is TaskState.COMPLETED
        assert record.movie == movie.identity
        task = (await shop.tasks_of(path))[stage.name]
        assert record.parameters_hash == task.parameters_hash
        assert task.warnings == record.outcome.warnings == ("a warning",)  # type: ignore[union-attr]
        numbers = await metrics.stage_metrics(shop.store, stage.name, movie.image_id or "")
        assert numbers == record.outcome.metrics  # type: ignore[union-attr]
        for output in record.outcome.outputs:  # type: ignore[union-attr]
            content = (shop.session_home / output.path).read_bytes()
            assert output.size_bytes == len(content)
            assert output.sha256 == hashlib.sha256(content).hexdigest() == stored[output.path].sha256
    total = (await metrics.stage_metrics(shop.store, "add", movie.image_id or "") or {})["total"]
    assert total == movie_pixels(3).sum()


async def test_an_attempt_is_committed_before_its_stage_runs(build: Build) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    seen: dict[str, TaskState] = {}

    def look(stage: str) -> Callable[[StageContext], None]:
        def act(_: StageContext) -> None:
            counted = shop.store.count_tasks()
            seen[stage] = next(
                iter(state for (_, name), states in counted.items() if name == stage for state in states)
            )

        return act

    shop.script.acts = {(stage.name, ""): look(stage.name) for stage in FAKES}
    await shop.prove(path)
    await shop.process()
    assert seen == dict.fromkeys(ALL_DONE, TaskState.RUNNING)


async def test_a_retryable_failure_waits_for_its_time_and_is_tried_again(build: Build, meter: MovieMeter) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    shop.script.fail("divide", "a", Hiccup("not now."), Hiccup("not yet."))
    await shop.prove(path)
    started_s = shop.clock.now_s
    async with shop.running():
        await shop.until_delayed()
        task = (await shop.tasks_of(path))["divide"]
        assert (task.state, task.attempts, task.reason) == (TaskState.PENDING, 1, "not now.")
        assert task.next_attempt_at_s == started_s + 2.0
        await shop.until_idle()

    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)
    assert shop.clock.now_s == started_s + 2.0 + 8.0
    assert shop.script.count("divide", "a") == 3
    assert shop.script.count("add", "a") == 1
    assert shop.script.count("draw", "a") == 1
    assert meter.reads == {"a.mrc": 1}  # the stage alone runs from disk
    outcomes = [attempt.outcome for attempt in await tasks.attempts(shop.store, task.task_id)]
    assert outcomes == ["failed", "failed", "completed"]


async def test_retries_end(build: Build) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    shop.script.fail("add", "a", *[Hiccup("never.")] * 9)
    await shop.prove(path)
    await shop.process()
    state, states = await shop.states_of(path)
    assert state is MovieState.FAILED
    assert states == {
        "add": TaskState.FAILED,
        "divide": TaskState.SKIPPED,
        "mark": TaskState.SKIPPED,
        "draw": TaskState.SKIPPED,
    }
    assert shop.script.count("add", "a") == 3


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (AcquisitionUnknown("voltage_kv", "a"), "acquisition_unknown", "voltage_kv of a is unknown"),
        (ValueError("spectrum has no rings"), "computation", "divide: spectrum has no rings."),
        (KeyError("oops"), "internal", "divide failed unexpectedly: KeyError: 'oops'."),
        (RuntimeError("boom"), "internal", "divide failed unexpectedly: RuntimeError: boom."),
    ],
)
async def test_a_failure_for_good_stops_only_what_depends_on_it(
    build: Build, error: Exception, kind: str, said: str
) -> None:
    shop = build()
    await shop.open_session()
    path, other = shop.write_movie("a"), shop.write_movie("b", seed=2)
    shop.script.fail("divide", "a", *[error] * 9)
    await shop.prove(path, other)
    await shop.process()

    assert await shop.states_of(other) == (MovieState.DONE, ALL_DONE)
    movie, owed = await shop.movie(path), await shop.tasks_of(path)
    assert movie.state is MovieState.FAILED
    assert said in movie.reason
    assert {stage: task.state for stage, task in owed.items()} == {
        "add": TaskState.COMPLETED,
        "divide": TaskState.FAILED,
        "mark": TaskState.SKIPPED,
        "draw": TaskState.COMPLETED,
    }
    assert shop.script.count("divide", "a") == 1
    assert owed["divide"].error_kind == kind
    assert owed["mark"].reason == "divide did not succeed"
    if kind == "acquisition_unknown":
        assert "Set acquisition.voltage_kv" in owed["divide"].hint
    (attempt,) = await tasks.attempts(shop.store, owed["divide"].task_id)
    assert ("Traceback" in attempt.detail) == (kind in {"internal", "computation"})
    record = read_record(shop.session_home, "divide", "a")
    assert record is not None
    assert record.state is TaskState.FAILED
    assert not (shop.session_home / "shares" / "a_share.mrc").exists()  # written before it failed
    kinds = await shop.event_kinds()
    assert kinds.count("failed dividing") == 1
    assert kinds.count("skipped marking") == 1


async def test_memory_that_runs_out_is_tried_again(build: Build) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    shop.script.fail("add", "a", MemoryError("12 GiB"))
    await shop.prove(path)
    await shop.process()
    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)
    first, _ = await tasks.attempts(shop.store, (await shop.tasks_of(path))["add"].task_id)
    assert first.error_kind == "out_of_memory"


async def test_only_stages_asked_for_run_and_a_lacking_input_is_named(build: Build) -> None:
    shop = build(asked=("divide", "draw"))
    await shop.open_session()
    path, bare = shop.write_movie("a"), shop.write_movie("b")
    SUM.path(shop.home / "session1", "a").parent.mkdir(parents=True, exist_ok=True)
    write_mrc(SUM.path(shop.home / "session1", "a"), np.ones((8, 10), np.float32), pixel_size_ang=1.0)
    await shop.prove(path, bare)
    await shop.process()
    assert await shop.states_of(path) == (
        MovieState.DONE,
        {"divide": TaskState.COMPLETED, "draw": TaskState.COMPLETED},
    )
    assert (await shop.movie(bare)).state is MovieState.FAILED
    owed = await shop.tasks_of(bare)
    assert {task.error_kind for task in owed.values()} == {"product_missing"}
    assert "sum is missing" in owed["draw"].reason
    assert shop.script.runs == [("divide", "a"), ("draw", "a")]


async def test_tasks_of_a_stage_switched_off_are_skipped(build: Build) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    await shop.prove(path)
    shop = build(stages=FAKES[:3])
    await shop.open_session()
    shop.scheduler.offer((await shop.movie(path)).movie_id, 0.0)
    await shop.process()
    state, states = await shop.states_of(path)
    assert (state, states["draw"], states["mark"]) == (MovieState.DONE, TaskState.SKIPPED, TaskState.COMPLETED)
    assert "switched off" in (await shop.tasks_of(path))["draw"].reason


class Careless(Add):
    """Does not do what it declares."""

    def run(self, item: MovieItem, params: FakeParams, context: StageContext) -> StageResult:
        if item.image_name == "forgets":
            return StageResult(FakeMetrics(1.0, 1))
        if item.image_name == "pries":
            context.read.product(SHARE)
        if item.image_name == "strays":
            context.write(SHARE, lambda path: write_mrc(path, np.ones((8, 10), np.float32), pixel_size_ang=1.0))
        for product in self.produces:
            context.write(product, lambda path: write_mrc(path, np.ones((8, 10), np.float32), pixel_size_ang=1.0))
        if item.image_name == "invents":
            return StageResult(_Unknown(1.0, 1, "x", 3))
        if item.image_name == "nan":
            return StageResult(FakeMetrics(float("nan"), int(np.int64(4))))
        return StageResult(FakeMetrics(np.float32(0.5), np.int64(4)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Unknown(FakeMetrics):
    surprise: int = 0


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("forgets", "internal", "add did not write sum, noise"),
        ("pries", "internal", "does not declare that it consumes share"),
        ("strays", "internal", "does not declare that it produces share"),
        ("invents", "illegal_move", "no column surprise"),
    ],
)
async def test_a_stage_that_breaks_its_declaration_fails(build: Build, name: str, kind: str, said: str) -> None:
    shop = build(stages=(Careless, *FAKES[1:]))
    await shop.open_session()
    path = shop.write_movie(name)
    await shop.prove(path)
    await shop.process()
    owed = await shop.tasks_of(path)
    assert (owed["add"].state, owed["add"].error_kind) == (TaskState.FAILED, kind)
    assert said in owed["add"].reason
    assert (await shop.movie(path)).state is MovieState.FAILED


async def test_metrics_become_plain_numbers_and_nan_is_unknown(build: Build) -> None:
    shop = build(stages=(Careless, *FAKES[1:]))
    await shop.open_session()
    path, nan = shop.write_movie("plain"), shop.write_movie("nan")
    await shop.prove(path, nan)
    await shop.process()
    by_name = {row["name"]: row for row in await metrics.stage_rows(shop.store, "add")}
    assert (by_name["plain"]["total"], by_name["plain"]["pixels"]) == (0.5, 4)
    assert by_name["nan"]["total"] is None
    assert (await shop.tasks_of(nan))["add"].warnings == ("total came out as nan: it is unknown",)


async def test_a_fault_in_the_engine_itself_costs_one_image(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = build()
    await shop.open_session()
    path, other = shop.write_movie("a"), shop.write_movie("b")

    async def break_for_a(recorder: Any, work: Any) -> frozenset[str]:
        if work.image.name == "a":
            raise LookupError("a fault")
        return await adopt_finished(recorder, work)

    monkeypatch.setattr("daemon.engine.visit.adopt_finished", break_for_a)
    await shop.prove(path, other)
    await shop.process()
    assert await shop.states_of(other) == (MovieState.DONE, ALL_DONE)
    movie, owed = await shop.movie(path), await shop.tasks_of(path)
    assert movie.state is MovieState.FAILED
    assert owed["add"].error_kind == "internal"
    assert owed["mark"].state is TaskState.SKIPPED


async def test_a_failed_stage_leaves_no_movie_in_memory(build: Build, meter: MovieMeter) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    alive: list[int] = []

    class Keeps(RuntimeError):
        pass

    def act(context: StageContext) -> None:
        movie_tyx = whole(context.read.movie())
        raise Keeps(f"holding {movie_tyx.nbytes} bytes in its frame")

    shop.script.acts["add", "a"] = act
    await shop.prove(path)
    gc.collect()
    gc.disable()
    try:
        await shop.process()
        alive.append(meter.alive_bytes)
    finally:
        gc.enable()
    assert (await shop.tasks_of(path))["add"].error_kind == "internal"
    assert alive == [0]


async def test_the_gain_and_the_pixel_size_reach_the_stage(build: Build) -> None:
    shop = build()
    gains = shop.raw / "gains"
    gains.mkdir()
    gain_yx = np.linspace(0.5, 1.5, 80, dtype=np.float32).reshape(8, 10)
    write_mrc(gains / "gain.mrc", gain_yx, pixel_size_ang=1.0)
    settings = AcquisitionSettings.model_validate({"gain": {"path": "gains/gain.mrc"}})
    await shop.open_session(settings)
    path = shop.write_movie("a")
    found: list[Any] = []
    shop.script.acts["add", "a"] = lambda context: found.append(context.read.gain_yx())
    await shop.prove(path)
    await shop.process()
    assert (await shop.movie(path)).state is MovieState.DONE
    np.testing.assert_array_equal(found[0], gain_yx)
    assert not found[0].flags.writeable


async def test_a_broken_gain_fails_the_task_and_not_the_movie(build: Build) -> None:
    shop = build()
    (shop.raw / "gain.mrc").write_bytes(b"x" * 100)
    await shop.open_session(AcquisitionSettings.model_validate({"gain": {"path": "gain.mrc"}}))
    path = shop.write_movie("a")
    found: list[Any] = []
    shop.script.acts["add", "a"] = lambda context: found.append(context.read.gain_yx())
    await shop.prove(path)
    await shop.process()
    assert (await shop.movie(path)).state is MovieState.FAILED
    assert (await shop.tasks_of(path))["add"].error_kind == "gain_unsuitable"
