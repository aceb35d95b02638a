"""Which movie is visited when, beside which others, and how one is taken back."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from daemon.domain.states import MovieState, TaskState
from daemon.engine.assembly import fetch_work
from daemon.engine.space import DiskReserve, free_bytes
from daemon.pipeline.context import StageContext
from daemon.sessions.records import read_record
from daemon.store import ledger, tasks
from daemon.store.changes import Change, MoveMovie, PutBackTask
from tests.engine.fakes import ALL_DONE, SUM
from tests.engine.hold import Hold
from tests.engine.workshop import MovieMeter, Workshop, identify

pytestmark = pytest.mark.anyio

Build = Callable[..., Workshop]


async def test_a_rewritten_movie_stops_the_old_visit_and_its_late_results_are_dropped(build: Build) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a", seed=1)
    hold = Hold()
    shop.script.acts["divide", "a"] = hold
    await shop.prove(path)
    before = identify(path)
    old = await shop.movie(path)
    async with shop.running():
        await hold.reached()
        with anyio.fail_after(60):
            while (await shop.tasks_of(path))["add"].state is not TaskState.COMPLETED:
                await anyio.lowlevel.checkpoint()
        shop.write_movie("a", seed=2, shape_tyx=(4, 8, 10))
        del shop.script.acts["divide", "a"]
        await shop.intake.rewritten(before, identify(path))
        await shop.intake.complete(identify(path), None, "whole")
        with anyio.fail_after(60):  # the new revision waits for the old visit to end
            while shop.scheduler.statistics().in_flight < 2:
                await shop.scheduler.wait_for_change(shop.scheduler.changes)
        for _ in range(5):  # time enough to begin, if nothing kept it
            await anyio.wait_all_tasks_blocked()
            await shop.tasks_of(path)
        assert shop.scheduler.statistics().visited == 1
        hold.go_on()
        await shop.until_idle()

    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)
    new = await shop.movie(path)
    assert (new.revision, new.image_id) == (2, old.image_id)
    states = {t.stage: t.state for t in await tasks.tasks(shop.store, movie_id=old.movie_id)}
    assert states == {
        "add": TaskState.COMPLETED,
        "divide": TaskState.CANCELLED,
        "mark": TaskState.CANCELLED,
        "draw": TaskState.CANCELLED,
    }
    entry = await ledger.movie(shop.store, old.movie_id)
    assert entry is not None
    assert entry.state is MovieState.SUPERSEDED
    for stage in ALL_DONE:
        record = read_record(shop.session_home, stage, "a")
        assert record is not None
        assert record.movie == new.identity
    kinds = await shop.event_kinds()
    assert kinds.count("completed dividing") == 1
    assert kinds.count("cancelled dividing") == 1


async def test_a_movie_superseded_before_its_visit_is_never_read(build: Build, meter: MovieMeter) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    await shop.prove(path)
    before = identify(path)
    shop.write_movie("a", seed=2, shape_tyx=(5, 8, 10))
    await shop.intake.rewritten(before, identify(path))
    assert shop.scheduler.is_idle
    await shop.process()
    assert meter.reads == {}
    await shop.intake.complete(identify(path), None, "whole")
    await shop.process()
    assert meter.reads == {"a.mrc": 1}


async def test_a_visit_that_began_with_stale_work_does_nothing(build: Build) -> None:
    """Between the read of what is owed and the first attempt, someone ended the tasks."""
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    await shop.prove(path)
    movie = await shop.movie(path)
    stale = await fetch_work(shop.store, shop.engine.parameters, movie.movie_id)
    before = identify(path)
    shop.write_movie("a", seed=2, shape_tyx=(5, 8, 10))
    await shop.intake.rewritten(before, identify(path))

    async def fetch(_: str) -> Any:
        return stale

    shop.scheduler._fetch = fetch
    shop.scheduler.offer(movie.movie_id, 0.0)
    await shop.process()
    assert shop.script.runs == []
    assert {t.state for t in await tasks.tasks(shop.store, movie_id=movie.movie_id)} == {TaskState.CANCELLED}
    entry = await ledger.movie(shop.store, movie.movie_id)
    assert entry is not None
    assert entry.state is MovieState.SUPERSEDED


async def test_offers_of_a_movie_in_hand_lead_to_one_more_visit(build: Build) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    hold = Hold()
    shop.script.acts["add", "a"] = hold
    await shop.prove(path)
    movie = await shop.movie(path)
    async with shop.running():
        await hold.reached()
        for _ in range(5):
            shop.scheduler.offer(movie.movie_id, movie.last_write_s)
        assert shop.scheduler.statistics().waiting == 0
        hold.go_on()
        await shop.until_idle()
    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)
    assert shop.script.count("add", "a") == 1
    assert shop.scheduler.statistics().visited == 1


async def test_suspects_go_first_and_alone(build: Build) -> None:
    shop = build()
    await shop.open_session()
    paths = [shop.write_movie(name, seed) for seed, name in enumerate("abc")]
    await shop.prove(*paths)
    suspect = await shop.movie(paths[2])
    shop.scheduler.cancel(suspect.movie_id)
    shop.scheduler.offer(suspect.movie_id, 0.0, suspect=True)
    in_flight: list[int] = []
    shop.script.acts["add", "c"] = lambda _: in_flight.append(shop.scheduler.statistics().in_flight)
    await shop.process()
    assert [image for _, image in shop.script.runs][:4] == ["c"] * 4
    assert in_flight == [1]
    for path in paths:
        assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)


async def test_a_suspect_that_comes_later_waits_until_it_is_alone(build: Build) -> None:
    shop = build()
    await shop.open_session()
    path, late = shop.write_movie("a"), shop.write_movie("b")
    await shop.prove(path)
    hold = Hold()
    shop.script.acts["add", "a"] = hold
    async with shop.running():
        await hold.reached()
        await shop.prove(late)
        movie = await shop.movie(late)
        shop.scheduler.cancel(movie.movie_id)
        shop.scheduler.offer(movie.movie_id, 0.0, suspect=True)
        hold.go_on()
        await shop.until_idle()
    assert (await shop.movie(late)).state is MovieState.DONE


async def test_idleness_and_changes_are_told_truthfully(build: Build) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    scheduler = shop.scheduler
    idle = [scheduler.is_idle]
    since = scheduler.changes
    scheduler.offer("unknown", 1.0)
    idle.append(scheduler.is_idle)
    assert idle == [True, False]
    with anyio.fail_after(60):
        await scheduler.wait_for_change(since)  # it happened before the call
    async with shop.running():
        await shop.until_idle()
        hold = Hold()
        shop.script.acts["draw", "a"] = hold
        await shop.prove(path)
        await hold.reached()
        idle.append(scheduler.is_idle)
        hold.go_on()
        await shop.until_idle()
        idle.append(scheduler.is_idle)
        assert idle == [True, False, False, True]
        assert (await shop.movie(path)).state is MovieState.DONE


async def test_no_movie_is_started_while_the_disk_is_nearly_full(build: Build) -> None:
    shop = build()
    free = [100]
    looks: list[float] = []
    short: list[bool] = []
    more = anyio.Event()

    async def sleep(seconds: float) -> None:
        looks.append(seconds)
        short.append(reserve.is_short)
        await more.wait()

    reserve = DiskReserve(shop.home, 500, measure=lambda _: free[0], sleep=sleep)
    shop.scheduler._wait_for_room = reserve.wait_for_room
    await shop.open_session()
    path = shop.write_movie("a")
    await shop.prove(path)
    async with shop.running():
        with anyio.fail_after(60):
            while not looks:
                await anyio.lowlevel.checkpoint()
        assert not shop.scheduler.is_idle
        assert shop.script.runs == []
        free[0] = 500
        more.set()
        await shop.until_idle()
    assert short == [True]
    assert reserve.is_short is False
    assert (await shop.movie(path)).state is MovieState.DONE


async def test_a_mount_that_went_away_is_no_room(build: Build) -> None:
    shop = build()
    answers: list[Any] = [OSError(116, "Stale file handle"), 10]

    def measure(_: Any) -> int:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return int(answer)

    async def sleep(_: float) -> None:
        assert reserve.is_short

    reserve = DiskReserve(shop.home, 5, measure=measure, sleep=sleep)
    await reserve.wait_for_room()
    assert answers == []
    assert free_bytes(shop.folder / "not" / "there") > 0


async def test_the_order_of_the_backlog_is_that_of_the_settings(build: Build) -> None:
    shop = build(order="latest")
    shop.scheduler._lanes = 1  # two visits at once would share the order between them
    await shop.open_session()
    paths = [shop.write_movie(name) for name in "abcde"]
    await shop.prove(*paths)
    for number, path in enumerate(paths):
        movie = await shop.movie(path)
        shop.scheduler.cancel(movie.movie_id)
        shop.scheduler.offer(movie.movie_id, float(number))
    await shop.process()
    assert [image for stage, image in shop.script.runs if stage == "add"] == list("edcba")


async def test_a_stage_hears_that_it_is_cancelled(build: Build) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    reached, heard = threading.Event(), threading.Event()

    def act(context: StageContext) -> None:
        reached.set()
        try:
            for _ in range(3000):
                context.check_cancelled()
                threading.Event().wait(0.01)
        except BaseException:
            heard.set()
            raise

    shop.script.acts["add", "a"] = act
    await shop.prove(path)
    async with shop.running():
        assert await anyio.to_thread.run_sync(reached.wait, 60)
        await shop.intake.vanished([identify(path)])
        await shop.until_idle()
    assert heard.is_set()
    state, states = await shop.states_of(path)
    assert state is MovieState.VANISHED
    assert set(states.values()) == {TaskState.SKIPPED}
    assert not SUM.path(shop.session_home, "a").exists()


@pytest.mark.parametrize("first", ["the end", "the visit"])
async def test_a_visit_that_stops_does_not_revive_what_ended(
    build: Build, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its movie is given up while it puts its task back: whoever commits first, and whatever the other has read."""
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    reached, is_over, wants_back, is_back = threading.Event(), anyio.Event(), anyio.Event(), anyio.Event()

    def act(context: StageContext) -> None:
        reached.set()
        while True:
            context.check_cancelled()
            threading.Event().wait(0.001)

    shop.script.acts["add", "a"] = act
    await shop.prove(path)
    commit = shop.store.commit

    async def commit_in_turn(*changes: Change) -> None:
        puts_back = any(isinstance(change, PutBackTask) for change in changes)
        ends = any(isinstance(change, MoveMovie) and change.state is MovieState.VANISHED for change in changes)
        if puts_back:
            wants_back.set()
        if puts_back and first == "the end":
            await is_over.wait()
        if ends:
            await (is_back if first == "the visit" else wants_back).wait()
        try:
            await commit(*changes)
        finally:
            if ends:
                is_over.set()
            if puts_back:
                is_back.set()

    monkeypatch.setattr(shop.store, "commit", commit_in_turn)
    async with shop.running():
        assert await anyio.to_thread.run_sync(reached.wait, 60)
        await shop.intake.vanished([identify(path)])
        await shop.until_idle()
    assert is_over.is_set()
    assert is_back.is_set()
    state, states = await shop.states_of(path)
    assert state is MovieState.VANISHED
    assert set(states.values()) == {TaskState.SKIPPED}


