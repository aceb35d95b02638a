"""What people may do to work under way: cancel, reprocess, pause, complete. Each through the handlers the bus calls."""

from collections.abc import Awaitable, Callable

import pytest

from daemon.domain.states import JobState, MovieState, TaskState
from daemon.engine.assembly import fetch_work
from daemon.engine.jobs import view_jobs
from daemon.errors import CommandRefused, QueryRefused, TaskCancelled
from daemon.pipeline.context import StageContext
from daemon.sessions.records import read_record
from daemon.store import metrics, sessions
from daemon.store.changes import Change, PutBackTask, PutBackTasks
from tests.engine.desk import Desk
from tests.engine.fakes import ALL_DONE, Hiccup
from tests.engine.hold import ListeningHold
from tests.engine.workshop import MovieMeter, identify

pytestmark = pytest.mark.anyio
OpenDesk = Callable[..., Awaitable[Desk]]


DONE, PENDING, CANCELLED, RUNNING = (
    TaskState.COMPLETED,
    TaskState.PENDING,
    TaskState.CANCELLED,
    TaskState.RUNNING,
)


# cancel


async def test_a_stage_that_waits_is_cancelled_and_the_rest_goes_on(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    shop = desk.shop
    path = shop.write_movie("x")
    await shop.prove(path)
    assert await desk.ask("task.cancel", stage="divide", session="session1", why="wrong camera") == {
        "tasks": 1,
        "movies": 1,
    }
    await shop.process()
    state, states = await shop.states_of(path)
    assert state is MovieState.DONE
    assert states == {"add": DONE, "divide": CANCELLED, "mark": TaskState.SKIPPED, "draw": DONE}
    assert (await shop.tasks_of(path))["divide"].reason == "cancelled by ada (operator): wrong camera"
    assert ("task", "pending", "cancelled", "ada (operator)") in await desk.moves(path)
    assert (await shop.event_kinds()).count("cancelled dividing") == 1


@pytest.mark.parametrize("whole_job", [False, True])
async def test_what_runs_is_asked_to_stop(open_desk: OpenDesk, whole_job: bool) -> None:
    desk = await open_desk()
    shop = desk.shop
    path, hold = shop.write_movie("x"), ListeningHold()
    shop.script.acts["divide", "x"] = hold
    await shop.prove(path)
    async with shop.running():
        await hold.reached()
        if whole_job:
            await desk.ask("job.cancel", job="session1", why="wrong grid")
        else:
            await desk.ask("task.cancel", images=["x"], stage="divide")
        assert (await shop.tasks_of(path))["divide"].state is CANCELLED
        hold.go_on()
        await shop.until_idle()
    state, states = await shop.states_of(path)
    assert state is MovieState.DONE
    assert states["divide"] is CANCELLED
    assert states["draw"] is (CANCELLED if whole_job else DONE)
    assert states["mark"] is (CANCELLED if whole_job else TaskState.SKIPPED)
    assert not (shop.session_home / "shares" / "x_share.mrc").exists()
    assert read_record(shop.session_home, "divide", "x") is None


async def test_a_stage_that_runs_beside_what_is_cancelled_is_not_lost(open_desk: OpenDesk) -> None:
    """`add` is still being written when it is cancelled; `divide`, which runs, is put back and then skipped."""
    desk = await open_desk()
    shop = desk.shop
    path, hold = shop.write_movie("x"), ListeningHold()
    shop.script.acts["add", "x"] = hold
    await shop.prove(path)
    async with shop.running():
        await hold.reached()
        await desk.ask("task.cancel", stage="add")
        hold.go_on()
        await shop.until_idle()
    state, states = await shop.states_of(path)
    assert (state, states["add"]) == (MovieState.DONE, CANCELLED)
    assert set(states.values()) == {CANCELLED, TaskState.SKIPPED}


async def job_of(desk: Desk) -> JobState:
    (view,) = await view_jobs(desk.shop.store, desk.shop.engine.graph)
    return view.state


async def test_a_cancelled_job_gives_up_what_waits_and_goes_on_with_movies_that_come_later(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    shop = desk.shop
    (old,) = await desk.finish("old")
    assert await desk.ask("job.cancel", job="session1") == {"tasks": 0, "movies": 0, "jobs": 0}
    assert await job_of(desk) is JobState.RUNNING, "nothing was cancelled"
    waits = shop.write_movie("waits", seed=2)
    await shop.prove(waits)
    assert await desk.ask("job.cancel", job="session1") == {"tasks": 4, "movies": 1, "jobs": 1}
    await shop.process()
    assert await shop.states_of(waits) == (MovieState.DONE, dict.fromkeys(ALL_DONE, CANCELLED))
    assert (await shop.event_kinds()).count("job.cancelled") == 1
    assert await job_of(desk) is JobState.CANCELLED
    with pytest.raises(CommandRefused, match="cancelled already") as refused:
        await desk.ask("job.cancel", job="session1")
    assert "--cancelled" in refused.value.hint

    (late,) = await desk.finish("late", seeds=(3,))
    assert await shop.states_of(late) == (MovieState.DONE, ALL_DONE)
    assert await shop.states_of(old) == (MovieState.DONE, ALL_DONE)
    assert await job_of(desk) is JobState.RUNNING
    (job,) = await sessions.jobs(shop.store)
    assert job.cancelled_by is None


async def test_what_was_cancelled_is_taken_up_again_when_asked_for(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    shop = desk.shop
    waits, copied = shop.write_movie("waits"), shop.write_movie("copied", seed=2)
    await shop.intake.seen([identify(copied)])
    await shop.prove(waits)
    assert (await desk.ask("job.cancel", job="session1"))["tasks"] == 8
    await shop.process()
    nothing = {"tasks": 0, "movies": 0, "open": 0, "cancelled": 8, "looked_at": 0}
    assert await desk.ask("task.retry", session="session1") == nothing, "a retry asks for what failed"
    taken = await desk.ask("task.retry", session="session1", cancelled=True)
    assert taken == {"tasks": 8, "movies": 2, "open": 8, "cancelled": 0, "looked_at": 0}
    assert (await shop.movie(copied)).state is MovieState.SETTLING, "it is not whole for being asked for"
    assert await job_of(desk) is JobState.PENDING
    await shop.process()
    assert await shop.states_of(waits) == (MovieState.DONE, ALL_DONE)
    await shop.intake.complete(identify(copied), None, "whole")
    await shop.process()
    assert await shop.states_of(copied) == (MovieState.DONE, ALL_DONE)


async def test_what_depends_on_a_reprocessed_stage_runs_though_it_was_cancelled(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    shop = desk.shop
    path = shop.write_movie("x")
    await shop.prove(path)
    await desk.ask("task.cancel", stage="divide")
    await shop.process()
    left = await desk.ask("stage.reprocess", stage="mark", session="session1", preview=True)
    assert left["left_out"] == {"divide was cancelled": 1}
    done = await desk.ask("stage.reprocess", stage="add", session="session1")
    assert done["stages"] == dict.fromkeys(ALL_DONE, 1)
    await shop.process()
    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)


async def test_only_what_is_open_can_be_cancelled(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    (path,) = await desk.finish("x")
    task = (await desk.shop.tasks_of(path))["add"]
    for arguments, said in (
        ({"task_ids": [task.task_id]}, "is completed; only what waits or runs"),
        ({"task_ids": ["nosuch"]}, "no task 'nosuch'"),
        ({}, "Nothing is named"),
        ({"stage": "nosuch"}, "no stage 'nosuch'"),
        ({"images": ["nosuch"]}, "no micrograph nosuch"),
    ):
        with pytest.raises(CommandRefused, match=said):
            await desk.ask("task.cancel", **arguments)
    assert await desk.ask("task.cancel", stage="add") == {"tasks": 0, "movies": 0}


async def test_a_job_is_marked_completed_and_taken_up_again(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    shop = desk.shop
    path = shop.write_movie("x")
    shop.script.fail("add", "x", ValueError("no"))
    await shop.prove(path)
    await shop.process()
    completed = await desk.ask("job.complete", job="session1", why="enough")
    (job_id,) = completed["jobs"]
    assert completed["sessions"] == ["session1"]
    (job,) = await sessions.jobs(shop.store)
    assert (job.job_id, job.completed_by) == (job_id, "ada (operator)")
    with pytest.raises(CommandRefused, match="marked completed already"):
        await desk.ask("job.complete", job=job_id)
    await desk.ask("task.retry", session="session1")
    (job,) = await sessions.jobs(shop.store)
    assert job.completed_by is None


# reprocess


async def test_reprocessing_runs_a_stage_and_what_depends_on_it_with_new_parameters(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    shop = desk.shop
    x, y = await desk.finish("x", "y")
    before = shop.outputs()
    asked = {"stage": "divide", "images": ["x"], "values": {"factor": 3.0}, "why": "too dark"}
    preview = await desk.ask("stage.reprocess", **asked, preview=True)
    assert (preview["movies"], preview["stages"]) == (1, {"divide": 1, "mark": 1})
    assert await shop.states_of(x) == (MovieState.DONE, ALL_DONE), "a preview does nothing"
    done = await desk.ask("stage.reprocess", **asked, token=preview["token"])
    assert done == {**preview, "preview": False}
    await shop.process()
    assert await shop.states_of(x) == (MovieState.DONE, ALL_DONE)
    assert {name: shop.script.count(name, "x") for name in ALL_DONE} == {"add": 1, "divide": 2, "mark": 2, "draw": 1}
    assert [run for run in shop.script.runs if run[1] == "y"] == [(name, "y") for name in ALL_DONE]

    after = shop.outputs()
    changed = {path for path in before if before[path] != after[path]}
    assert before.keys() == after.keys()
    assert {path for path in changed if not path.startswith(".elcano")} == {"shares/x_share.mrc", "marks/x_mark.mrc"}
    record = read_record(shop.session_home, "divide", "x")
    assert record is not None
    assert record.parameters == {"factor": 3.0}
    tasks_of_x = await shop.tasks_of(x)
    assert tasks_of_x["divide"].parameters_hash == record.parameters_hash
    assert tasks_of_x["divide"].parameters_hash != (await shop.tasks_of(y))["divide"].parameters_hash
    numbers = {row["name"]: row["total"] for row in await metrics.stage_rows(shop.store, "divide")}
    first = {row["name"]: row["total"] for row in await metrics.stage_rows(shop.store, "add")}
    assert numbers["x"] == pytest.approx(3 * first["x"])
    assert ("task", "completed", "pending", "ada (operator)") in await desk.moves(x)

    # Without values it runs as the stage is configured, and the bytes are those of the first time.
    await desk.ask("stage.reprocess", stage="divide", session="session1")
    await shop.process()
    assert shop.outputs() == before


async def test_a_condition_selects_and_a_stale_preview_is_refused(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    await desk.finish("x", "y", "z")
    asked = {"stage": "draw", "where": "name <> 'x' AND state = 'done'"}
    preview = await desk.ask("stage.reprocess", **asked, preview=True)
    assert (preview["movies"], preview["tasks"]) == (2, 2)
    await desk.finish("later")
    with pytest.raises(CommandRefused, match="The preview had 2 micrographs, now it would be 3"):
        await desk.ask("stage.reprocess", **asked, token=preview["token"])
    for arguments, error, said in (
        ({"where": "nonsense = 1"}, QueryRefused, "nonsense"),
        ({"where": "true) --"}, QueryRefused, "refuse|syntax|DuckDB"),
        ({"images": ["nosuch"]}, CommandRefused, "no micrograph nosuch"),
        ({"session": "nosuch"}, CommandRefused, "no session"),
        ({"values": {"factor": -1}}, CommandRefused, "factor: -1 is not allowed"),
        ({"values": {"factor": "3"}}, CommandRefused, "factor"),
        ({"values": {"sharpness": 3}}, CommandRefused, "sharpness.*"),
    ):
        with pytest.raises(error, match=said):
            await desk.ask("stage.reprocess", stage="draw", **arguments)


async def test_what_lacks_its_input_is_left_out_and_counted(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    shop = desk.shop
    shop.script.fail("divide", "y", ValueError("no"))
    await desk.finish("x", "y")
    done = await desk.ask("stage.reprocess", stage="mark", session="session1")
    assert (done["movies"], done["left_out"]) == (1, {"divide did not succeed": 1})
    done = await desk.ask("stage.reprocess", stage="divide", session="session1", preview=True)
    assert (done["movies"], done["stages"]) == (2, {"divide": 2, "mark": 2})


async def test_no_stale_result_is_believed_by_the_next_daemon(open_desk: OpenDesk) -> None:
    """`add` is made anew; the record of the `divide` that was made of the old one must not be adopted after it."""
    desk = await open_desk()
    (path,) = await desk.finish("x")
    await desk.ask("stage.pause", stage="divide")
    await desk.ask("stage.reprocess", stage="add", session="session1", values={"factor": 2.0})
    await desk.shop.process()
    states = (await desk.shop.states_of(path))[1]
    assert (states["add"], states["divide"], states["draw"]) == (DONE, PENDING, DONE)
    following = await open_desk()
    await following.ask("stage.resume", stage="divide")
    await following.shop.process()
    assert await following.shop.states_of(path) == (MovieState.DONE, ALL_DONE)
    assert following.shop.script.count("divide", "x") == 1
    numbers = {stage: (await metrics.stage_rows(following.shop.store, stage))[0]["total"] for stage in ALL_DONE}
    assert numbers["divide"] == pytest.approx(numbers["add"])


async def test_a_reprocessed_stage_that_fails_leaves_nothing_of_its_former_result(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    shop = desk.shop
    (path,) = await desk.finish("x")
    shop.script.fail("add", "x", ValueError("no"))
    await desk.ask("stage.reprocess", stage="add", session="session1")
    await shop.process()
    state, states = await shop.states_of(path)
    assert state is MovieState.FAILED
    assert states == {"add": TaskState.FAILED} | dict.fromkeys(("divide", "mark", "draw"), TaskState.SKIPPED)
    assert [name for name in shop.outputs() if not name.startswith(".elcano") and name.endswith(".mrc")] == []
    (row,) = await metrics.stage_rows(shop.store, "divide")
    assert row["total"] is None
    await desk.ask("task.retry", session="session1")
    await shop.process()
    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)


async def test_a_movie_in_work_is_stopped_and_runs_with_the_new_values(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    shop = desk.shop
    path, hold = shop.write_movie("x"), ListeningHold()
    shop.script.acts["add", "x"] = hold
    await shop.prove(path)
    async with shop.running():
        await hold.reached()
        await desk.ask("stage.reprocess", stage="divide", images=["x"], values={"factor": 5.0})
        del shop.script.acts["add", "x"]
        hold.go_on()
        await shop.until_idle()
    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)
    record = read_record(shop.session_home, "divide", "x")
    assert record is not None
    assert record.parameters == {"factor": 5.0}
    assert shop.script.count("divide", "x") == 1


async def test_a_visit_is_stopped_before_its_input_is_put_back(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that a visit makes of the old sum may be begun, or committed, once `add` is to run again."""
    desk = await open_desk()
    shop = desk.shop
    path, hold = shop.write_movie("x"), ListeningHold()
    contexts: list[StageContext] = []
    stopped: list[bool] = []

    def keep_and_hold(context: StageContext) -> None:
        contexts.append(context)
        hold(context)

    commit = shop.store.commit

    async def look_and_commit(*changes: Change) -> None:
        if any(isinstance(change, PutBackTasks) and change.cause == "reprocess" for change in changes):
            try:
                contexts[0].check_cancelled()
            except TaskCancelled:
                stopped.append(True)
        await commit(*changes)

    shop.script.acts["divide", "x"] = keep_and_hold
    monkeypatch.setattr(shop.store, "commit", look_and_commit)
    await shop.prove(path)
    async with shop.running():
        await hold.reached()
        done = await desk.ask("stage.reprocess", stage="add", images=["x"], values={"factor": 2.0})
        assert done["stages"] == dict.fromkeys(ALL_DONE, 1), "what waits is put back too"
        assert all(task.from_scratch for task in (await shop.tasks_of(path)).values())
        del shop.script.acts["divide", "x"]
        hold.go_on()
        await shop.until_idle()
    assert stopped == [True]
    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)
    assert {stage: shop.script.count(stage, "x") for stage in ALL_DONE} == {"add": 2, "divide": 2, "mark": 1, "draw": 1}
    totals = {stage: (await metrics.stage_rows(shop.store, stage))[0]["total"] for stage in ALL_DONE}
    assert len(set(totals.values())) == 1, totals


async def test_who_has_not_seen_that_a_task_is_wanted_anew_cannot_begin_it(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    shop = desk.shop
    path = shop.write_movie("x")
    await shop.prove(path)
    work = await fetch_work(shop.store, shop.engine.parameters, (await shop.movie(path)).movie_id)
    assert work is not None
    task = work.pending["add"]
    await shop.store.commit(PutBackTask(task.task_id, "again", asked_by="ada", from_scratch=True))
    assert not await shop.engine.recorder.start_attempt(work, task)
    assert (await shop.tasks_of(path))["add"].state is PENDING


# pause and resume


async def test_a_paused_stage_waits_while_the_others_go_on(open_desk: OpenDesk, meter: MovieMeter) -> None:
    desk = await open_desk()
    shop = desk.shop
    await desk.ask("stage.pause", stage="divide", why="wrong range")
    (path,) = await desk.finish("x")
    state, states = await shop.states_of(path)
    assert (state, states) == (
        MovieState.COMPLETE,
        {"add": DONE, "divide": PENDING, "mark": PENDING, "draw": DONE},
    )
    assert shop.scheduler.is_idle
    (pause,) = (await desk.ask("stage.resume", stage="divide"))["paused"] or [None]
    assert pause is None
    await shop.process()
    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)
    assert meter.reads["x.mrc"] == 1, "what was paused reads the products, not the movie"


async def test_pauses_outlive_the_daemon(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    for name, arguments in (
        ("stage.pause", {"stage": "draw", "why": "no ink"}),
        ("stage.pause", {"stage": "mark", "session": "session1"}),
        ("session.pause", {"session": "session1"}),
        ("node.pause", {"why": "maintenance"}),
    ):
        desk.shop.clock.now_s += 1
        await desk.ask(name, **arguments)
    path = desk.shop.write_movie("x")
    await desk.shop.prove(path)
    await desk.shop.process()
    assert desk.shop.script.runs == []
    assert desk.shop.scheduler.statistics().waiting == 1, "the backlog is held back while the node is paused"

    desk = await open_desk()
    shop = desk.shop
    standing = await desk.controls.pausing.standing()
    assert [(pause["stage"], pause["session"], pause["why"]) for pause in standing] == [
        ("draw", None, "no ink"),
        ("mark", "session1", ""),
        (None, "session1", ""),
        (None, None, "maintenance"),
    ]
    assert {pause["asked_by"] for pause in standing} == {"ada (operator)"}
    for name, arguments, ran in (
        ("node.resume", {}, []),
        ("session.resume", {"session": "session1"}, ["add", "divide"]),
        ("stage.resume", {"stage": "mark", "session": "session1"}, ["add", "divide", "mark"]),
        ("stage.resume", {"stage": "draw"}, ["add", "divide", "mark", "draw"]),
    ):
        await desk.ask(name, **arguments)
        await shop.process()
        assert [stage for stage, _ in shop.script.runs] == ran
    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)
    with pytest.raises(CommandRefused, match="draw is not paused") as refused:
        await desk.ask("stage.resume", stage="draw")
    assert refused.value.hint == "Paused: nothing."


async def test_a_pause_in_the_middle_of_a_visit_lets_the_running_stage_end(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    shop = desk.shop
    path, hold = shop.write_movie("x"), ListeningHold()
    shop.script.acts["add", "x"] = hold
    await shop.prove(path)
    async with shop.running():
        await hold.reached()
        await desk.ask("node.pause")
        hold.go_on()
        await shop.until_idle()
        assert (await shop.states_of(path))[1] == ALL_DONE | dict.fromkeys(("divide", "mark", "draw"), PENDING)
        await desk.ask("node.resume")
        await shop.until_idle()
    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)
    assert shop.script.count("add", "x") == 1


async def test_a_retry_that_is_due_waits_for_the_end_of_the_pause(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    shop = desk.shop
    path = shop.write_movie("x")
    shop.script.fail("divide", "x", Hiccup("once"))
    await shop.prove(path)
    async with shop.running():
        await shop.until_delayed()
        await desk.ask("stage.pause", stage="divide")
        shop.clock.now_s += 60
        shop.scheduler.look_again()
        await shop.until_idle()
        assert (await shop.tasks_of(path))["divide"].state is PENDING
        await desk.ask("stage.resume", stage="divide")
        await shop.until_idle()
    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)
