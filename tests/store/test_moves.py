"""Movies and tasks move only along the arrows of the domain; a person may reopen what had ended."""

import itertools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.domain.movie import FileIdentity
from daemon.domain.states import MOVIE_MOVES, TASK_MOVES, MovieState, SessionState, TaskState
from daemon.errors import IllegalMove
from daemon.store import ledger, sessions, tasks
from daemon.store.changes import (
    Change,
    CloseSession,
    EndTask,
    MarkJob,
    MoveMovie,
    OutputRecord,
    PutBackTask,
    PutJob,
    ReopenSession,
    StartAttempt,
    UpdateMovieFile,
)
from daemon.store.store import Store
from tests.store.conftest import Clock
from tests.store.records import NOW_S, begin, complete_movie, put_session, put_task, see_movie

pytestmark = pytest.mark.anyio

_walkers = itertools.count()


@pytest.mark.parametrize("asked_by", [None, "ada"])
async def test_every_pair_of_movie_states(store: Store, asked_by: str | None) -> None:
    await store.commit(*begin())
    for number, (before, after) in enumerate(itertools.product(MovieState, MovieState)):
        movie_id = f"m{number}"
        await store.commit(see_movie(movie_id, state=before))
        reopens = asked_by is not None and before.is_terminal and not after.is_terminal
        move = MoveMovie(movie_id, after, reason="why", cause="rule", asked_by=asked_by)
        if after in MOVIE_MOVES[before] or reopens:
            await store.commit(move)
            expected = after
        else:
            with pytest.raises(IllegalMove, match=f"from {before} to {after}"):
                await store.commit(move)
            expected = before
        found = await ledger.movie(store, movie_id)
        assert found is not None
        assert found.state is expected


async def test_every_pair_of_task_states(store: Store) -> None:
    await store.commit(*begin())
    for number, (before, after) in enumerate(itertools.product(TaskState, TaskState)):
        task_id = f"t{number}"
        await store.commit(put_task(task_id, number=number), *_lead_to(task_id, before))
        if after in TASK_MOVES[before]:
            await store.commit(_move(task_id, before, after))
        else:
            with pytest.raises(IllegalMove):
                await store.commit(_move(task_id, before, after))
        found = await tasks.task(store, task_id)
        assert found is not None
        assert found.state is (after if after in TASK_MOVES[before] else before)


def _lead_to(task_id: str, state: TaskState) -> list[Change]:
    if state is TaskState.PENDING:
        return []
    start = StartAttempt(task_id, 1, "hash")
    return [start] if state is TaskState.RUNNING else [start, EndTask(task_id, state, 1)]


def _move(task_id: str, before: TaskState, after: TaskState) -> Change:
    if after is TaskState.PENDING:
        return PutBackTask(task_id, "again")
    if after is TaskState.RUNNING:
        return StartAttempt(task_id, 1 if before is TaskState.PENDING else 2, "hash")
    return EndTask(task_id, after, 1 if before is TaskState.RUNNING else None)


async def test_history_tells_every_move_with_cause_and_who(store: Store, clock: Clock) -> None:
    await store.commit(*begin(), *complete_movie(1))
    clock.now_s = NOW_S + 10
    await store.commit(
        MoveMovie("m1", MovieState.QUARANTINED, reason="truncated", cause="decode"),
        EndTask("t1a", TaskState.CANCELLED, reason="movie quarantined", cause="quarantine"),
    )
    await store.commit(
        MoveMovie("m1", MovieState.COMPLETE, reason="copied again", cause="task.retry", asked_by="ada"),
        PutBackTask("t1a", "copied again", cause="task.retry", asked_by="ada"),
    )
    told = [
        (line.subject_id, line.from_state, line.to_state, line.reason, line.cause, line.asked_by)
        for line in await ledger.history(store, "m1")
    ]
    assert told == [
        ("m1", None, "seen", "", "seen", None),
        ("m1", "seen", "complete", "", "settled", None),
        ("t1a", None, "pending", "", "planned", None),
        ("t1b", None, "pending", "", "planned", None),
        ("m1", "complete", "quarantined", "truncated", "decode", None),
        ("t1a", "pending", "cancelled", "movie quarantined", "quarantine", None),
        ("m1", "quarantined", "complete", "copied again", "task.retry", "ada"),
        ("t1a", "cancelled", "pending", "copied again", "task.retry", "ada"),
    ]
    lines = await ledger.history(store, "m1")
    assert [line.seq for line in lines] == sorted(line.seq for line in lines)
    assert lines[-1].moved_at_s == NOW_S + 10


