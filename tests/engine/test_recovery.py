"""What the next daemon makes of what the last one left."""

from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.domain.states import MovieState, TaskState
from daemon.engine.attempts import MOST_INTERRUPTIONS
from daemon.engine.recovery import recover
from daemon.store import tasks
from daemon.store.changes import PutBackTask, StartAttempt
from tests.engine.fakes import ALL_DONE
from tests.engine.workshop import Workshop, identify

pytestmark = pytest.mark.anyio

Build = Callable[..., Workshop]


async def interrupt(shop: Workshop, path: Path, times: int, *, stage: str = "add") -> None:
    """Let attempts of a stage die with the daemon; the last one is still running in the store."""
    for attempt in range(1, times + 1):
        task = (await shop.tasks_of(path))[stage]
        if task.state is TaskState.RUNNING:
            await shop.store.commit(PutBackTask(task.task_id, "the daemon stopped while it ran", cause="recovery"))
        await shop.store.commit(StartAttempt(task.task_id, attempt, "hash"))


async def test_interrupted_tasks_are_put_back_and_their_movies_suspected(build: Build) -> None:
    shop = build()
    await shop.open_session()
    first, second, third = (shop.write_movie(name) for name in "abc")
    await shop.prove(first, second)
    await shop.intake.seen([identify(third)])
    await interrupt(shop, second, 1)

    shop = build()
    await shop.open_session()
    offered: list[tuple[str, bool]] = []

    def offer(movie_id: str, last_write_s: float, *, suspect: bool = False) -> None:
        offered.append((movie_id, suspect))
        shop.scheduler.offer(movie_id, last_write_s, suspect=suspect)

    recovered = await recover(shop.store, offer)
    assert (recovered.put_back, recovered.given_up, recovered.offered) == (1, 0, 2)
    assert sorted(offered) == sorted(
        [((await shop.movie(first)).movie_id, False), ((await shop.movie(second)).movie_id, True)]
    )
    task = (await shop.tasks_of(second))["add"]
    assert (task.state, task.attempts) == (TaskState.PENDING, 1)
    await shop.process()
    assert [image for _, image in shop.script.runs][:4] == ["b"] * 4
    for path in (first, second):
        assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)
    outcomes = [attempt.outcome for attempt in await tasks.attempts(shop.store, task.task_id)]
    assert outcomes == ["interrupted", "completed"]
    assert (await shop.movie(third)).state is MovieState.SETTLING


@pytest.mark.parametrize(("times", "is_given_up"), [(MOST_INTERRUPTIONS - 1, False), (MOST_INTERRUPTIONS, True)])
async def test_what_kills_the_daemon_time_and_again_is_given_up(build: Build, times: int, is_given_up: bool) -> None:
    shop = build()
    await shop.open_session()
    path, other = shop.write_movie("a"), shop.write_movie("b")
    await shop.prove(path, other)
    await interrupt(shop, path, times)

    shop = build()
    await shop.open_session()
    recovered = await recover(shop.store, shop.scheduler.offer)
    assert recovered.given_up == int(is_given_up)
    await shop.process()
    assert await shop.states_of(other) == (MovieState.DONE, ALL_DONE)
    movie, owed = await shop.movie(path), await shop.tasks_of(path)
    if not is_given_up:
        assert movie.state is MovieState.DONE
        return
    assert movie.state is MovieState.QUARANTINED
    assert owed["add"].error_kind == "crashed"
    assert f"died {MOST_INTERRUPTIONS} times" in owed["add"].reason
    assert shop.script.count("add", "a") == 0
    kinds = await shop.event_kinds()
    assert kinds.count("failed adding") == 1
    assert owed["mark"].state is TaskState.SKIPPED


async def test_interruptions_do_not_use_up_retries(build: Build) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    await shop.prove(path)
    await interrupt(shop, path, 4)
    shop = build()
    await shop.open_session()
    shop.script.fail("add", "a", MemoryError("once"), MemoryError("twice"))
    await recover(shop.store, shop.scheduler.offer)
    await shop.process()
    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)
    assert (await shop.tasks_of(path))["add"].attempts == 7


async def test_a_retry_keeps_its_time_over_a_restart(build: Build) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    await shop.prove(path)
    task = (await shop.tasks_of(path))["add"]
    due_s = shop.clock.now_s + 77.0
    await shop.store.commit(StartAttempt(task.task_id, 1, "hash"))
    await shop.store.commit(PutBackTask(task.task_id, "busy", kind="hiccup", cause="retry", next_attempt_at_s=due_s))
    shop = build()
    await shop.open_session()
    recovered = await recover(shop.store, shop.scheduler.offer)
    assert (recovered.put_back, recovered.offered) == (0, 1)
    ran_at_s: list[float] = []
    shop.script.acts["add", "a"] = lambda _: ran_at_s.append(shop.clock.now_s)
    await shop.process()
    assert ran_at_s == [due_s]
    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)


async def test_there_is_nothing_to_do_after_a_good_end(build: Build) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    await shop.prove(path)
    await shop.process()
    shop = build()
    await shop.open_session()
    recovered = await recover(shop.store, shop.scheduler.offer)
    assert vars(recovered) == {"put_back": 0, "given_up": 0, "offered": 0}
    assert shop.scheduler.is_idle
