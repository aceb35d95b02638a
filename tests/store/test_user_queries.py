"""SQL of strangers: answers for those who read, a sentence for those who try anything else."""

import asyncio
import os
import threading
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import anyio
import pytest

from daemon.errors import QueryRefused
from daemon.store import ledger, sandbox
from daemon.store.changes import PutMetrics
from daemon.store.store import Store
from tests.store.records import begin, complete_movie, queue_event

pytestmark = pytest.mark.anyio


def utc(*parts: int) -> datetime:
    """A time as the store gives it: UTC, without saying so."""
    return datetime(*parts)  # type: ignore[arg-type]  # noqa: DTZ001


secret = [{"password": "correct horse"}]  # a Python variable that a replacement scan would find


async def fill(store: Store) -> None:
    await store.commit(*begin(), *complete_movie(1), *complete_movie(2), queue_event(1))
    await store.commit(PutMetrics("motion_correction", "i1", "t1a", {"total_motion_ang": 12.5, "frames": 40}))


# One store for all of them: each store starts a process for what it is asked.
_READING: list[tuple[str, tuple[tuple[object, ...], ...]]] = [
        ("SELECT name, drift_ang FROM micrographs ORDER BY name", (("image1", 12.5), ("image2", None))),
        ("FROM movie SELECT count(*)", ((2,),)),
        ("WITH t AS (SELECT stage FROM task) SELECT stage, count(*) FROM t GROUP BY stage ORDER BY 1;",
         (("ctf_estimation", 2), ("motion_correction", 2))),
        ("-- how many\nselect sum(size_bytes) /* bytes */ from MAIN.Movie -- all", ((2000,),)),
        ("VALUES (1, 'a'), (2, 'b')", ((1, "a"), (2, "b"))),
        ("SELECT 1.50::DECIMAL(5, 2), [1, 2], {'a': 1}, NULL", ((Decimal("1.50"), [1, 2], {"a": 1}, None),)),
        ("SELECT range FROM range(3)", ((0,), (1,), (2,))),
        ("SELECT seen_at FROM movie LIMIT 1", ((utc(2023, 11, 14, 22, 13, 20, 250000),),)),
        ("SELECT '2024-01-01 12:00+02'::TIMESTAMPTZ AS at, 1 AS x", ((utc(2024, 1, 1, 10), 1),)),
        ("SELECT name FROM image i WHERE EXISTS (FROM movie m WHERE m.image_id = i.image_id AND movie_id = 'm2')",
         (("image2",),)),
        ("SELECT (SELECT count(*) FROM history) > 0", ((True,),)),
        ("SELECT seen FROM throughput", ((2,),)),
        ("SELECT * FROM failures", ()),
        ("SELECT encode('x') || body FROM event", ((b"xbody 1",),)),
]  # fmt: skip


async def test_reading_statements_answer(store: Store) -> None:
    await fill(store)
    for sql, rows in _READING:
        assert (await store.user_query(sql)).rows == rows, sql


_DESCRIBING = ["SHOW TABLES", "DESCRIBE micrographs", "SUMMARIZE movie", "DESCRIBE SELECT * FROM task",
            "SHOW ALL TABLES", "EXPLAIN SELECT * FROM movie", "EXPLAIN ANALYZE SELECT * FROM movie",
            "SELECT * FROM duckdb_columns()", "SELECT * FROM information_schema.tables",
            "SELECT * FROM pragma_table_info('movie')"]  # fmt: skip


async def test_describing_statements_answer(store: Store) -> None:
    await fill(store)
    for sql in _DESCRIBING:
        result = await store.user_query(sql)
        assert result.rows, sql
        assert len(result.columns) == len(result.types) == len(result.rows[0]), sql


_VALUES: dict[str, object] = {
    "INTERVAL '1 day 2 hours'": timedelta(days=1, hours=2),
    "'00000000-0000-0000-0000-00000000000a'::UUID": UUID(int=10),
    "TIME '12:00'": time(12),
    "TIMETZ '12:00:00+02:00'": time(12, tzinfo=timezone(timedelta(hours=2))),
    "DATE '2024-01-02'": date(2024, 1, 2),
    "MAP {'a': 1, 'b': NULL}": {"a": 1, "b": None},
    "'\\x00\\xFF'::BLOB": b"\0\xff",
    "170141183460469231731687303715884105727::HUGEINT": 2**127 - 1,
    "'inf'::FLOAT": float("inf"),
    "[{'a': [1.50::DECIMAL(5, 2)]}]": [{"a": [Decimal("1.50")]}],
    "'101'::BIT": "101",
    "true": True,
}


async def test_values_of_every_kind_arrive_as_they_are(store: Store) -> None:
    row = (await store.user_query(f"SELECT {', '.join(_VALUES)}")).rows[0]
    assert row == tuple(_VALUES.values())
    assert [type(value) for value in row] == [type(value) for value in _VALUES.values()]


