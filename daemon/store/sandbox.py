"""Running SQL that people write, away from the store and from this process.

A statement that eats memory or trips over a fault of DuckDB takes its whole instance with it: run in the
store's own instance, two greedy statements made a commit fail for good (out of memory while rolling back).
And DuckDB looks for an interrupt only between pieces of work, one of which may take minutes. So a statement is
parsed and run in a process of its own (daemon.store.statement_run), which is killed when its time is over, in an
instance in memory, with its own limits and no access to files, network, extensions or settings. The tables and
views it names are sent there from one consistent snapshot (0.3 s for 200,000 tasks); the store itself only ever runs
`SELECT * FROM` a table or view of its own. A view comes as its rows: what it is made of has several times as many.

Starting such a process takes 0.2 s, so one that has nothing to do waits a while for the next statement.
"""

import asyncio
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa

from daemon.errors import QueryRefused
from daemon.messages.commands import LARGEST_ANSWER_BYTES
from daemon.store.connection import Connection
from daemon.store.statement_process import StatementEnded, StatementProcess
from daemon.store.statement_run import BATCH, RUN, TABLE, VIEW

_BATCH_ROWS = 65_536
_IDLE_S = 60.0
_VIEW = re.compile(r"CREATE VIEW \S+ AS (.*?);?\s*", re.DOTALL)


@dataclass(frozen=True)
class QueryResult:
    """Rows in the statement's own order; `types` are DuckDB's names; `truncated` when more rows existed."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    truncated: bool


class UserQueries:
    """Runs people's SQL, each statement in an instance and, while it runs, a process of its own."""

    def __init__(self, connection: Connection, threads: int = 2) -> None:
        self._parent = connection.cursor()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="store-query")
        self._watches: set[_Watch] = set()
        self._spare = _Spare()
        self._closing = False

    async def run(self, sql: str, *, limit_rows: int, timeout_s: float) -> QueryResult:
        """Run one statement. Raises QueryRefused with the reason; a caller that is cancelled stops the statement.

        An answer that has more than can be sent is refused as soon as that is seen.
        """
        watch = _Watch(timeout_s)
        running = self._pool.submit(self._run, sql, limit_rows, watch, LARGEST_ANSWER_BYTES)
        try:
            return await asyncio.wrap_future(running)
        except asyncio.CancelledError:
            watch.stop()
            raise

    def run_now(self, sql: str, *, limit_rows: int, timeout_s: float) -> QueryResult:
        """Blocking twin of `run`, for an answer of any size: nobody sends it."""
        return self._pool.submit(self._run, sql, limit_rows, _Watch(timeout_s)).result()

    def close(self) -> None:
        """Kill what still runs, then let go of the file."""
        with self._lock:
            self._closing = True
            for watch in self._watches:
                watch.stop()
        self._pool.shutdown(cancel_futures=True)
        self._spare.end()
        self._parent.close()

    def _run(self, sql: str, limit_rows: int, watch: "_Watch", limit_bytes: int | None = None) -> QueryResult:
        with self._lock:
            source = self._parent.cursor()
            self._watches.add(watch)
            if self._closing:
                watch.stop()
        try:
            with watch:
                result = self._answer(source, sql, limit_rows, watch, limit_bytes)
        except duckdb.InterruptException as error:
            raise watch.explain_stop() from error
        except duckdb.OutOfMemoryException as error:
            raise QueryRefused("The statement needs more memory than it may use.", hint="Ask for less.") from error
        except duckdb.Error as error:
            raise QueryRefused(f"The store cannot be read: {str(error).strip()}") from error
        finally:
            # Closing ends the transaction, whatever state it is in.
            source.close()
            with self._lock:
                self._watches.discard(watch)
        if isinstance(result, QueryRefused):
            raise result
        return result

    def _answer(
        self, source: Connection, sql: str, limit_rows: int, watch: "_Watch", limit_bytes: int | None
    ) -> "QueryResult | QueryRefused":
        if watch.is_stopped:
            raise watch.explain_stop()
        process = self._spare.take() or StatementProcess()
        is_spare = False
        try:
            watch.guard(source, process)
            result, can_again = _ask(source, process, sql, limit_rows, limit_bytes)
            is_spare = can_again and watch.let_go()
        except StatementEnded as error:
            if watch.is_stopped:
                raise watch.explain_stop() from error
            raise QueryRefused(
                f"The process that ran the statement ended before it had answered ({process.close()}).",
                hint="Often that is for want of memory: ask for less.",
            ) from error
        finally:
            if is_spare:
                self._spare.keep(process)
            else:
                process.close()
        return result


