"""Putting back many tasks at once says the same, in every table, as putting back one after the other."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from daemon.domain.states import MovieState, TaskState
from daemon.errors import IllegalMove
from daemon.store import tasks
from daemon.store.changes import Change, EndTask, MoveMovie, PutBackTask, PutBackTasks, StartAttempt
from daemon.store.connection import Connection
from daemon.store.store import Store
from tests.store.conftest import Clock
from tests.store.records import METRICS, NOW_S, begin, complete_movie

pytestmark = pytest.mark.anyio

MOVIES = range(1, 21)
TASKS = tuple(f"t{number}{letter}" for number in MOVIES for letter in "ab")
WHY = "reprocessed by ada: caf\udce9"


def live(number: int) -> tuple[Change, ...]:
    """One of five ways in which the tasks of a movie may stand."""
    first, second = f"t{number}a", f"t{number}b"
    start = StartAttempt(first, 1, "hash", started_at_s=NOW_S + number)
    done = EndTask(first, TaskState.COMPLETED, 1, warnings=("dim",), code_version="0.1", ended_at_s=NOW_S + 50)
    failed = EndTask(first, TaskState.FAILED, 1, reason="dark", kind="dark", hint="open the valve", retryable=True)
    own = PutBackTask(second, "", asked_by="bob", parameters={"factor": 2.5})
    ways: tuple[tuple[Change, ...], ...] = (
        (),
        (start,),
        (start, done, own),
        (start, failed, EndTask(second, TaskState.SKIPPED, reason="upstream", kind="upstream")),
        (own, EndTask(second, TaskState.CANCELLED, reason="enough")),
    )
    return (*complete_movie(number), *ways[number % len(ways)])


def read_tables(connection: Connection) -> Mapping[str, list[Any]]:
    kept = {
        "task": connection.execute("SELECT * FROM task ORDER BY task_id").fetchall(),
        "attempt": connection.execute("SELECT * FROM attempt ORDER BY attempt_id").fetchall(),
        "history": connection.execute("SELECT * EXCLUDE (seq) FROM history").fetchall(),
    }
    return {table: sorted(rows, key=repr) for table, rows in kept.items()}


@pytest.mark.parametrize("parameters", [{}, {"ctf_estimation": {"factor": 3.0}}, {"ctf_estimation": {}}])
async def test_the_same_as_one_by_one(
    tmp_path: Path, clock: Clock, store: Store, parameters: Mapping[str, Mapping[str, Any]]
) -> None:
    changes = (*begin(), *(change for number in MOVIES for change in live(number)))
    together = PutBackTasks(TASKS, WHY, "ada", cause="reprocess", parameters=parameters, from_scratch=True)
    await store.commit(*changes)
    await store.commit(together)
    with Store.open(tmp_path / "other.duckdb", metrics=METRICS, clock=clock) as other:
        await other.commit(*changes)
        for task_id in TASKS:
            given = parameters.get("motion_correction" if task_id.endswith("a") else "ctf_estimation")
            back = PutBackTask(
                task_id, WHY, asked_by="ada", cause="reprocess", parameters=given, from_scratch=True, at_s=clock.now_s
            )
            await other.commit(back)
        assert await store.read(read_tables) == await other.read(read_tables)
        assert store.count_tasks() == other.count_tasks()
    numbers = await store.read(lambda c: c.execute("SELECT seq FROM history ORDER BY seq").fetchall())
    assert numbers == [(seq,) for seq in range(1, len(numbers) + 1)]


async def test_what_follows_at_once_sees_it(store: Store) -> None:
    await store.commit(*begin(), *(change for number in MOVIES for change in live(number)))
    await asyncio.gather(
        store.commit(PutBackTasks(TASKS, "again", "ada", from_scratch=True)),
        store.commit(
            *(StartAttempt(f"t{number}a", 2, "hash", takes_back=True) for number in MOVIES if number % 5 == 2)
        ),
    )
    found = await tasks.tasks(store, session_id="s1")
    assert {task.state for task in found} == {TaskState.PENDING, TaskState.RUNNING}
    assert sum(task.state is TaskState.RUNNING for task in found) == len(MOVIES) / 5
    assert all(task.from_scratch is (task.state is TaskState.PENDING) for task in found)


async def test_one_of_a_movie_that_is_gone_keeps_all_as_they_were(store: Store) -> None:
    await store.commit(*begin(), *(change for number in MOVIES for change in live(number)))
    await store.commit(MoveMovie("m7", MovieState.SUPERSEDED, "rewritten"))
    before, counts = await store.read(read_tables), store.count_tasks()
    with pytest.raises(IllegalMove, match="its movie is superseded"):
        await store.commit(PutBackTasks(TASKS, "again", "ada"))
    with pytest.raises(IllegalMove, match="task nobody: is not in the store"):
        await store.commit(PutBackTasks((*TASKS[:12], "nobody"), "again", "ada"))
    assert (await store.read(read_tables), store.count_tasks()) == (before, counts)


async def test_tasks_owed_are_those_of_the_session_by_movie(store: Store) -> None:
    await store.commit(*begin(), *complete_movie(2), *complete_movie(1), StartAttempt("t1b", 1, "hash"))
    owed = await tasks.owed_tasks(store, "s1")
    assert {movie: [(task.task_id, task.stage, task.state) for task in found] for movie, found in owed.items()} == {
        "m1": [("t1a", "motion_correction", TaskState.PENDING), ("t1b", "ctf_estimation", TaskState.RUNNING)],
        "m2": [("t2a", "motion_correction", TaskState.PENDING), ("t2b", "ctf_estimation", TaskState.PENDING)],
    }
    assert {task.job_id for found in owed.values() for task in found} == {"j1"}
    assert await tasks.owed_tasks(store, "other") == {}
