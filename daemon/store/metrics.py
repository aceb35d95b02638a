"""Numbers of the stages, and what follows from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from daemon.errors import IllegalMove
from daemon.store.changes import MetricValue, PutMetrics
from daemon.store.connection import Connection
from daemon.store.metric_tables import read_tables, table_name
from daemon.store.plan import Plan
from daemon.store.reading import Reads
from daemon.store.views import FIRST_COMPLETIONS


def put_metrics(change: PutMetrics, plan: Plan) -> None:
    """Enter the numbers of one stage of one image; columns without a value become empty."""
    columns = plan.metric_columns(change.stage)
    if columns is None:
        raise IllegalMove(f"metrics of {change.stage}", "have no table; name the stage when the store is opened")
    unknown = sorted(set(change.values) - set(columns))
    if unknown:
        raise IllegalMove(f"metrics of {change.stage}", f"have no column {', '.join(unknown)}")
    row = {name: _fit(change.stage, name, change.values.get(name), kind) for name, kind in columns.items()}
    plan.upsert(
        table_name(change.stage), {"image_id": change.image_id, "task_id": change.task_id} | row, change.image_id
    )


def _fit(stage: str, name: str, value: object, sql_type: str) -> MetricValue:
    """Return the value as its column's own Python type; no string becomes a number and no float an int unseen."""
    if value is None:
        return None
    if isinstance(value, bool):
        if sql_type == "BOOLEAN":
            return value
    elif sql_type == "DOUBLE" and isinstance(value, Real):
        return float(value)
    elif sql_type == "BIGINT" and isinstance(value, Integral):
        return int(value)
    elif sql_type == "VARCHAR" and isinstance(value, str):
        return value
    raise IllegalMove(f"metrics of {stage}", f"{name} = {value!r} does not fit a column of type {sql_type}")


_TAKEN_UP_AGAIN = """
SELECT movie.movie_id FROM movie JOIN movie AS earlier
  ON earlier.image_id = movie.image_id AND earlier.last_write_at = movie.last_write_at AND earlier.state = 'superseded'
    AND (earlier.seen_at, earlier.revision) < (movie.seen_at, movie.revision)
WHERE movie.session_id = $session AND earlier.movie_id IN (
  SELECT subject_id FROM history
  WHERE subject = 'movie' AND session_id = $session AND to_state IN ('failed', 'quarantined', 'vanished'))
"""
"""Entries of files that had been given up as they are: how long that lasted says nothing of latency."""


@dataclass(frozen=True)
class Latency:
    """Seconds from the last write of a movie to the first completion of a stage, over the images of a session.

    What was completed only because somebody asked for it (retried, given a missing value) does not count, nor does a
    file that was given up before and is the same still.
    """

    count: int
    p50_s: float
    p95_s: float


async def latency(store: Reads, session_id: str, stage: str = "ctf_estimation") -> Latency | None:
    """Latency of a stage, or None while no image of the session has completed it."""

    def read(connection: Connection) -> Latency | None:
        row = connection.execute(
            "SELECT count(*), quantile_cont(delay_s, 0.5), quantile_cont(delay_s, 0.95) FROM ("
            "SELECT date_diff('microseconds', movie.last_write_at, first.first_at) / 1e6 AS delay_s "
            f"FROM task JOIN movie USING (movie_id) JOIN ({FIRST_COMPLETIONS}) AS first USING (task_id) "
            "WHERE task.session_id = $session AND task.stage = $stage AND first.first_at IS NOT NULL "
            f"AND NOT first.by_request AND movie.movie_id NOT IN ({_TAKEN_UP_AGAIN}))",
            {"session": session_id, "stage": stage},
        ).fetchone()
        return Latency(*row) if row and row[0] else None

    return await store.read(read)


async def stage_metrics(store: Reads, stage: str, image_id: str) -> dict[str, MetricValue] | None:
    """Numbers of one stage of one image by column, or None when it has none."""

    def read(connection: Connection) -> dict[str, MetricValue] | None:
        if stage not in read_tables(connection):
            return None
        found = connection.execute(f'SELECT * FROM "{table_name(stage)}" WHERE image_id = ?', [image_id])
        names = [column[0] for column in found.description]
        row = found.fetchone()
        return None if row is None else dict(zip(names[2:], row[2:], strict=True))

    return await store.read(read)


