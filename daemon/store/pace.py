"""How movies came and went lately: counts by time, and how long they waited."""

from dataclasses import dataclass

from daemon.store.connection import Connection
from daemon.store.reading import Reads
from daemon.store.rows import convert, to_optional_seconds, to_timestamp
from daemon.store.views import FIRST_COMPLETIONS

_NO_MOVIES = "('ignored', 'superseded', 'vanished')"
"""States of files that turned out to be none."""

_REACHED = f"""
SELECT 'seen' AS what, seen_at AS reached_at FROM movie WHERE seen_at >= $since AND state NOT IN {_NO_MOVIES}
UNION ALL
SELECT state, ended_at FROM movie WHERE ended_at >= $since AND state IN ('done', 'failed')
"""

_TAKEN_UP_AGAIN = """
SELECT movie.movie_id FROM movie JOIN movie AS earlier
  ON earlier.image_id = movie.image_id AND earlier.last_write_at = movie.last_write_at AND earlier.state = 'superseded'
    AND (earlier.seen_at, earlier.revision) < (movie.seen_at, movie.revision)
WHERE earlier.movie_id IN (
  SELECT subject_id FROM history WHERE subject = 'movie' AND to_state IN ('failed', 'quarantined', 'vanished'))
"""


@dataclass(frozen=True)
class Flow:
    """Movies seen, done and failed in each bucket of time, the oldest first."""

    seen: tuple[int, ...]
    done: tuple[int, ...]
    failed: tuple[int, ...]


@dataclass(frozen=True)
class Arrivals:
    """How many movies came, when the first of them did, and since when there was any movie to process: None where
    none came, or there was none."""

    count: int
    first_s: float | None
    work_since_s: float | None


@dataclass(frozen=True)
class Waits:
    """How many, and the quantiles of what they waited in seconds, None where there are none."""

    count: int
    quantiles_s: tuple[float | None, ...]


@dataclass(frozen=True)
class Lag:
    """Seconds from last write to seen, and to proven whole: medians and 95th percentiles."""

    count: int
    seen_s: tuple[float | None, float | None]
    proven_s: tuple[float | None, float | None]


async def count_flow(store: Reads, since_s: float, bucket_s: float, buckets: int) -> Flow:
    """Count movies of all sessions by `bucket_s` from `since_s` on; what is later counts into the last bucket."""

    def read(connection: Connection) -> Flow:
        rows = connection.execute(
            "SELECT what, least(floor(date_diff('microseconds', $since, reached_at) / $step), $last)::INTEGER AS at, "
            f"count(*) FROM ({_REACHED}) GROUP BY ALL",
            {"since": to_timestamp(since_s), "step": 1e6 * bucket_s, "last": buckets - 1},
        ).fetchall()
        counts = {what: [0] * buckets for what in ("seen", "done", "failed")}
        for what, at, count in rows:
            counts[what][at] = count
        return Flow(*(tuple(counted) for counted in counts.values()))

    return await store.read(read)


async def count_arrivals(store: Reads, since_s: float, watched_since_s: float) -> Arrivals:
    """Count movies proven whole since then that were written while somebody watched: what lay there is no arrival."""

    def read(connection: Connection) -> Arrivals:
        row = connection.execute(
            "SELECT count(*) FILTER (arrived), min(complete_at) FILTER (arrived), min(complete_at) FROM ("
            "SELECT complete_at, "
            "complete_at >= $since AND last_write_at >= greatest(session.created_at, $watched) AS arrived "
            "FROM movie JOIN session USING (session_id) "
            f"WHERE complete_at IS NOT NULL AND movie.state NOT IN {_NO_MOVIES} "
            "AND (complete_at >= $since OR ended_at >= $since OR ended_at IS NULL))",
            {"since": to_timestamp(since_s), "watched": to_timestamp(watched_since_s)},
        ).fetchone()
        assert row is not None, "a count of nothing is 0"
        return Arrivals(*convert(row, {1: to_optional_seconds, 2: to_optional_seconds}))

    return await store.read(read)


async def count_done(store: Reads, last_minute: int, minutes: int) -> dict[str, list[int]]:
    """Count the movies done in each of the last minutes since the epoch, the oldest first, by session id; sessions of
    which none was are left out."""

    def read(connection: Connection) -> dict[str, list[int]]:
        first = last_minute - minutes + 1
        rows = connection.execute(
            "SELECT session_id, (date_diff('microseconds', $since, ended_at) // 60000000)::INTEGER AS at, count(*) "
            "FROM movie WHERE state = 'done' AND ended_at >= $since AND ended_at < $until GROUP BY ALL",
            {"since": to_timestamp(60.0 * first), "until": to_timestamp(60.0 * (last_minute + 1))},
        ).fetchall()
        counted: dict[str, list[int]] = {}
        for session_id, at, count in rows:
            counted.setdefault(session_id, [0] * minutes)[at] = count
        return counted

    return await store.read(read)


async def measure_waits(store: Reads, stage: str, sinces_s: tuple[float, ...]) -> list[Waits]:
    """Seconds from last write to the first completion of a stage: p50, p95, p99 of those completed since each time.

    Over all sessions; what counts is what counts for `metrics.latency`.
    """

    def read(connection: Connection) -> list[Waits]:
        values = {f"since{number}": to_timestamp(since_s) for number, since_s in enumerate(sinces_s)}
        shown = ", ".join(
            f"count(*) FILTER (first_at >= ${name}), "
            f"quantile_cont(delay_s, [0.5, 0.95, 0.99]) FILTER (first_at >= ${name})"
            for name in values
        )
        row = connection.execute(
            f"SELECT {shown} FROM ("
            "SELECT first.first_at, date_diff('microseconds', movie.last_write_at, first.first_at) / 1e6 AS delay_s "
            f"FROM task JOIN movie USING (movie_id) JOIN ({FIRST_COMPLETIONS}) AS first USING (task_id) "
            "WHERE task.stage = $stage AND first.first_at >= $oldest AND NOT first.by_request "
            f"AND movie.movie_id NOT IN ({_TAKEN_UP_AGAIN}))",
            values | {"stage": stage, "oldest": to_timestamp(min(sinces_s))},
        ).fetchone()
        assert row is not None, "a count of nothing is 0"
        return [Waits(count, tuple(found or (None,) * 3)) for count, found in zip(row[::2], row[1::2], strict=True)]

    return await store.read(read)


async def measure_lag(store: Reads, since_s: float) -> Lag:
    """How long movies proven whole since then waited to be seen and proven; those written before their session was
    imported are left out, as nobody watched for them."""

    def read(connection: Connection) -> Lag:
        row = connection.execute(
            "SELECT count(*), quantile_cont(seen_s, [0.5, 0.95]), quantile_cont(proven_s, [0.5, 0.95]) FROM ("
            "SELECT date_diff('microseconds', last_write_at, seen_at) / 1e6 AS seen_s, "
            "date_diff('microseconds', last_write_at, complete_at) / 1e6 AS proven_s "
            "FROM movie JOIN session USING (session_id) "
            f"WHERE complete_at >= ? AND last_write_at >= session.created_at AND movie.state NOT IN {_NO_MOVIES})",
            [to_timestamp(since_s)],
        ).fetchone()
        assert row is not None, "a count of nothing is 0"
        count, seen, proven = row
        return Lag(count, tuple(seen or (None, None)), tuple(proven or (None, None)))

    return await store.read(read)