async def test_every_table_and_view_is_shown(store: Store) -> None:
    shown = {row[0] for row in (await store.user_query("SHOW TABLES")).rows}
    assert {"movie", "task", "attempt", "micrographs", "throughput", "failures", "metrics_motion_correction"} <= shown


_CHANGING = """
DELETE FROM movie
UPDATE movie SET state = 'done'
DROP TABLE movie
TRUNCATE movie
INSERT INTO movie SELECT * FROM movie
CREATE TABLE x AS SELECT 1
CREATE TEMP TABLE x AS SELECT 1
CREATE OR REPLACE VIEW micrographs AS SELECT 1
CREATE MACRO f(x) AS x
ALTER TABLE movie ADD COLUMN x INT
WITH gone AS (DELETE FROM movie RETURNING *) SELECT * FROM gone
WITH new AS (INSERT INTO decision SELECT 'd', 's', 'k', '1', now() RETURNING *) SELECT * FROM new
EXPLAIN ANALYZE DELETE FROM movie
EXPLAIN DELETE FROM movie
explain (analyze) delete from movie
MERGE INTO movie USING movie m ON true WHEN MATCHED THEN DELETE
COMMENT ON TABLE movie IS 'x'
VACUUM
ANALYZE
CHECKPOINT
FORCE CHECKPOINT
CALL force_checkpoint()
SELECT * FROM checkpoint()
SELECT * FROM force_checkpoint()
SELECT nextval('x')
"""
_SETTINGS = """
SET memory_limit = '100GB'
RESET memory_limit
PRAGMA enable_profiling
PRAGMA database_list
USE memory
BEGIN
COMMIT
ROLLBACK
PREPARE p AS SELECT 1
EXECUTE p
DEALLOCATE p
SET VARIABLE x = 1
SELECT getvariable('x')
SELECT current_setting('temp_directory')
SELECT * FROM duckdb_settings()
SELECT * FROM duckdb_secrets()
SELECT * FROM duckdb_extensions()
SELECT * FROM enable_logging()
SELECT * FROM enable_profiling()
SELECT write_log('x')
SELECT setseed(0.5)
"""
_FILES = """
COPY movie TO '/tmp/stolen.csv'
COPY movie FROM '/etc/passwd'
COPY (SELECT 1) TO '/tmp/x.parquet'
ATTACH '/tmp/other.duckdb'
DETACH elcano
EXPORT DATABASE '/tmp/x'
IMPORT DATABASE '/tmp/x'
INSTALL httpfs
LOAD httpfs
SELECT * FROM '/etc/passwd'
FROM 'x.parquet'
SELECT * FROM read_csv('/etc/passwd')
SELECT * FROM read_text('/etc/passwd')
SELECT * FROM read_blob('/etc/passwd')
SELECT * FROM read_parquet('/x')
SELECT * FROM read_json('/x')
SELECT * FROM glob('/etc/*')
SELECT * FROM sniff_csv('/etc/passwd')
SELECT * FROM read_duckdb('x')
SELECT * FROM parquet_metadata('/x')
DESCRIBE SELECT * FROM read_csv('/etc/passwd')
SUMMARIZE SELECT * FROM read_csv('/etc/passwd')
DESCRIBE '/etc/passwd'
SELECT (SELECT max(content) FROM read_text('/etc/passwd'))
SELECT 1 WHERE EXISTS (SELECT 1 FROM read_text('/etc/passwd'))
SELECT * FROM movie, LATERAL (SELECT * FROM read_text('/etc/passwd'))
WITH RECURSIVE r AS (SELECT content FROM read_text('/etc/passwd') UNION SELECT content FROM r) FROM r
SELECT getenv('HOME')
SELECT * FROM "read_text"('/etc/passwd')
SELECT * FROM READ_TEXT('/etc/passwd')
SELECT * FROM main.read_text('/etc/passwd')
SELECT * FROM system.main.read_text('/etc/passwd')
FROM https://example.org/x.csv
SELECT * FROM 'https://example.org/x.csv'
"""
_WAYS_ROUND = """
SELECT * FROM query('SELECT * FROM read_text(''/etc/passwd'')')
SELECT * FROM query_table('movie')
SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))
SELECT json_execute_serialized_sql(json_serialize_sql('SELECT 1'))
SELECT * FROM python_map_function((SELECT 1))
SELECT * FROM arrow_scan(1, 2, 3)
SELECT * FROM pandas_scan(1)
SELECT * FROM secret
SELECT * FROM test_all_types()
SELECT 1; SELECT 2
SELECT 1; DROP TABLE movie
DROP TABLE movie; SELECT 1
PIVOT movie ON state
;
-- nothing
SELECT
SELECT * FROM nowhere
SELECT nothing FROM movie
SELECT ?
SELECT $x
SELECT 1 +
"""
_STRANGE = [
    "",
    "   ",
    "SELECT 'a\x00b' FROM nowhere",
    "SELECT " + "(" * 5000 + "1" + ")" * 5000,
    "SELECT '" + "x" * 200_000 + "'",
    "SELECT '\udc80'",
]