async def test_an_attempt_is_put_back_only_while_it_runs(store: Store) -> None:
    """Whoever ended a task meanwhile has the last word: a skipped task must not wait again because of late news."""
    await store.commit(*begin(), *complete_movie(1), StartAttempt("t1a", 1, "hash"))
    with pytest.raises(IllegalMove, match="attempt 2 of it does not run"):
        await store.commit(PutBackTask("t1a", "disk full", attempt=2, kind="disk_full"))
    await store.commit(EndTask("t1a", TaskState.SKIPPED, 1, reason="its movie vanished"))
    with pytest.raises(IllegalMove, match="is skipped; attempt 1 of it does not run any more"):
        await store.commit(PutBackTask("t1a", "disk full", attempt=1, kind="disk_full"))
    await store.commit(PutBackTask("t1a", "its movie came back"))


async def test_what_a_person_sets_for_a_task_stays_with_it(store: Store) -> None:
    await store.commit(*begin(), *complete_movie(1))
    await store.commit(PutBackTask("t1a", "", asked_by="ada", parameters={"factor": 2.5}, from_scratch=True))
    found = await tasks.task(store, "t1a")
    assert found is not None
    assert (found.parameters, found.from_scratch) == ({"factor": 2.5}, True)
    with pytest.raises(IllegalMove, match="from scratch; what was made before is still there"):
        await store.commit(StartAttempt("t1a", 1, "hash"))
    with pytest.raises(IllegalMove, match="from scratch; what was made before is not believed"):
        await store.commit(EndTask("t1a", TaskState.COMPLETED, cause="found complete on disk"))
    start = StartAttempt("t1a", 1, "hash", takes_back=True)
    await store.commit(start, PutBackTask("t1a", "again", attempt=1, kind="hiccup"))
    found = await tasks.task(store, "t1a")
    assert found is not None
    assert (found.parameters, found.from_scratch) == ({"factor": 2.5}, False)
    await store.commit(PutBackTask("t1a", "", asked_by="ada", parameters={}))
    found = await tasks.task(store, "t1a")
    assert found is not None
    assert found.parameters is None


async def test_nobody_takes_up_tasks_of_a_movie_that_is_gone(store: Store) -> None:
    await store.commit(*begin(), *complete_movie(1))
    await store.commit(
        MoveMovie("m1", MovieState.SUPERSEDED, "rewritten"), EndTask("t1a", TaskState.CANCELLED, reason="rewritten")
    )
    with pytest.raises(IllegalMove, match="its movie is superseded"):
        await store.commit(PutBackTask("t1a", "again", asked_by="ada"))


async def test_attempts_are_counted_and_old_answers_refused(store: Store) -> None:
    await store.commit(*begin(), *complete_movie(1))
    with pytest.raises(IllegalMove, match="cannot start attempt 2 after 0"):
        await store.commit(StartAttempt("t1a", 2, "hash"))
    await store.commit(StartAttempt("t1a", 1, "hash", started_at_s=NOW_S + 1))
    back = PutBackTask(
        "t1a", "disk full", kind="file_not_written", hint="free space", next_attempt_at_s=NOW_S + 60, at_s=NOW_S + 2
    )
    await store.commit(back)
    await store.commit(StartAttempt("t1a", 2, "hash2", started_at_s=NOW_S + 60))
    with pytest.raises(IllegalMove, match="runs attempt 2; the end of attempt 1 is refused"):
        await store.commit(EndTask("t1a", TaskState.COMPLETED, 1))
    await store.commit(PutBackTask("t1a", "the daemon died in it", at_s=NOW_S + 70))
    await store.commit(StartAttempt("t1a", 3, "hash3", started_at_s=NOW_S + 71))
    output = OutputRecord("aligned", "motioncor/x.mrc", 5, "ab")
    await store.commit(
        EndTask(
            "t1a",
            TaskState.COMPLETED,
            3,
            outputs=(output,),
            warnings=("dim",),
            code_version="0.1",
            ended_at_s=NOW_S + 80,
        )
    )
    with pytest.raises(IllegalMove, match="no attempt 3 of it runs"):
        await store.commit(EndTask("t1a", TaskState.COMPLETED, 3))
    rows = await tasks.attempts(store, "t1a")
    assert [(row.attempt, row.outcome, row.error_kind, row.retryable) for row in rows] == [
        (1, "failed", "file_not_written", True),
        (2, "interrupted", "", False),
        (3, "completed", "", False),
    ]
    assert [(row.started_at_s, row.ended_at_s) for row in rows] == [
        (NOW_S + 1, NOW_S + 2),
        (NOW_S + 60, NOW_S + 70),
        (NOW_S + 71, NOW_S + 80),
    ]
    assert [row.parameters_hash for row in rows] == ["hash", "hash2", "hash3"]
    task = await tasks.task(store, "t1a")
    assert task is not None
    assert (task.attempts, task.parameters_hash, task.warnings, task.code_version) == (3, "hash3", ("dim",), "0.1")
    assert (task.started_at_s, task.ended_at_s, task.next_attempt_at_s) == (NOW_S + 71, NOW_S + 80, None)


