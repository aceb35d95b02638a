"""What a report asks of the store: one reading statement for each thing, the same for daemon, file and snapshots.

Times come as seconds since the epoch, so that an answer means the same however it travelled.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

METRICS = "metrics_"
"""How the tables of stages' numbers begin."""


MOST_FAILURES = 20_000
"""Of which the causes are counted."""


@dataclass(frozen=True)
class Answer:
    """Rows of one statement."""

    columns: tuple[str, ...] = ()
    rows: Sequence[Sequence[Any]] = ()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in self.rows:
            yield dict(zip(self.columns, row, strict=True))

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> list[Any]:
        """Return one column; empty where the statement has none of this name."""
        if name not in self.columns:
            return []
        index = self.columns.index(name)
        return [row[index] for row in self.rows]


Ask = Callable[[str], Answer]
"""Runs one statement."""

WHAT_THERE_IS = """
SELECT table_name, string_agg(column_name, ' ') AS columns FROM information_schema.columns GROUP BY table_name
"""
"""Every table and view there is, with its columns."""

SESSIONS = "SELECT session_id, name, state FROM session ORDER BY created_at, session_id"
"""Every session there is."""


@dataclass(frozen=True)
class Question:
    """A statement, the tables it needs, and the columns that put its rows in order."""

    needs: tuple[str, ...]
    sql: str
    order: str


def questions(session_id: str, tables: Mapping[str, Sequence[str]]) -> tuple[dict[str, str], str]:
    """Return the statements about a session that have many rows, by name, and one for all the small things.

    What needs a table that is not there is left out.
    """
    session = _literal(session_id)
    small = {name: asked for name, asked in _SMALL.items() if set(asked.needs) <= set(tables)}
    large = {"micrographs": _MICROGRAPHS.format(session=session)} if {"micrographs", "movie"} <= set(tables) else {}
    for table in sorted(tables):
        if table.startswith(METRICS) and "image" in tables:
            large[table] = (
                f'SELECT numbers.* FROM "{table}" AS numbers JOIN image USING (image_id) '  # noqa: S608 - our own table
                f"WHERE image.session_id = {session} ORDER BY image_id"
            )
    return large, bundle(small, session)


def bundle(asked: Mapping[str, Question], session: str = "''") -> str:
    """Return one statement that answers many, each in one row: starting a statement costs more than these take."""
    return "\nUNION ALL\n".join(
        f"SELECT '{name}' AS name, (SELECT to_json(list(q ORDER BY {question.order}))::VARCHAR "  # noqa: S608 - our own
        f"FROM ({question.sql.format(session=session)}) AS q) AS content"
        for name, question in asked.items()
    )


def unbundle(answer: Answer) -> dict[str, Answer]:
    """Return the answers of a bundle by name."""
    found = {}
    for row in answer:
        rows = json.loads(row["content"] or "[]")
        columns = tuple(rows[0]) if rows else ()
        found[row["name"]] = Answer(columns, [tuple(each.values()) for each in rows])
    return found


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_SESSION = """
SELECT session_id, name, raw_directory, home, acquisition::VARCHAR AS acquisition,
  facts::VARCHAR AS facts, state, epoch(created_at) AS created_s,
  epoch(closed_at) AS closed_s
FROM session WHERE session_id = {session}
"""

# A file that was never given up may have thousands of fellows: they are counted, and two of them named.
_MOVIES = """
SELECT state, reason, count(*) AS count, min(path) AS first, max(path) AS last, sum(size_bytes)::DOUBLE AS size_bytes
FROM movie WHERE session_id = {session} GROUP BY state, reason
"""

_MICROGRAPHS = """
SELECT micrographs.* EXCLUDE (seen_at, session), epoch(movie.seen_at) AS seen_s,
  epoch(movie.last_write_at) AS written_s, epoch(movie.complete_at) AS complete_s,
  CASE WHEN movie.state = 'done' THEN epoch(movie.ended_at) END AS done_s, movie.size_bytes
FROM micrographs JOIN movie ON movie.movie_id = micrographs.movie_id
WHERE micrographs.session_id = {session} AND movie.state NOT IN ('ignored', 'vanished')
ORDER BY movie.last_write_at, micrographs.name, micrographs.image_id
"""

_TASKS = """
SELECT task.stage, task.state, count(*) AS count, min(task.position) AS position
FROM task LEFT JOIN movie ON movie.movie_id = task.movie_id
WHERE task.session_id = {session} AND coalesce(movie.state, '') NOT IN ('ignored', 'vanished', 'superseded')
GROUP BY task.stage, task.state
"""