async def count_unknown(store: Reads, stage: str, column: str, session_id: str) -> int:
    """Images of a session for which a stage could not tell this number; 0 where it has no such number."""

    def read(connection: Connection) -> int:
        if column not in read_tables(connection).get(stage, {}):
            return 0
        row = connection.execute(
            f'SELECT count(*) FROM "{table_name(stage)}" AS numbers JOIN image USING (image_id) '
            f'WHERE image.session_id = ? AND numbers."{column}" IS NULL',
            [session_id],
        ).fetchone()
        return row[0] if row else 0

    return await store.read(read)


async def count_remarked(store: Reads, stage: str, words: str, session_id: str) -> tuple[int, str]:
    """Images of a session on whose result a stage made a remark with these words, and the first of them by name."""

    def read(connection: Connection) -> tuple[int, str]:
        if "warning" not in read_tables(connection).get(stage, {}):
            return 0, ""
        row = connection.execute(
            f'SELECT count(*), min(image.name) FROM "{table_name(stage)}" AS numbers JOIN image USING (image_id) '
            f"WHERE image.session_id = ? AND contains(numbers.warning, ?)",
            [session_id, words],
        ).fetchone()
        return (row[0], row[1] or "") if row else (0, "")

    return await store.read(read)


async def trusted_defocus_ang(store: Reads, session_id: str) -> list[float]:
    """Mean defocus of each image of a session whose CTF is to be trusted."""

    def read(connection: Connection) -> list[float]:
        if not {"confident", "defocus_u_ang", "defocus_v_ang"} <= set(
            read_tables(connection).get("ctf_estimation", {})
        ):
            return []
        found = connection.execute(
            f'SELECT (defocus_u_ang + defocus_v_ang) / 2 AS mean_ang FROM "{table_name("ctf_estimation")}" '
            "JOIN image USING (image_id) WHERE image.session_id = ? AND confident AND mean_ang IS NOT NULL",
            [session_id],
        )
        return [row[0] for row in found.fetchall()]

    return await store.read(read)


async def stage_rows(
    store: Reads, stage: str, session_id: str | None = None, *, limit: int | None = None
) -> list[dict[str, Any]]:
    """The metric table of a stage, with the name of each image, by name; all sessions when none is given."""
    ending = "" if limit is None else f"LIMIT {int(limit)}"

    def read(connection: Connection) -> list[dict[str, Any]]:
        if stage not in read_tables(connection):
            return []
        found = connection.execute(
            f'SELECT image.session_id, image.name, numbers.* FROM "{table_name(stage)}" AS numbers '
            f"JOIN image USING (image_id) WHERE $session IS NULL OR image.session_id = $session "
            f"ORDER BY image.name, image_id {ending}",
            {"session": session_id},
        )
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    return await store.read(read)


async def micrographs(
    store: Reads, session_id: str, *, limit: int | None = None, offset: int = 0
) -> list[Mapping[str, Any]]:
    """Rows of the `micrographs` view of a session by name, as dictionaries."""
    return await _rows(store, "micrographs", "name, image_id", session_id, limit, offset)


async def failures(
    store: Reads, session_id: str, *, limit: int | None = None, offset: int = 0
) -> list[Mapping[str, Any]]:
    """Rows of the `failures` view of a session, oldest first, as dictionaries."""
    return await _rows(store, "failures", "failed_at, name, stage, id", session_id, limit, offset)


@dataclass(frozen=True)
class LatestFailures:
    """How many failed tasks and quarantined movies there are, and the latest of them, newest first."""

    total: int
    latest: tuple[Mapping[str, Any], ...]


async def latest_failures(store: Reads, *, limit: int) -> LatestFailures:
    """The newest rows of the `failures` view over all sessions, and how many rows it has."""

    def read(connection: Connection) -> LatestFailures:
        found = connection.execute(
            f"SELECT *, count(*) OVER () AS total FROM failures "
            f"ORDER BY failed_at DESC NULLS LAST, session, name, stage, id LIMIT {int(limit)}"
        )
        names = [column[0] for column in found.description]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        total = rows[0]["total"] if rows else 0
        return LatestFailures(total, tuple({key: row[key] for key in names if key != "total"} for row in rows))

    return await store.read(read)


async def _rows(
    store: Reads, view: str, order: str, session_id: str, limit: int | None, offset: int
) -> list[Mapping[str, Any]]:
    ending = f"{'' if limit is None else f'LIMIT {int(limit)}'} OFFSET {int(offset)}"

    def read(connection: Connection) -> list[Mapping[str, Any]]:
        found = connection.execute(f"SELECT * FROM {view} WHERE session_id = ? ORDER BY {order} {ending}", [session_id])
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    return await store.read(read)
