"""The process in which a person's SQL is parsed and run (daemon.store.sandbox): it has no file, and may be killed.

A statement can keep DuckDB busy for minutes within one function, where no interrupt is looked for, and parsing
alone can hold the interpreter for seconds. Here both hurt nobody, and a kill ends them at once.

Each statement gets an instance of DuckDB of its own, in memory. What is said, in turn:
an order comes; what the statement spells goes; the tables come, row by row; columns, rows and the end go.
A refusal may take the place of anything that goes.
"""

import json
import pickle
import re
import resource
import sys
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from daemon.errors import QueryRefused
from daemon.store.admission import Admitted, admit
from daemon.store.connection import Connection, open_sandbox

TABLE, BATCH, VIEW, RUN = b"table", b"batch", b"view", b"run"
"""What a message to this process holds; what belongs to it comes in the next one."""

_LIMIT_BYTES = 2 * 2**30
"""Of memory for the whole process: DuckDB's own limit does not see what a function builds for itself."""
_STILL_SMALL_BYTES = 2**29
"""A process that has grown beyond this runs no other statement."""
_LARGEST_ROW_BYTES = 64 * 2**20
"""No message of NATS may be larger."""
_CHUNK_ROWS = 1024


def main(orders: int, answers: int) -> None:
    """Run one statement after the other, until nobody is there to ask for more; both are descriptors of pipes."""
    resource.setrlimit(resource.RLIMIT_DATA, (_LIMIT_BYTES, _LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    coming, going = Pipe(orders, writable=False), Pipe(answers, readable=False)
    while True:
        try:
            order = json.loads(coming.recv_bytes())
        except EOFError:
            return
        try:
            end = _run(coming, going, order)
        except QueryRefused as refusal:
            end = {"refused": refusal.message, "hint": refusal.hint, "again": True}
        except (MemoryError, duckdb.OutOfMemoryException):
            end = {"refused": "The statement needs more memory than it may use.", "hint": "Ask for less."}
        except duckdb.Error as error:
            end = {"refused": f"DuckDB refuses the statement: {str(error).strip()}", "again": True}
        end["again"] = end.get("again", False) and _held_bytes() < _STILL_SMALL_BYTES
        _say(going, end)
        if not end["again"]:
            return


def _run(coming: Pipe, going: Pipe, order: dict[str, Any]) -> dict[str, Any]:
    sandbox = open_sandbox()
    try:
        admitted = admit(sandbox, order["sql"])
        _say(going, {"spells": sorted(admitted.spells)})
        _receive_tables(coming, sandbox)
        sandbox.execute("BEGIN TRANSACTION READ ONLY")
        is_truncated = _send_rows(going, sandbox, admitted, order["limit_rows"], order["limit_bytes"])
        return {"truncated": is_truncated, "again": True}
    finally:
        sandbox.close()


def _receive_tables(coming: Pipe, sandbox: Connection) -> None:
    """Make the tables and views that come; every message is taken, whatever becomes of it."""
    table = ""
    failed: duckdb.Error | MemoryError | None = None
    while (kind := coming.recv_bytes()) != RUN:
        said = coming.recv_bytes()
        if failed is not None:
            continue
        try:
            if kind == BATCH:
                with pa.ipc.open_stream(said) as rows:
                    sandbox.register("incoming", rows.read_all())
                sandbox.execute(f'INSERT INTO "{table}" SELECT * FROM incoming')
                sandbox.unregister("incoming")
            elif kind == TABLE:
                described = json.loads(said)
                table = described["name"]
                sandbox.execute(f'CREATE TABLE "{table}" ({described["columns"]})')
            else:
                described = json.loads(said)
                sandbox.execute(f'CREATE VIEW "{described["name"]}" AS {described["body"]}')
        except (duckdb.Error, MemoryError) as error:
            failed = error
    if failed is not None:
        raise failed


def _send_rows(going: Pipe, sandbox: Connection, admitted: Admitted, limit_rows: int, limit_bytes: int | None) -> bool:
    """Send columns and rows; returns whether there are more rows than are asked for."""
    sandbox.execute(_without_zones(sandbox, admitted))
    described = sandbox.description
    columns = [[column[0], str(column[1])] for column in described]
    _say(going, {"columns": columns})
    sent = fetched_bytes = 0
    # The result streams: a statement whose whole answer would not fit in memory costs only what is asked for.
    # Small at first, as one row may be huge.
    while sent < limit_rows:
        rows = sandbox.fetchmany(min(_CHUNK_ROWS, sent + 1, limit_rows - sent))
        if not rows:
            return False
        sent += len(rows)
        if limit_bytes is not None:
            sizes = [_least_bytes(row) for row in rows]
            fetched_bytes += sum(sizes)
            _refuse_large(max(sizes), _LARGEST_ROW_BYTES, "One row of the answer")
            _refuse_large(fetched_bytes, limit_bytes, "The answer")
        going.send_bytes(pickle.dumps(rows, pickle.HIGHEST_PROTOCOL))
    return bool(sandbox.fetchmany(1))


def _refuse_large(size_bytes: int, limit_bytes: int, what: str) -> None:
    if size_bytes > limit_bytes:
        raise QueryRefused(
            f"{what} has more than the {limit_bytes // 2**20} MiB that can be sent.",
            hint="Ask for less: fewer columns, a filter, a LIMIT; or read the Parquet snapshots.",
        )


def _least_bytes(value: Any) -> int:
    """Return the least that a value takes when it is sent: a text its length, a number a digit and a comma."""
    if isinstance(value, str | bytes):
        return len(value) + 2
    if isinstance(value, dict):
        return sum(map(_least_bytes, value.values())) + 2
    return sum(map(_least_bytes, value)) + 2 if isinstance(value, list | tuple) else 2


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


def _say(going: Pipe, message: dict[str, Any]) -> None:
    going.send_bytes(json.dumps(message).encode())


def _held_bytes() -> int:
    """Bytes of memory that this process has for itself."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
