"""What the next daemon makes of what the last one left."""

from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.domain.states import MovieState, TaskState
from daemon.engine.attempts import count_ends
from daemon.engine.recovery import mark_stopped, recover
from daemon.store import tasks
from daemon.store.changes import EndTask, PutBackTask, StartAttempt
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
    assert (recovered.put_back, recovered.suspected, recovered.offered) == (1, 1, 2)
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


async def test_kills_from_outside_never_give_a_movie_up(build: Build) -> None:
    """However often the daemon died in a task: that alone is no proof against the movie."""
    shop = build()
    await shop.open_session()
    path, other = shop.write_movie("a"), shop.write_movie("b")
    await shop.prove(path, other)
    await interrupt(shop, path, 12)

    shop = build()
    await shop.open_session()
    offered: list[bool] = []

    def offer(movie_id: str, last_write_s: float, *, suspect: bool = False) -> None:
        offered.append(suspect)
        shop.scheduler.offer(movie_id, last_write_s, suspect=suspect)

    await recover(shop.store, offer)
    assert offered == [False, False], "in a process of its own it endangers nobody: it need not be alone"
    await shop.process()
    for done in (path, other):
        assert await shop.states_of(done) == (MovieState.DONE, ALL_DONE)
    assert shop.script.count("add", "a") == 0, "it was computed in another process"
    assert shop.script.count("add", "b") == 1


async def test_an_orderly_end_raises_no_suspicion(build: Build) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    await shop.prove(path)
    for attempt in range(1, 6):
        await shop.store.commit(StartAttempt((await shop.tasks_of(path))["add"].task_id, attempt, "hash"))
        assert await mark_stopped(shop.store) == 1
    ends = await count_ends(shop.store, (await shop.tasks_of(path))["add"])
    assert (ends.interruptions, ends.is_suspect) == (0, False)
    recovered = await recover(shop.store, shop.scheduler.offer)
    assert (recovered.put_back, recovered.suspected) == (0, 0)
    await shop.process()
    assert shop.script.count("add", "a") == 1


async def test_what_is_counted_begins_anew_when_a_person_asks_also_after_the_clock_was_set_back(build: Build) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    await shop.prove(path)
    await interrupt(shop, path, 2)
    task = (await shop.tasks_of(path))["add"]
    await shop.store.commit(PutBackTask(task.task_id, "crashed", kind="crashed", cause="retryable failure"))
    await shop.store.commit(StartAttempt(task.task_id, 3, "hash"))
    await shop.store.commit(EndTask(task.task_id, TaskState.FAILED, attempt=3, reason="no", kind="hiccup"))
    ends = await count_ends(shop.store, task)
    assert (ends.failures, ends.crashes, ends.interruptions) == (1, 1, 1)

    shop.clock.now_s -= 86400.0
    await shop.store.commit(PutBackTask(task.task_id, "try again", cause="retry", asked_by="ann"))
    assert vars(await count_ends(shop.store, task)) == {"failures": 0, "crashes": 0, "interruptions": 0}
    await shop.store.commit(StartAttempt(task.task_id, 4, "hash"))
    await shop.store.commit(PutBackTask(task.task_id, "later", kind="hiccup", cause="retryable failure"))
    assert (await count_ends(shop.store, task)).failures == 1


async def test_interruptions_do_not_use_up_retries(build: Build) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("a")
    await shop.prove(path)
    await interrupt(shop, path, 1)
    shop = build()
    await shop.open_session()
    shop.script.fail("add", "a", MemoryError("once"), MemoryError("twice"))
    await recover(shop.store, shop.scheduler.offer)
    await shop.process()
    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)
    assert (await shop.tasks_of(path))["add"].attempts == 4


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
    assert vars(recovered) == {"put_back": 0, "suspected": 0, "offered": 0}
    assert shop.scheduler.is_idle
