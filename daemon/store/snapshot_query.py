"""People's SQL on the Parquet snapshots, for when a daemon owns the store and does not answer."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from daemon.errors import FileUnreadable, QueryRefused
from daemon.store.connection import open_sandbox
from daemon.store.sandbox import QueryResult, UserQueries


def query_snapshots(
    home: Path, sql: str, *, limit_rows: int = 10_000, timeout_s: float = 30.0
) -> tuple[QueryResult, float]:
    """Run one reading statement on the snapshots of every session under `home`.

    Returns the result and when the oldest snapshot was written, in seconds since the epoch. Raises
    QueryRefused, also when there are no snapshots, and FileUnreadable.
    """
    files = sorted(home.glob("*/tables/*.parquet"))
    if not files:
        raise QueryRefused(
            f"There are no snapshots under {home} yet.", hint="Wait until the daemon answers, or has written them."
        )
    connection = open_sandbox()
    try:
        for name in sorted({path.stem for path in files}):
            rows = _read([path for path in files if path.stem == name])
            connection.register("snapshot_rows", rows)
            connection.execute(f'CREATE TABLE "{name}" AS SELECT * FROM snapshot_rows')
            connection.unregister("snapshot_rows")
        queries = UserQueries(connection)
        try:
            result = queries.run_now(sql, limit_rows=limit_rows, timeout_s=timeout_s)
        finally:
            queries.close()
    finally:
        connection.close()
    return result, min(path.stat().st_mtime for path in files)


def write_rows(path: Path, columns: list[str], rows: list[list[object]]) -> None:
    """Write the rows of a result to a Parquet file."""
    table = pa.table({name: [row[index] for row in rows] for index, name in enumerate(columns)})
    pq.write_table(table, path, compression="zstd")


def _read(paths: list[Path]) -> pa.Table:
    tables = []
    for path in paths:
        try:
            tables.append(pq.read_table(path))
        except OSError as error:
            raise FileUnreadable(path, error) from error
    return pa.concat_tables(tables, promote_options="permissive")