_SKIPPED = """
SELECT task.stage, task.state, task.reason, count(*) AS count, min(image.name) AS first
FROM task LEFT JOIN image ON image.image_id = task.image_id LEFT JOIN movie ON movie.movie_id = task.movie_id
WHERE task.session_id = {session} AND task.state IN ('skipped', 'cancelled')
  AND coalesce(movie.state, '') NOT IN ('ignored', 'vanished', 'superseded')
GROUP BY task.stage, task.state, task.reason ORDER BY count DESC, task.stage, task.reason LIMIT 500
"""

_PARTLY_CANCELLED = """
SELECT count(*) AS movies FROM movie WHERE session_id = {session} AND state = 'done'
  AND movie_id IN (SELECT movie_id FROM task WHERE session_id = {session} AND state = 'cancelled')
"""

_DURATIONS = """
SELECT task.stage, count(*) AS count, median(took_s) AS median_s, quantile_cont(took_s, 0.95) AS p95_s
FROM (SELECT task_id, date_diff('microseconds', started_at, ended_at) / 1e6 AS took_s
  FROM attempt WHERE outcome = 'completed' AND ended_at IS NOT NULL) AS runs
JOIN task USING (task_id) WHERE task.session_id = {session} GROUP BY task.stage
"""

_RUNS = """
SELECT task.stage, task.parameters_hash, task.code_version, count(*) AS count, min(task.position) AS position,
  epoch(min(task.ended_at)) AS first_s, epoch(max(task.ended_at)) AS last_s,
  arg_max(image.name, task.ended_at) AS image
FROM task JOIN image ON image.image_id = task.image_id
WHERE task.session_id = {session} AND task.state = 'completed'
GROUP BY task.stage, task.parameters_hash, task.code_version
"""

_FAILURES = f"""
SELECT name, what, stage, reason, hint, attempts, epoch(failed_at) AS failed_s, movie
FROM failures WHERE session_id = {{session}} ORDER BY failed_at DESC NULLS LAST, name, stage LIMIT {MOST_FAILURES}
"""  # noqa: S608 - our own number

_CONTROLS = """
SELECT kind, session_id, stage, value::VARCHAR AS value, asked_by, why, epoch(set_at) AS set_s
FROM control WHERE session_id = {session} OR session_id IS NULL
"""

# One command concerns many tasks: it is one act.
_ACTS = """
SELECT asked_by, subject, cause, to_state, reason, count(*) AS count, epoch(min(moved_at)) AS at_s
FROM history
WHERE asked_by IS NOT NULL AND asked_by <> ''
  AND (session_id = {session} OR (subject = 'control' AND session_id = ''))
GROUP BY asked_by, subject, cause, to_state, reason, date_trunc('minute', moved_at)
ORDER BY at_s DESC LIMIT 300
"""

_NOTIFICATIONS = """
SELECT severity, kind, message, hint, epoch(raised_at) AS raised_s
FROM notification WHERE session_id = {session} ORDER BY raised_at DESC LIMIT 200
"""

_SMALL: Mapping[str, Question] = {
    "session": Question(("session",), _SESSION, "session_id"),
    "movies": Question(("movie",), _MOVIES, "state, count DESC, reason"),
    "tasks": Question(("task", "movie"), _TASKS, "position, stage, state"),
    "skipped": Question(("task", "image", "movie"), _SKIPPED, "count DESC, stage, reason"),
    "partly_cancelled": Question(("movie", "task"), _PARTLY_CANCELLED, "movies"),
    "durations": Question(("attempt", "task"), _DURATIONS, "stage"),
    "runs": Question(("task", "image"), _RUNS, "position, stage, first_s, parameters_hash, code_version"),
    "failures": Question(("failures",), _FAILURES, "failed_s DESC NULLS LAST, name, stage"),
    "decisions": Question(
        ("decision",), "SELECT key, value::VARCHAR AS value FROM decision WHERE session_id = {session}", "key"
    ),
    "controls": Question(("control",), _CONTROLS, "set_s, kind, stage"),
    "acts": Question(("history",), _ACTS, "at_s DESC, asked_by, subject, cause, to_state, reason"),
    "notifications": Question(("notification",), _NOTIFICATIONS, "raised_s DESC, kind, message"),
}