class _Spare:
    """Keeps one process that has nothing to do, for a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: StatementProcess | None = None
        self._timer: threading.Timer | None = None

    def take(self) -> StatementProcess | None:
        """Return it, if there is one that lives."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            process, self._process = self._process, None
        if process is not None and not process.is_alive:
            process.close()
            return None
        return process

    def keep(self, process: StatementProcess) -> None:
        """Keep this one, or end it when there is one."""
        with self._lock:
            if self._process is None:
                self._process = process
                self._timer = threading.Timer(_IDLE_S, self.end)
                self._timer.daemon = True
                self._timer.start()
                return
        process.close()

    def end(self) -> None:
        """End it, if there is one."""
        process = self.take()
        if process is not None:
            process.close()


class _Watch:
    """Stops whatever is done for a statement when its time is over or its caller has gone."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.is_stopped = False
        self._lock = threading.Lock()
        self._working: tuple[Connection, StatementProcess] | None = None
        self._timer = threading.Timer(timeout_s, self.stop)
        self._timer.daemon = True
        self._began_s = 0.0

    def __enter__(self) -> Self:
        self._began_s = time.monotonic()
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self.let_go()

    def guard(self, source: Connection, process: StatementProcess) -> None:
        """From here on the rows come from this connection, and this process does the work."""
        with self._lock:
            self._working = (source, process)
            if self.is_stopped:
                process.kill()

    def let_go(self) -> bool:
        """Stop nothing from here on; returns whether nothing has been stopped."""
        with self._lock:
            self._working = None
            return not self.is_stopped

    def explain_stop(self) -> QueryRefused:
        """Say that the statement was stopped."""
        took_s = time.monotonic() - self._began_s
        return QueryRefused(
            f"The statement was stopped after {took_s:.1f} s of {self.timeout_s:g} s that it may take.",
            hint="Ask for less, or raise the time limit.",
        )

    def stop(self) -> None:
        """End the work. An interrupt between two pieces of work is lost, but a dead process takes no more rows."""
        with self._lock:
            self.is_stopped = True
            if self._working is not None:
                source, process = self._working
                process.kill()
                source.interrupt()


def _ask(
    source: Connection, process: StatementProcess, sql: str, limit_rows: int, limit_bytes: int | None
) -> tuple[QueryResult | QueryRefused, bool]:
    """Return the answer, and whether the process can run another statement. Raises StatementEnded."""
    order = {"sql": sql, "limit_rows": limit_rows, "limit_bytes": limit_bytes}
    process.send(json.dumps(order).encode())
    columns: list[list[str]] = []
    rows: list[tuple[Any, ...]] = []
    while True:
        match process.receive():
            case list() as some:
                rows.extend(some)
            case {"spells": spells}:
                _send_tables(source, process, frozenset(spells))
            case {"columns": columns}:
                pass
            case {"refused": reason, "again": again} as refusal:
                return QueryRefused(reason, hint=refusal.get("hint", "")), again
            case {"truncated": is_truncated, "again": again}:
                names, types = tuple(name for name, _ in columns), tuple(kind for _, kind in columns)
                return QueryResult(names, types, tuple(rows), is_truncated), again
            case _:
                raise StatementEnded


def _send_tables(source: Connection, process: StatementProcess, spells: frozenset[str]) -> None:
    """Send every table and view of the store, and the rows of those that the statement names."""
    source.execute("BEGIN TRANSACTION READ ONLY")
    views = _read_views(source)
    for name, columns in _read_columns(source).items():
        is_named = name in spells
        if name in views and not is_named:
            continue
        process.send(TABLE, json.dumps({"name": name, "columns": columns}).encode())
        if is_named:
            with source.sql(f'SELECT * FROM "{name}"').to_arrow_reader(_BATCH_ROWS) as rows:
                for batch in rows:
                    process.send(BATCH, _write_batch(batch))
    for name, body in views.items():
        if name not in spells:
            process.send(VIEW, json.dumps({"name": name, "body": body}).encode())
    process.send(RUN)
    source.rollback()


def _write_batch(batch: pa.RecordBatch) -> memoryview:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return memoryview(sink.getvalue())


def _read_columns(source: Connection) -> dict[str, str]:
    """Columns, as CREATE TABLE takes them, of the store's tables and views."""
    rows = source.execute(
        "SELECT table_name, string_agg('\"' || column_name || '\" ' || data_type, ', ' ORDER BY column_index) "
        "FROM duckdb_columns() WHERE NOT internal GROUP BY table_name ORDER BY table_name"
    ).fetchall()
    return dict(rows)


def _read_views(source: Connection) -> dict[str, str]:
    """Bodies of the store's views (daemon.store.views), none of which stands on another that comes later."""
    rows = source.execute("SELECT view_name, sql FROM duckdb_views() WHERE NOT internal ORDER BY view_oid").fetchall()
    bodies = {}
    for name, sql in rows:
        match = _VIEW.fullmatch(sql)
        assert match is not None, f"view {name} is written in an unknown way: {sql}"
        bodies[name] = match[1]
    return bodies
