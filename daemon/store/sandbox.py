"""Running SQL that people write, away from the store.

A statement that eats memory or trips over a fault of DuckDB takes its whole instance with it: run in the
store's own instance, two greedy statements made a commit fail for good (out of memory while rolling back).
So each statement gets an instance of its own, in memory, with its own limits and no access to files,
network, extensions or settings. The tables and views it names are copied into it from one consistent snapshot
(0.3 s for 200,000 tasks); the store itself only ever runs `SELECT * FROM` a table or view of its own. A view comes as
its rows: what it is made of has several times as many.
"""

import asyncio
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import duckdb

from daemon.errors import QueryRefused
from daemon.messages.commands import LARGEST_ANSWER_BYTES
from daemon.store.admission import Admitted, admit
from daemon.store.connection import Connection, open_sandbox

_CHUNK_ROWS = 1024
_BATCH_ROWS = 65_536
_VIEW = re.compile(r"CREATE VIEW \S+ AS (.*?);?\s*", re.DOTALL)


@dataclass(frozen=True)
class QueryResult:
    """Rows in the statement's own order; `types` are DuckDB's names; `truncated` when more rows existed."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    truncated: bool


class UserQueries:
    """Runs people's SQL on threads of its own, each statement in an instance of its own."""

    def __init__(self, connection: Connection, threads: int = 2) -> None:
        self._parent = connection.cursor()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="store-query")
        self._watches: set[_Watch] = set()
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
        """Stop what still runs, then let go of the file."""
        with self._lock:
            self._closing = True
            for watch in self._watches:
                watch.stop()
        self._pool.shutdown(cancel_futures=True)
        self._parent.close()

    def _run(self, sql: str, limit_rows: int, watch: "_Watch", limit_bytes: int | None = None) -> QueryResult:
        with self._lock:
            source = self._parent.cursor()
            self._watches.add(watch)
            if self._closing:
                watch.stop()
        sandbox = open_sandbox()
        try:
            with watch:
                admitted = admit(sandbox, sql)
                watch.guard(source)
                _copy_tables(source, sandbox, admitted, watch)
                watch.guard(sandbox)
                sandbox.execute("BEGIN TRANSACTION READ ONLY")
                return _fetch(sandbox, admitted, limit_rows, watch, limit_bytes)
        except duckdb.InterruptException as error:
            raise QueryRefused(
                f"The statement was stopped after {watch.elapsed_s():.1f} s of {watch.timeout_s:g} s that it may take.",
                hint="Ask for less, or raise the time limit.",
            ) from error
        except duckdb.OutOfMemoryException as error:
            raise QueryRefused("The statement needs more memory than it may use.", hint="Ask for less.") from error
        except duckdb.Error as error:
            raise QueryRefused(f"DuckDB refuses the statement: {str(error).strip()}") from error
        finally:
            # Closing ends the transactions, whatever state they are in.
            source.close()
            sandbox.close()
            with self._lock:
                self._watches.discard(watch)


class _Watch:
    """Interrupts whatever a statement is doing when its time is over or its caller has gone."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._lock = threading.Lock()
        self._working: Connection | None = None
        self._stopped = False
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
        with self._lock:
            self._working = None

    def guard(self, connection: Connection) -> None:
        """From here on this connection does the work."""
        with self._lock:
            self._working = connection

    def elapsed_s(self) -> float:
        """Seconds since the work began."""
        return time.monotonic() - self._began_s

    def stop(self) -> None:
        """Interrupt the work, now or as soon as it looks."""
        with self._lock:
            self._stopped = True
            if self._working is not None:
                self._working.interrupt()

    def check(self) -> None:
        """Raise when the time is over: an interrupt that falls between two pieces of work would be lost."""
        if self._stopped or self.elapsed_s() > self.timeout_s:
            raise duckdb.InterruptException("stopped")


def _copy_tables(source: Connection, sandbox: Connection, admitted: Admitted, watch: _Watch) -> None:
    """Give the sandbox every table and view of the store, and the rows of those that the statement names."""
    source.execute("BEGIN TRANSACTION READ ONLY")
    views = _read_views(source)
    for name, columns in _read_columns(source).items():
        is_named = name in admitted.spells
        if name in views and not is_named:
            continue
        sandbox.execute(f'CREATE TABLE "{name}" ({columns})')
        if is_named:
            with source.sql(f'SELECT * FROM "{name}"').to_arrow_reader(_BATCH_ROWS) as rows:
                for batch in rows:
                    watch.check()
                    sandbox.register("incoming", batch)
                    sandbox.execute(f'INSERT INTO "{name}" SELECT * FROM incoming')
                    sandbox.unregister("incoming")
    for view, body in views.items():
        if view not in admitted.spells:
            sandbox.execute(f'CREATE VIEW "{view}" AS {body}')
    source.rollback()


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


def _fetch(
    sandbox: Connection, admitted: Admitted, limit_rows: int, watch: _Watch, limit_bytes: int | None
) -> QueryResult:
    statement = _without_zones(sandbox, admitted)
    watch.check()
    sandbox.execute(statement)
    described = sandbox.description
    rows: list[tuple[Any, ...]] = []
    fetched_bytes = 0
    # The result streams: a statement whose whole answer would not fit in memory costs only what is asked for.
    # Small at first, as one row may be huge.
    while len(rows) <= limit_rows:
        watch.check()
        chunk = sandbox.fetchmany(min(_CHUNK_ROWS, len(rows) + 1, limit_rows + 1 - len(rows)))
        if not chunk:
            break
        rows.extend(chunk)
        fetched_bytes += sum(map(_text_bytes, chunk))
        if limit_bytes is not None and fetched_bytes > limit_bytes:
            raise QueryRefused(
                f"The answer has more than the {limit_bytes // 2**20} MiB that can be sent.",
                hint="Ask for less: fewer columns, a filter, a LIMIT; or read the Parquet snapshots.",
            )
    return QueryResult(
        columns=tuple(column[0] for column in described),
        types=tuple(str(column[1]) for column in described),
        rows=tuple(rows[:limit_rows]),
        truncated=len(rows) > limit_rows,
    )


def _text_bytes(value: Any) -> int:
    """Return the least that the texts in a value take when they are sent; numbers are left out, being small."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_text_bytes, value.values()))
    return sum(map(_text_bytes, value)) if isinstance(value, list | tuple) else 0


def _without_zones(sandbox: Connection, admitted: Admitted) -> str:
    """Give times with a zone as UTC, like every time of the store; Python would need one more library for them."""
    bare = admitted.text.rstrip().removesuffix(";")
    if admitted.explains or not re.match(r"[\s(]*(select|with|from|values)\b", bare, re.IGNORECASE):
        return admitted.text
    try:
        columns = sandbox.execute(f"DESCRIBE {bare}\n").fetchall()
    except duckdb.Error:
        # The statement itself is wrong, and running it says so in its own words and line numbers.
        return admitted.text
    zoned = [name for name, sql_type, *_ in columns if sql_type == "TIMESTAMP WITH TIME ZONE"]
    if not zoned:
        return admitted.text
    casts = ", ".join(f"{_quote(name)} AT TIME ZONE 'UTC' AS {_quote(name)}" for name in dict.fromkeys(zoned))
    return f"SELECT * REPLACE ({casts}) FROM (\n{bare}\n)"


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
