"""A processed movie that is moved takes tasks, parameters and results along, and its figures stay what they were."""

from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.domain.states import MovieState, TaskState
from daemon.sessions.outdated import reopen
from daemon.store import metrics
from daemon.store.changes import EndTask, PutBackTask
from daemon.store.untold import untold_moves
from tests.engine.fakes import ALL_DONE, Add, Divide, Draw, Mark
from tests.engine.workshop import Workshop, identify

pytestmark = pytest.mark.anyio

Build = Callable[..., Workshop]


async def process_one(shop: Workshop) -> Path:
    await shop.open_session()
    path = shop.write_movie("a")
    await shop.prove(path)
    await shop.process()
    return path


def rename(path: Path, target: Path) -> Path:
    target.parent.mkdir(exist_ok=True)
    return path.rename(target)


async def move(shop: Workshop, path: Path, folder: str, name: str = "a.mrc") -> Path:
    """Move a movie into another folder of its session; nothing is to be computed from then on."""
    await shop.intake.vanished([identify(path)])
    target = shop.raw / folder / name
    moved = rename(path, target)
    shop.script.runs.clear()
    await shop.prove(moved)
    await shop.process()
    return moved


async def reprocess(shop: Workshop, path: Path, stage: str, factor: float) -> None:
    """Run one stage again with a parameter that somebody chose."""
    task, movie = (await shop.tasks_of(path))[stage], await shop.movie(path)
    chosen = {stage: {"factor": factor}}
    await shop.store.commit(*reopen([movie], [task.task_id], "again", "ada", parameters=chosen))
    shop.scheduler.offer_anew(movie.movie_id, movie.last_write_s)
    await shop.process()


async def test_chosen_parameters_and_their_results_move_along(build: Build) -> None:
    shop = build(stages=(Add, Divide, Draw, Mark))
    path = await process_one(shop)
    await reprocess(shop, path, "divide", 3.0)
    before, outputs = await shop.tasks_of(path), shop.outputs()
    for folder in ("frames2", "frames"):
        path = await move(shop, path, folder)
        assert shop.script.runs == []
        assert shop.outputs() == outputs
        assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)
        after = await shop.tasks_of(path)
        for stage, task in before.items():
            moved = after[stage]
            assert (moved.parameters, moved.parameters_hash) == (task.parameters, task.parameters_hash)
            assert (moved.attempts, moved.started_at_s, moved.ended_at_s) == (
                task.attempts,
                task.started_at_s,
                task.ended_at_s,
            )
    assert (await shop.tasks_of(path))["divide"].parameters == {"factor": 3.0}
    assert await untold_moves(shop.store, shop.session_id) == []
    await reprocess(shop, path, "divide", 2.0)
    assert (await shop.tasks_of(path))["divide"].attempts == before["divide"].attempts + 1


async def test_what_was_cancelled_stays_so_and_what_waited_keeps_its_parameters(build: Build) -> None:
    shop = build(stages=(Add, Divide))
    await shop.open_session()
    path = shop.write_movie("a")
    await shop.prove(path)
    owed = await shop.tasks_of(path)
    chosen = PutBackTask(
        owed["add"].task_id, "asked", cause="reprocess", asked_by="ada", parameters={"factor": 3.0}, from_scratch=True
    )
    unwanted = EndTask(owed["divide"].task_id, TaskState.CANCELLED, reason="not wanted", kind="cancelled")
    await shop.store.commit(chosen, unwanted)
    moved = await move(shop, path, "frames2")
    assert [stage for stage, _ in shop.script.runs] == ["add"]
    after = await shop.tasks_of(moved)
    assert after["add"].parameters == {"factor": 3.0}
    assert (after["divide"].state, after["divide"].reason) == (TaskState.CANCELLED, "not wanted")


async def test_a_moved_movie_keeps_its_first_latency(build: Build) -> None:
    shop = build(stages=(Add,))
    path = await process_one(shop)
    first = await metrics.latency(shop.store, shop.session_id, "add")
    assert first is not None
    shop.clock.now_s += 5000
    path = await move(shop, path, "frames2")
    assert await metrics.latency(shop.store, shop.session_id, "add") == first


async def test_a_movie_that_was_given_up_and_looked_at_again_says_nothing_of_latency(build: Build) -> None:
    shop = build(stages=(Add,))
    await shop.open_session()
    path = shop.write_movie("a")
    file = identify(path)
    await shop.intake.seen([file])
    await shop.intake.quarantined(file, "could not be read")
    shop.clock.now_s += 5000
    await shop.intake.rewritten(file, file)
    await shop.intake.complete(file, None, "whole")
    await shop.process()
    assert (await shop.movie(path)).state is MovieState.DONE
    assert await metrics.latency(shop.store, shop.session_id, "add") is None


async def test_a_moved_movie_that_goes_before_it_is_looked_at_and_comes_back_is_not_made_again(build: Build) -> None:
    shop = build(stages=(Add,))
    path = await process_one(shop)
    await shop.intake.vanished([identify(path)])
    moved = path.rename(path.with_name("b.mrc"))
    file = identify(moved)
    await shop.intake.seen([file])
    await shop.intake.vanished([file])
    assert (await shop.movie(moved)).state is MovieState.VANISHED
    shop.script.runs.clear()
    await shop.prove(moved)
    await shop.process()
    assert await shop.states_of(moved) == (MovieState.DONE, {"add": TaskState.COMPLETED})
    assert shop.script.runs == []