async def test_a_result_that_comes_too_late_leaves_nothing(build: Build) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    hold = Hold()
    shop.script.acts["add", "a"] = hold
    await shop.prove(path)
    async with shop.running():
        await hold.reached()
        await shop.intake.vanished([identify(path)])
        hold.go_on()  # the stage does not look, and ends as if all were well
        await shop.until_idle()
    state, states = await shop.states_of(path)
    assert (state, set(states.values())) == (MovieState.VANISHED, {TaskState.SKIPPED})
    assert read_record(shop.session_home, "add", "a") is None
    assert [name for name in shop.outputs() if name != ".elcano/session.json"] == []
    kinds = await shop.event_kinds()
    assert "completed adding" not in kinds
    assert kinds.count("skipped adding") == 1


async def test_stopping_lets_go_of_stages_that_listen(build: Build) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    reached = threading.Event()
    looks: list[bool] = []

    def act(context: StageContext) -> None:
        reached.set()
        while len(looks) < 3000:
            context.check_cancelled()
            looks.append(True)
            threading.Event().wait(0.01)

    shop.script.acts["add", "a"] = act
    await shop.prove(path)
    async with shop.running():
        assert await anyio.to_thread.run_sync(reached.wait, 60)
    shop.engine.close()
    assert len(looks) < 3000
    assert (await shop.tasks_of(path))["add"].state is TaskState.RUNNING  # for recovery to find


