"""Commits: together or not at all, shared transactions, callers that go away, disks that give way."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import pytest

from daemon.domain.states import MovieState, TaskState
from daemon.errors import IllegalMove, StoreUnavailable
from daemon.store import ledger, outbox, sessions, tasks
from daemon.store.changes import Change, EndTask, MoveMovie, PutBackTask, PutDecision, PutMetrics, StartAttempt
from daemon.store.plan import Plan
from daemon.store.store import Store
from daemon.store.writer import Writer
from tests.store.records import METRICS, NOW_S, begin, complete_movie, queue_event, see_movie

pytestmark = pytest.mark.anyio


class Gate:
    """A clock that holds the writer at the start of each transaction until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.reached = threading.Event()
        self.opened.set()

    def __call__(self) -> float:
        self.reached.set()
        assert self.opened.wait(60)
        return NOW_S

    def shut(self) -> None:
        self.opened.clear()
        self.reached.clear()


async def test_one_call_is_true_together_or_not_at_all(store: Store) -> None:
    await store.commit(*begin())
    with pytest.raises(IllegalMove):
        await store.commit(*complete_movie(1), queue_event(1), MoveMovie("m1", MovieState.SEEN))
    assert await ledger.movies(store, "s1") == []
    assert await tasks.tasks(store) == []
    assert await outbox.unpublished(store) == []
    assert store.count_tasks() == {}
    assert store.count_movies("s1") == {}
    await store.commit(*complete_movie(1), queue_event(1))
    assert [row.seq for row in await outbox.unpublished(store)] == [1]


async def test_what_waits_shares_a_transaction_and_a_bad_call_spoils_only_itself(tmp_path: Path) -> None:
    gate = Gate()
    with Store.open(tmp_path / "elcano.duckdb", metrics=METRICS, clock=gate) as store:
        await store.commit(*begin())
        gate.shut()
        before = store.transactions
        async with anyio.create_task_group() as group:
            group.start_soon(store.commit, see_movie("held"))
            await asyncio.to_thread(gate.reached.wait)
            for number in range(20):
                group.start_soon(_commit, store, (*complete_movie(number), queue_event(number)))
            group.start_soon(_expect_illegal, store)
            await anyio.wait_all_tasks_blocked()
            gate.opened.set()
        assert store.transactions == before + 2
        assert len(await ledger.movies(store, "s1")) == 21
        assert [row.event_id for row in await outbox.unpublished(store)] == [f"e{number}" for number in range(20)]


async def _commit(store: Store, changes: tuple[Change, ...]) -> None:
    await store.commit(*changes)


async def _expect_illegal(store: Store) -> None:
    with pytest.raises(IllegalMove):
        await store.commit(queue_event(99), MoveMovie("nobody", MovieState.DONE))


async def test_who_is_refused_finds_what_he_was_refused_for(tmp_path: Path) -> None:
    gate = Gate()
    found: list[list[tuple[str]]] = []
    with Store.open(tmp_path / "elcano.duckdb", metrics=METRICS, clock=gate) as store:
        await store.commit(*begin(), *complete_movie(1), StartAttempt("t1a", 1, "h"))
        gate.shut()

        def look(_: object) -> None:
            sql = "SELECT state FROM task WHERE task_id = 't1a'"
            found.append(store.read_now(lambda connection: connection.execute(sql).fetchall()))

        held = store._writing().submit((see_movie("held"),))
        await asyncio.to_thread(gate.reached.wait)
        over = store._writing().submit((EndTask("t1a", TaskState.SKIPPED, reason="the movie is gone"),))
        late = store._writing().submit((PutBackTask("t1a", "stopped", attempt=1, cause="stopped"),))
        late.add_done_callback(look)  # on the writing thread: nothing can come true between the answer and the look
        gate.opened.set()
        for future in (held, over):
            await asyncio.wrap_future(future)
        with pytest.raises(IllegalMove, match="attempt 1 of it does not run any more"):
            await asyncio.wrap_future(late)
    assert found == [[("skipped",)]]


