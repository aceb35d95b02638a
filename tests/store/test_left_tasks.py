"""Tasks of movies that were left alone are counted exactly, and again only where something has changed."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from daemon.domain.states import MovieState, TaskState
from daemon.store.changes import EndTask, MoveMovie, NewTask, PutBackTasks, PutJob, PutTasks
from daemon.store.store import Store
from tests.store.records import begin, complete_movie, put_session, see_movie

pytestmark = pytest.mark.anyio

PENDING, CANCELLED = TaskState.PENDING, TaskState.CANCELLED


@pytest.fixture
async def two(store: Store) -> Store:
    """Two sessions, each with a movie and its task in a job of its own."""
    await store.commit(*begin(), *complete_movie(1), *complete_movie(2))
    task = NewTask("t9", "j2", "s2", "i9", "m9", "motion_correction", 0)
    other = see_movie("m9", session_id="s2", state=MovieState.COMPLETE)
    await store.commit(put_session("s2", "grid2"), PutJob("j2", "s2", "import"), other, PutTasks((task,)))
    return store


async def test_counts_follow_movies_and_tasks(two: Store) -> None:
    both = {"s1", "s2"}
    assert await two.count_left_tasks(both) == {}
    await two.commit(MoveMovie("m1", MovieState.SUPERSEDED, "rewritten"))
    one = {"motion_correction": Counter({PENDING: 1}), "ctf_estimation": Counter({PENDING: 1})}
    assert await two.count_left_tasks(both) == {"j1": one}
    await two.commit(EndTask("t1b", CANCELLED, reason="newer file"))
    assert (await two.count_left_tasks(both))["j1"]["ctf_estimation"] == {CANCELLED: 1}
    await two.commit(MoveMovie("m9", MovieState.VANISHED, "gone"))
    assert (await two.count_left_tasks(both))["j2"] == {"motion_correction": {PENDING: 1}}
    assert (await two.count_left_tasks({"s2"})).keys() == {"j2"}
    await two.commit(MoveMovie("m9", MovieState.COMPLETE, "back", asked_by="ada"))
    assert (await two.count_left_tasks(both)).keys() == {"j1"}


async def test_what_has_not_changed_is_not_counted_again(two: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await two.commit(MoveMovie("m1", MovieState.SUPERSEDED, ""), MoveMovie("m9", MovieState.VANISHED, ""))
    await two.commit(put_session("s3", "grid3"))
    asked: list[Callable[[Any], Any]] = []
    read = two.read

    async def note(query: Callable[[Any], Any]) -> Any:
        asked.append(query)
        return await read(query)

    monkeypatch.setattr(two, "read", note)
    every = {"s1", "s2", "s3"}
    before = await two.count_left_tasks(every)
    assert len(asked) == 1, "one query for all sessions"
    assert await two.count_left_tasks(every) == before
    await two.commit(see_movie("m8", session_id="s3"))
    assert await two.count_left_tasks(every) == before
    assert len(asked) == 1, "nothing was left alone where something changed"
    await two.commit(PutBackTasks(("t2a",), "again", "ada"))
    assert await two.count_left_tasks(every) == before
    assert len(asked) == 2
