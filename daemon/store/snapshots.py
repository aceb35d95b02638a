"""Parquet snapshots of one session's rows, for analysts and for `elcano query` when nothing else answers."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from daemon.errors import FileNotWritten
from daemon.store.connection import Connection
from daemon.store.metric_tables import read_tables, table_name
from daemon.store.reading import Reads

_BATCH_ROWS = 65_536

# Table or view: where its session is found, and an order that does not depend on when rows arrived in the file.
_QUERIES: Mapping[str, str] = {
    "session": "SELECT * FROM session WHERE session_id = $session",
    "image": "SELECT * FROM image WHERE session_id = $session ORDER BY level NULLS LAST, name, image_id",
    "movie": "SELECT * FROM movie WHERE session_id = $session ORDER BY path, revision, movie_id",
    "job": "SELECT * FROM job WHERE session_id = $session ORDER BY created_at, job_id",
    "task": "SELECT * FROM task WHERE session_id = $session ORDER BY image_id, position, created_at, task_id",
    "attempt": "SELECT attempt.* FROM attempt JOIN task USING (task_id) WHERE task.session_id = $session "
    "ORDER BY task_id, attempt",
    "history": "SELECT * FROM history WHERE session_id = $session ORDER BY seq",
    "artifact": "SELECT * FROM artifact WHERE session_id = $session ORDER BY path",
    "decision": "SELECT * FROM decision WHERE session_id = $session ORDER BY key",
    "micrographs": "SELECT * FROM micrographs WHERE session_id = $session ORDER BY name, image_id",
    "throughput": "SELECT * FROM throughput WHERE session_id = $session ORDER BY ten_minutes_from",
    "failures": "SELECT * FROM failures WHERE session_id = $session ORDER BY failed_at, name, stage, id",
}


async def write_snapshots(store: Reads, session_id: str, folder: Path) -> list[Path]:
    """Write one Parquet file for each table and view into `folder`; each appears whole or not at all.

    All of them show the same moment. Raises FileNotWritten when the folder cannot be written.
    """

    def write(connection: Connection) -> list[Path]:
        queries = dict(_QUERIES)
        for stage in read_tables(connection):
            name = table_name(stage)
            queries[name] = (
                f'SELECT numbers.* FROM "{name}" AS numbers JOIN image USING (image_id) '
                "WHERE image.session_id = $session ORDER BY image.name, image_id"
            )
        connection.begin()
        try:
            return [
                _write(connection, query, session_id, folder / f"{name}.parquet") for name, query in queries.items()
            ]
        finally:
            connection.rollback()

    return await store.read(write)


def _write(connection: Connection, query: str, session_id: str, path: Path) -> Path:
    draft = path.with_name(f".{path.name}.part")
    # Read through Arrow: COPY is switched off for good in this instance (daemon.store.connection).
    with connection.sql(query, params={"session": session_id}).to_arrow_reader(_BATCH_ROWS) as rows:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                with pq.ParquetWriter(file, rows.schema, compression="zstd") as writer:
                    for batch in rows:
                        writer.write_table(pa.Table.from_batches([batch]), row_group_size=_BATCH_ROWS)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            # Cannot fail for a draft that was never made; one that stays is overwritten by the next snapshot.
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise FileNotWritten(path, error) from error
    return path
