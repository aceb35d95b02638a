"""Opening: new files, owners, damage, versions."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from daemon.domain.states import TaskState
from daemon.errors import StoreUnavailable
from daemon.store import tasks
from daemon.store.changes import EndTask, SeeMovie, StartAttempt
from daemon.store.connection import DatabaseError
from daemon.store.migration import Migration, load_migrations, open_migrated
from daemon.store.store import Store
from daemon.store.views import create_views
from daemon.store.writer import Writer
from tests.store.records import METRICS, NOW_S, begin, complete_movie, see_movie

_LOOK_UPS = ("task WHERE movie_id = 'm1'", "attempt WHERE task_id = 't1a'")

_HOLD = """
import sys
from pathlib import Path
from daemon.store.store import Store
store = Store.open(Path(sys.argv[1])) if sys.argv[2] == "write" else Store.open_read_only(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.read()
store.close()
"""


@contextmanager
def held_by_another(path: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, path, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        try:
            yield other
        finally:
            assert other.stdin is not None
            other.stdin.close()
            other.wait(60)


def test_a_second_daemon_is_told_who_owns_the_store(tmp_path: Path) -> None:
    path = tmp_path / "elcano.duckdb"
    with held_by_another(path, "write") as other:
        before = path.read_bytes()
        with pytest.raises(StoreUnavailable, match=f"process {other.pid} on .* owns it"):
            Store.open(path)
        with pytest.raises(StoreUnavailable, match=f"process {other.pid} owns it.*elcano query"):
            Store.open_read_only(path)
        assert path.read_bytes() == before
    with Store.open(path) as store:
        store.commit_now(*begin())


def test_a_killed_owner_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "elcano.duckdb"
    with held_by_another(path, "write") as other:
        os.kill(other.pid, signal.SIGKILL)
        other.wait(60)
        with Store.open(path) as store:
            store.commit_now(*begin())
            assert store.read_now(lambda c: c.execute("SELECT name FROM session").fetchall()) == [("grid1",)]


def test_a_reader_in_another_process_is_named_to_the_daemon(tmp_path: Path) -> None:
    path = tmp_path / "elcano.duckdb"
    Store.open(path).close()
    with held_by_another(path, "read") as other:
        with Store.open_read_only(path) as store:
            assert store.read_now(lambda c: c.execute("SELECT count(*) FROM movie").fetchall()) == [(0,)]
        with pytest.raises(StoreUnavailable, match=f"process {other.pid} reads it.*Wait for it to end"):
            Store.open(path)


def test_a_daemon_that_starts_waits_for_readers(tmp_path: Path) -> None:
    path = tmp_path / "elcano.duckdb"
    Store.open(path).close()
    with held_by_another(path, "read") as other:
        assert other.stdin is not None
        with Store.open(path, patience_s=60.0, on_wait=other.stdin.close) as store:
            store.commit_now(*begin())
        assert other.stdin.closed


def test_the_same_process_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "elcano.duckdb"
    with Store.open(path) as store:
        with pytest.raises(StoreUnavailable, match=f"process {os.getpid()} on"):
            Store.open(path)
        with pytest.raises(StoreUnavailable, match="owns it"):
            Store.open_read_only(path)
        store.commit_now(*begin())


def test_a_store_open_for_reading_refuses_to_write(tmp_path: Path) -> None:
    path = tmp_path / "elcano.duckdb"
    with Store.open(path, metrics=METRICS) as store:
        store.commit_now(*begin(), *complete_movie(1))
    before = path.read_bytes()
    with Store.open_read_only(path) as store:
        with pytest.raises(StoreUnavailable, match="open for reading only"):
            store.commit_now(see_movie("m2"))
        assert store.user_query_now("SELECT name FROM micrographs").rows == (("image1",),)
    assert path.read_bytes() == before
    with pytest.raises(StoreUnavailable, match="there is no such file"):
        Store.open_read_only(tmp_path / "none.duckdb")


def _junk(path: Path) -> None:
    path.write_bytes(b"this is not a database " * 400)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _cut(path: Path) -> None:
    os.truncate(path, 20_000)


def _flip_headers(path: Path) -> None:
    # DuckDB keeps two and uses the newer.
    with path.open("r+b") as file:
        for offset in (4096, 8192):
            file.seek(offset)
            file.write(b"\xff" * 64)


def _other_database(path: Path) -> None:
    path.unlink()
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE somebodys AS SELECT 1 AS work")


@pytest.mark.parametrize("damage", [_junk, _empty, _cut, _flip_headers, _other_database])
def test_a_damaged_file_is_named_and_left_as_it_is(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "elcano.duckdb"
    Store.open(path).close()
    assert callable(damage)
    damage(path)
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match=r"elcano\.duckdb: .*(damaged or not a store|not a store of elcano)"):
        Store.open(path)
    with pytest.raises(StoreUnavailable, match=r"elcano\.duckdb: "):
        Store.open_read_only(path)
    assert path.read_bytes() == before


def test_half_a_new_file_is_never_met_under_the_name(tmp_path: Path) -> None:
    path = tmp_path / "elcano.duckdb"
    (tmp_path / "elcano.duckdb.new").write_bytes(b"a crash while it was made")
    with Store.open(path) as store:
        store.commit_now(*begin())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["elcano.duckdb", "elcano.duckdb.owner"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="its folder cannot be written"):
        Store.open(tmp_path / "file" / "elcano.duckdb")


def test_an_older_store_is_upgraded_with_a_copy_kept(tmp_path: Path) -> None:
    path = tmp_path / "elcano.duckdb"
    first = load_migrations()[0]
    open_migrated(path, [first]).close()
    with duckdb.connect(path) as connection:
        connection.execute("INSERT INTO decision VALUES ('d', 's1', 'frames', '40', now()::TIMESTAMP)")
    steps = [
        first,
        Migration(2, "who", "ALTER TABLE decision ADD COLUMN decided_by VARCHAR; CREATE TABLE pick (x INTEGER);"),
        Migration(3, "marked", "UPDATE decision SET decided_by = 'nobody' WHERE decided_by IS NULL"),
    ]
    with open_migrated(path, steps) as connection:
        assert connection.execute("SELECT key, decided_by FROM decision").fetchall() == [("frames", "nobody")]
        versions = connection.execute("SELECT version, name FROM schema_version ORDER BY version").fetchall()
        assert versions == [(1, "initial"), (2, "who"), (3, "marked")]
    with duckdb.connect(tmp_path / "elcano.duckdb.before-2", read_only=True) as kept:
        assert kept.execute("SELECT max(version) FROM schema_version").fetchall() == [(1,)]
        assert kept.execute("SELECT key FROM decision").fetchall() == [("frames",)]
    with open_migrated(path, steps):
        assert not (tmp_path / "elcano.duckdb.before-4").exists()


def test_a_store_without_look_ups_is_given_them_with_all_that_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "elcano.duckdb"
    steps = load_migrations()
    with open_migrated(path, steps[:2]) as connection:
        create_views(connection)
        old = Writer(path, connection, lambda: NOW_S)
        starts = (StartAttempt(task_id, 1, "hash") for task_id in ("t1a", "t2a", "t2b"))
        old.submit((*begin(), *complete_movie(1), *complete_movie(2), *starts)).result()
        old.close()
    with Store.open(path, metrics=METRICS) as store:
        plan = store.read_now(
            lambda c: [c.execute(f"EXPLAIN ANALYZE SELECT * FROM {where}").fetchall() for where in _LOOK_UPS]
        )
        assert ["Index Scan" in str(each) for each in plan] == [True, True]
        found = asyncio.run(tasks.tasks(store, movie_id="m1"))
        assert [(task.task_id, task.state) for task in found] == [("t1a", "running"), ("t1b", "pending")]
        store.commit_now(EndTask("t1a", TaskState.COMPLETED, 1), *complete_movie(3))
        assert [one.outcome for one in asyncio.run(tasks.attempts(store, "t1a"))] == ["completed"]
        assert len(asyncio.run(tasks.tasks(store, movie_id="m3"))) == 2
    assert (tmp_path / "elcano.duckdb.before-3").exists()


def test_a_step_that_fails_leaves_the_store_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "elcano.duckdb"
    first = load_migrations()[0]
    open_migrated(path, [first]).close()
    broken = Migration(2, "broken", "CREATE TABLE pick (x INTEGER); ALTER TABLE nowhere ADD COLUMN y INTEGER;")
    with pytest.raises(StoreUnavailable):
        open_migrated(path, [first, broken])
    with open_migrated(path, [first]) as connection:
        assert connection.execute("SELECT max(version) FROM schema_version").fetchall() == [(1,)]
        with pytest.raises(DatabaseError):
            connection.execute("SELECT * FROM pick")


def test_a_store_from_a_newer_version_is_refused_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "elcano.duckdb"
    newer = [*load_migrations(), Migration(999, "future", "CREATE TABLE wonder (x INTEGER)")]
    open_migrated(path, newer).close()
    before = path.read_bytes()
    for opening in (Store.open, Store.open_read_only):
        with pytest.raises(StoreUnavailable, match=r"it has schema 999, this version of elcano knows .*Update elcano"):
            opening(path)
    assert path.read_bytes() == before


def test_the_shipped_steps_are_numbered_without_gaps() -> None:
    assert [step.version for step in load_migrations()] == list(range(1, len(load_migrations()) + 1))


def test_a_copied_store_opens_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "elcano.duckdb"
    with Store.open(path) as store:
        store.commit_now(*begin(), *complete_movie(1))
    shutil.copyfile(path, tmp_path / "copy.duckdb")
    with Store.open(tmp_path / "copy.duckdb") as store:
        change = see_movie("m2")
        assert isinstance(change, SeeMovie)
        store.commit_now(change)