async def test_everything_else_is_refused(store: Store, tmp_path: Path) -> None:
    await fill(store)
    lines = f"{_CHANGING}{_SETTINGS}{_FILES}{_WAYS_ROUND}".splitlines()
    answered, refusals = [], []
    for sql in [*filter(None, lines), *_STRANGE]:
        try:
            answered.append((sql, await store.user_query(sql)))
        except QueryRefused as refusal:
            refusals.append(str(refusal))
    assert answered == []
    assert not [text for text in refusals if "correct horse" in text or "root:" in text]
    assert len(await ledger.movies(store, "s1")) == 2
    assert {name.split(".")[0] for name in await asyncio.to_thread(os.listdir, tmp_path)} == {"elcano"}


async def test_a_mistake_is_shown_where_it_is(store: Store) -> None:
    with pytest.raises(QueryRefused, match=r"LINE 1: SELECT nothing FROM movie"):
        await store.user_query("SELECT nothing FROM movie")


async def test_rows_are_limited_and_a_huge_answer_is_never_built(store: Store) -> None:
    result = await store.user_query("SELECT range, repeat('x', 100) FROM range(1_000_000_000)", limit_rows=2500)
    assert (len(result.rows), result.truncated) == (2500, True)
    exact = await store.user_query("SELECT * FROM range(5)", limit_rows=5)
    assert (len(exact.rows), exact.truncated) == (5, False)
    none = await store.user_query("SELECT * FROM range(5)", limit_rows=0)
    assert (none.rows, none.truncated, none.columns) == ((), True, ("range",))


async def test_an_answer_that_cannot_be_sent_is_refused_while_it_is_fetched(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "LARGEST_ANSWER_BYTES", 2**20)
    for value in ["repeat('x', 5000)", "[repeat('x', 5000)]", "{'a': repeat('x', 5000)}", "range(2500)"]:
        whole = await store.user_query(f"SELECT {value} FROM range(200)")
        assert len(whole.rows) == 200
        endless = f"SELECT {value} FROM range(1_000_000_000)"
        with pytest.raises(QueryRefused, match="The answer has more than the 1 MiB that can be sent"):
            await store.user_query(endless, limit_rows=1_000_000)
        here = store.user_query_now(endless, limit_rows=300)
        assert (len(here.rows), here.truncated) == (300, True)


async def test_a_row_that_no_message_can_hold_is_refused(store: Store) -> None:
    with pytest.raises(QueryRefused, match="One row of the answer has more than the 64 MiB that can be sent"):
        await store.user_query("SELECT repeat('x', 70_000_000)")


_ENDLESS = "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range + b.range = 7"


async def test_a_long_statement_is_stopped(store: Store) -> None:
    with pytest.raises(QueryRefused, match=r"stopped after .* of 0\.2 s"):
        await store.user_query(_ENDLESS, timeout_s=0.2)
    with pytest.raises(QueryRefused, match=r"stopped after .* of 0\.2 s"):
        store.user_query_now(_ENDLESS, timeout_s=0.2)


async def test_greed_hurts_only_itself(store: Store) -> None:
    await store.commit(*begin())
    greedy = "SELECT list(range::VARCHAR || repeat('x', 1000)) FROM range(20_000_000)"

    async def ask() -> None:
        with pytest.raises(QueryRefused, match="more memory than it may use"):
            await store.user_query(greedy, timeout_s=120)

    committed = 0
    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        for number in range(40):
            await store.commit(*complete_movie(number))
            committed += 1
    assert len(await ledger.movies(store, "s1")) == committed


async def test_statements_run_beside_each_other_and_beside_commits(store: Store) -> None:
    await fill(store)
    seen: list[int] = []

    async def ask() -> None:
        seen.append((await store.user_query("SELECT count(*) FROM movie")).rows[0][0])

    async with anyio.create_task_group() as group:
        for number in range(3, 9):
            group.start_soon(ask)
            await store.commit(*complete_movie(number))
    assert all(2 <= count <= 8 for count in seen)
    await ask()
    assert seen[-1] == 8


def count_handles() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - their number alone


async def test_no_thread_or_file_handle_stays_behind(store: Store) -> None:
    for _ in range(2):
        await store.user_query("SELECT 1")
    threads, handles = await asyncio.to_thread(threading.active_count), await asyncio.to_thread(count_handles)
    for _ in range(5):
        await store.user_query("SELECT count(*) FROM movie", timeout_s=1000)
    with anyio.fail_after(60):  # whoever waits for an ended process may need a moment more
        for find, before in ((threading.active_count, threads), (count_handles, handles)):
            while await asyncio.to_thread(find) > before + 2:
                await anyio.lowlevel.checkpoint()