async def test_what_is_unknown_or_known_twice_is_refused(store: Store) -> None:
    await store.commit(*begin(), *complete_movie(1))
    for change in (
        MoveMovie("nobody", MovieState.COMPLETE),
        StartAttempt("nobody", 1, ""),
        EndTask("nobody", TaskState.FAILED),
        PutBackTask("nobody", ""),
        CloseSession("nobody", "idle"),
        MarkJob("nobody", cancelled_by="ada"),
        MarkJob("j1"),
        MarkJob("j1", cancelled_by="ada", completed_by="ada"),
        see_movie("m1"),
        put_task("t1a"),
        EndTask("t1a", TaskState.RUNNING),
    ):
        with pytest.raises(IllegalMove):
            await store.commit(change)


async def test_a_key_known_only_to_the_file_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "elcano.duckdb"
    with Store.open(path) as store:
        await store.commit(*begin(), *complete_movie(1))
    with Store.open(path) as store:
        for change in (see_movie("m1"), put_task("t1a")):
            with pytest.raises(IllegalMove, match="has the key of one that exists"):
                await store.commit(change)
        await store.commit(MoveMovie("m1", MovieState.DONE))


async def test_a_growing_file_keeps_its_revision_until_it_is_complete(store: Store) -> None:
    await store.commit(*begin(), see_movie("m1"))
    grown = FileIdentity(Path("/raw/grid1/m1.tif"), 2000, 18)
    await store.commit(UpdateMovieFile("m1", grown, NOW_S + 3))
    found = await ledger.movie(store, "m1")
    assert found is not None
    assert (found.identity, found.last_write_s) == (grown, NOW_S + 3)
    await store.commit(MoveMovie("m1", MovieState.COMPLETE))
    with pytest.raises(IllegalMove, match="a changed file is a new revision"):
        await store.commit(UpdateMovieFile("m1", grown, NOW_S + 4))


async def test_sessions_close_reopen_and_keep_their_state_when_put_again(store: Store, clock: Clock) -> None:
    await store.commit(*begin())
    clock.now_s = NOW_S + 5
    await store.commit(CloseSession("s1", "idle"), CloseSession("s1", "idle"))
    await store.commit(put_session(name="renamed"))
    (row,) = await sessions.sessions(store, SessionState.CLOSED)
    assert (row.session.name, row.closed_at_s, row.created_at_s) == ("renamed", NOW_S + 5, NOW_S)
    await store.commit(ReopenSession("s1", "late file"))
    (row,) = await sessions.sessions(store)
    assert (row.session.state, row.closed_at_s) == (SessionState.OPEN, None)


async def test_a_job_put_again_keeps_its_marks(store: Store) -> None:
    await store.commit(*begin(), MarkJob("j1", cancelled_by="ada", at_s=NOW_S + 1))
    await store.commit(PutJob("j1", "s1", "import", {"stages": []}, at_s=NOW_S + 9))
    (job,) = await sessions.jobs(store, "s1")
    assert (job.parameters, job.cancelled_by, job.cancelled_at_s) == ({"stages": []}, "ada", NOW_S + 1)
    assert (job.created_at_s, job.completed_by) == (NOW_S, None)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(walk=st.lists(st.tuples(st.sampled_from(MovieState), st.booleans()), max_size=8))
async def test_a_walk_ends_where_its_legal_steps_lead(store: Store, walk: list[tuple[MovieState, bool]]) -> None:
    movie_id = f"walker{next(_walkers)}"
    before = store.count_movies("s1")
    store.commit_now(see_movie(movie_id))
    state, taken = MovieState.SEEN, 1
    for after, asked in walk:
        legal = after in MOVIE_MOVES[state] or (asked and state.is_terminal and not after.is_terminal)
        try:
            await store.commit(MoveMovie(movie_id, after, asked_by="ada" if asked else None))
        except IllegalMove:
            assert not legal
        else:
            assert legal
            state, taken = after, taken + 1
    found = await ledger.movie(store, movie_id)
    assert found is not None
    assert found.state is state
    assert [line.to_state for line in await ledger.history(store, movie_id)][-1] == state.value
    assert len(await ledger.history(store, movie_id)) == taken
    assert store.count_movies("s1") == before | {state: before.get(state, 0) + 1}
