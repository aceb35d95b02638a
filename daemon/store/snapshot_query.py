"""People's SQL on the Parquet snapshots, for when a daemon owns the store and does not answer."""

from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from daemon.errors import FileUnreadable, QueryRefused
from daemon.store.connection import open_sandbox
from daemon.store.sandbox import QueryResult, UserQueries


class Snapshots:
    """The snapshots of every session under a home, read once; several statements may be run on them."""

    def __init__(self, home: Path) -> None:
        """Raises QueryRefused when there are no snapshots, and FileUnreadable."""
        files = sorted(home.glob("*/tables/*.parquet"))
        if not files:
            raise QueryRefused(
                f"There are no snapshots under {home} yet.", hint="Wait until the daemon answers, or has written them."
            )
        self.oldest_s = min(path.stat().st_mtime for path in files)
        """When the oldest of them was written, in seconds since the epoch."""
        self._connection = open_sandbox()
        try:
            for name in sorted({path.stem for path in files}):
                rows = _read([path for path in files if path.stem == name])
                self._connection.register("snapshot_rows", rows)
                self._connection.execute(f'CREATE TABLE "{name}" AS SELECT * FROM snapshot_rows')
                self._connection.unregister("snapshot_rows")
        except BaseException:
            self._connection.close()
            raise
        self._queries = UserQueries(self._connection)

    def query(self, sql: str, *, limit_rows: int = 10_000, timeout_s: float = 30.0) -> QueryResult:
        """Run one reading statement. Raises QueryRefused."""
        return self._queries.run_now(sql, limit_rows=limit_rows, timeout_s=timeout_s)

    def close(self) -> None:
        """Let go of what was read."""
        self._queries.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def query_snapshots(
    home: Path, sql: str, *, limit_rows: int = 10_000, timeout_s: float = 30.0
) -> tuple[QueryResult, float]:
    """Run one reading statement on the snapshots of every session under `home`.

    Returns the result and when the oldest snapshot was written, in seconds since the epoch. Raises
    QueryRefused, also when there are no snapshots, and FileUnreadable.
    """
    with Snapshots(home) as snapshots:
        return snapshots.query(sql, limit_rows=limit_rows, timeout_s=timeout_s), snapshots.oldest_s


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