async def test_a_row_that_the_database_refuses_does_not_spoil_the_group(tmp_path: Path) -> None:
    path = tmp_path / "elcano.duckdb"
    with Store.open(path, metrics=METRICS) as store:
        await store.commit(*begin(), *complete_movie(0))
    gate = Gate()
    with Store.open(path, metrics=METRICS, clock=gate) as store:
        gate.shut()

        async def insist() -> None:
            # The key is in the file but not at hand, so only the database itself can refuse the row.
            with pytest.raises(IllegalMove, match="has the key of one that exists"):
                await store.commit(queue_event(99), see_movie("m0"))

        async with anyio.create_task_group() as group:
            group.start_soon(store.commit, see_movie("held"))
            await asyncio.to_thread(gate.reached.wait)
            group.start_soon(_commit, store, (*complete_movie(1), queue_event(1)))
            group.start_soon(insist)
            group.start_soon(_commit, store, (*complete_movie(2), queue_event(2)))
            await anyio.wait_all_tasks_blocked()
            gate.opened.set()
        assert {entry.movie_id for entry in await ledger.movies(store, "s1")} == {"held", "m0", "m1", "m2"}
        assert [(row.seq, row.event_id) for row in await outbox.unpublished(store)] == [(1, "e1"), (2, "e2")]


async def test_changes_of_one_group_see_each_other(tmp_path: Path) -> None:
    gate = Gate()
    with Store.open(tmp_path / "elcano.duckdb", metrics=METRICS, clock=gate) as store:
        await store.commit(*begin())
        gate.shut()
        async with anyio.create_task_group() as group:
            group.start_soon(store.commit, see_movie("held"))
            await asyncio.to_thread(gate.reached.wait)
            for change in (
                complete_movie(1),
                (StartAttempt("t1a", 1, "h"),),
                (
                    EndTask("t1a", TaskState.FAILED, 1, reason="bad gain", kind="gain_unsuitable"),
                    PutMetrics("motion_correction", "i1", "t1a", {"total_motion_ang": 1.0}),
                ),
                (PutMetrics("motion_correction", "i1", "t1a", {"total_motion_ang": 2.0}),),
                (EndTask("t1b", TaskState.SKIPPED, reason="motion_correction failed"),),
                (MoveMovie("m1", MovieState.FAILED, reason="bad gain"),),
            ):
                group.start_soon(_commit, store, change)
                await anyio.wait_all_tasks_blocked()
            gate.opened.set()
        states = {task.task_id: task.state for task in await tasks.tasks(store)}
        assert states == {"t1a": TaskState.FAILED, "t1b": TaskState.SKIPPED}
        (attempt,) = await tasks.attempts(store, "t1a")
        assert (attempt.outcome, attempt.reason) == ("failed", "bad gain")
        values = await store.read(
            lambda c: c.execute("SELECT total_motion_ang FROM metrics_motion_correction").fetchall()
        )
        assert values == [(2.0,)]


async def test_a_caller_that_is_cancelled_does_not_undo_its_commit(tmp_path: Path) -> None:
    gate = Gate()
    with Store.open(tmp_path / "elcano.duckdb", clock=gate) as store:
        await store.commit(*begin())
        gate.shut()
        with anyio.move_on_after(0):
            await store.commit(see_movie("m1"))
        caller = asyncio.ensure_future(store.commit(see_movie("m2")))
        await anyio.wait_all_tasks_blocked()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        gate.opened.set()
        await store.commit(see_movie("m3"))
        assert {entry.movie_id for entry in await ledger.movies(store, "s1")} == {"m1", "m2", "m3"}