async def test_progress_and_warnings_reach_the_witness(build: Build) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    shop.script.acts["add", "a"] = lambda context: context.log.warning("look here")
    await shop.prove(path)
    await shop.process()
    owed = await shop.tasks_of(path)
    assert (owed["add"].task_id, 1, 2, "halves") in shop.witness.heard
    assert shop.witness.lines == ["warning: look here"]
    assert [ref.step for ref in shop.witness.begun] == ["adding", "dividing", "marking", "drawing"]
    assert [ref.attempt for ref in shop.witness.begun] == [1, 1, 1, 1]
    assert shop.witness.ended == [ref.task_id for ref in shop.witness.begun]


async def test_random_numbers_depend_on_image_stage_and_version_only(build: Build) -> None:
    shop = build()
    await shop.open_session()
    paths = [shop.write_movie(name) for name in ("a", "b")]
    drawn: dict[tuple[str, str], float] = {}

    def draw(stage: str, image: str) -> Callable[[StageContext], None]:
        return lambda context: drawn.__setitem__((stage, image), float(context.rng.random()))

    for stage in ("add", "divide"):
        for image in ("a", "b"):
            shop.script.acts[stage, image] = draw(stage, image)
    await shop.prove(*paths)
    await shop.process()
    assert len(set(drawn.values())) == 4
    assert drawn["add", "a"] == pytest.approx(0.5, abs=0.5)
    assert replace(await shop.movie(paths[0])).state is MovieState.DONE