async def test_one_thread_after_the_other_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.store.writer._CHANGES_OF_A_THREAD", 4)
    writers: list[threading.Thread] = []
    write = Writer._write

    def note_and_write(writer: Writer, plan: Plan) -> dict[str, int]:
        writers.append(threading.current_thread())
        return write(writer, plan)

    monkeypatch.setattr(Writer, "_write", note_and_write)
    with Store.open(tmp_path / "turns.duckdb", metrics=METRICS) as store:
        for number in range(1, 7):
            changes = (*begin(), *complete_movie(number)) if number == 1 else complete_movie(number)
            await store.commit(*changes)
            assert store.is_alive
        assert store.count_movies("s1") == {MovieState.COMPLETE: 6}
    assert not store.is_alive
    assert len({id(writer) for writer in writers}) == 6, "each commit has as many changes as a thread may write"


async def test_many_tasks_and_threads_commit_at_once(store: Store) -> None:
    await store.commit(*begin())

    async def process(number: int) -> None:
        await store.commit(*complete_movie(number), queue_event(number))
        for letter in "ab":
            await store.commit(StartAttempt(f"t{number}{letter}", 1, "h"))
            await store.commit(EndTask(f"t{number}{letter}", TaskState.COMPLETED, 1))
        await store.commit(MoveMovie(f"m{number}", MovieState.DONE))

    def decide(number: int) -> None:
        store.commit_now(PutDecision("s1", f"key{number}", {"value": number}))

    threads = [threading.Thread(target=decide, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    async with anyio.create_task_group() as group:
        for number in range(60):
            group.start_soon(process, number)
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert store.count_movies("s1") == {MovieState.DONE: 60}
    assert store.count_tasks("j1") == {
        ("j1", "motion_correction"): {TaskState.COMPLETED: 60},
        ("j1", "ctf_estimation"): {TaskState.COMPLETED: 60},
    }
    assert store.count_tasks("other") == {}
    seqs = [row.seq for row in await outbox.unpublished(store)]
    assert seqs == list(range(1, 61))
    assert store.last_event_seq == 60
    assert await sessions.decisions(store, "s1") == {f"key{number}": {"value": number} for number in range(8)}
    assert store.transactions < 60 * 6


async def test_counts_are_the_same_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "elcano.duckdb"
    with Store.open(path) as store:
        await store.commit(*begin(), *complete_movie(1), *complete_movie(2), queue_event(1))
        await store.commit(EndTask("t1a", TaskState.SKIPPED))
        counts, movies = store.count_tasks(), store.count_movies("s1")
    with Store.open(path) as store:
        assert (store.count_tasks(), store.count_movies("s1")) == (counts, movies)
        await store.commit(queue_event(2))
        assert store.last_event_seq == 2


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "elcano.duckdb")
    store.close()
    with pytest.raises(StoreUnavailable, match="it is closed"):
        await store.commit(see_movie("m1"))


_WRITE_UNTIL_FULL = """
import asyncio, os, resource, sys
from pathlib import Path
from daemon.errors import StoreUnavailable
from daemon.store.store import Store
from tests.store.records import begin, complete_movie

async def main():
    path = Path(sys.argv[1])
    store = Store.open(path)
    await store.commit(*begin())
    # The disk is "full" from here on: no file may grow past this size.
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
    for number in range(1000):
        try:
            await store.commit(*complete_movie(number))
        except StoreUnavailable as error:
            print("refused", error, flush=True)
            break
        print("kept", number, flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store.commit(*complete_movie(5000))
    os._exit(9)

asyncio.run(main())
"""


def test_a_full_disk_is_told_and_loses_nothing_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "elcano.duckdb"
    done = subprocess.run(
        [sys.executable, "-c", _WRITE_UNTIL_FULL, path], capture_output=True, text=True, check=False, timeout=120
    )
    *kept, refused = [line for line in done.stdout.splitlines() if line.startswith(("kept", "refused"))]
    assert kept, done.stderr
    assert "a commit failed and nothing of it was kept" in refused
    assert "Check free space" in refused
    with Store.open(path) as store:
        found = {row[0] for row in store.read_now(lambda c: c.execute("SELECT movie_id FROM movie").fetchall())}
        assert found == {f"m{number}" for number in range(len(kept))} | {"m5000"}
