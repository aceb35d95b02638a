"""Views in plain words, rebuilt at every opening from the metric columns that exist."""

from collections.abc import Mapping

from daemon.store.connection import Connection
from daemon.store.metric_tables import read_tables, table_name

# Column of `micrographs`: stage and metric it shows. A stage that has no table yet gives an empty column.
_SHOWN: Mapping[str, tuple[str, str, str]] = {
    "drift_ang": ("motion_correction", "total_motion_ang", "DOUBLE"),
    "defocus_u_ang": ("ctf_estimation", "defocus_u_ang", "DOUBLE"),
    "defocus_v_ang": ("ctf_estimation", "defocus_v_ang", "DOUBLE"),
    "astigmatism_ang": ("ctf_estimation", "astigmatism_ang", "DOUBLE"),
    "astigmatism_angle_deg": ("ctf_estimation", "astigmatism_angle_deg", "DOUBLE"),
    "phase_shift_deg": ("ctf_estimation", "phase_shift_deg", "DOUBLE"),
    "fit_resolution_ang": ("ctf_estimation", "fit_resolution_ang", "DOUBLE"),
    "score": ("ctf_estimation", "score", "DOUBLE"),
    "ice_ring": ("ctf_estimation", "ice_ring", "DOUBLE"),
    "ctf_confident": ("ctf_estimation", "confident", "BOOLEAN"),
    "ctf_warning": ("ctf_estimation", "warning", "VARCHAR"),
    "motion_warning": ("motion_correction", "warning", "VARCHAR"),
}

SET_ASIDE = "('ignored', 'quarantined', 'vanished', 'superseded')"
"""States of movies that no gate judges, in SQL: nothing will come of them, whatever numbers they left."""

FIRST_COMPLETIONS = """
SELECT subject_id AS task_id, min(moved_at) FILTER (to_state = 'completed') AS first_at,
  coalesce(min(seq) FILTER (to_state = 'pending' AND asked_by IS NOT NULL)
    < min(seq) FILTER (to_state = 'completed'), false) AS by_request
FROM history WHERE subject = 'task' AND (from_state IS NOT NULL OR to_state <> 'completed') GROUP BY subject_id
"""
"""When each task was completed first, and whether somebody had to ask for that: later work says nothing of latency."""

_THROUGHPUT = """
CREATE OR REPLACE VIEW throughput AS
WITH reached AS (
  SELECT session_id, seen_at AS reached_at, 1 AS seen, 0 AS complete, 0 AS done FROM movie
  UNION ALL
  SELECT session_id, complete_at, 0, 1, 0 FROM movie WHERE complete_at IS NOT NULL
  UNION ALL
  SELECT session_id, ended_at, 0, 0, 1 FROM movie WHERE state = 'done'
)
SELECT session.name AS session, time_bucket(INTERVAL 10 MINUTE, reached_at) AS ten_minutes_from,
  sum(seen)::BIGINT AS seen, sum(complete)::BIGINT AS complete, sum(done)::BIGINT AS done, reached.session_id
FROM reached JOIN session USING (session_id)
GROUP BY session.name, reached.session_id, ten_minutes_from
"""

_GIVEN_UP = r"'^(.* Nothing changed for [0-9]+ (?:s|min)): ([a-z][^.]*\.)(.*)$'"
"""How the reason reads for which watching gave a movie up: what is wrong, what to do, and what was wrong before."""

_FAILURES = rf"""
CREATE OR REPLACE VIEW failures AS
SELECT session.name AS session, coalesce(image.name, '') AS name, 'task' AS what, task.stage AS stage, task.reason,
  task.hint, task.retryable, task.attempts, task.ended_at AS failed_at, movie.path AS movie, task.task_id AS id,
  task.session_id
FROM task JOIN session USING (session_id) LEFT JOIN image ON image.image_id = task.image_id
  LEFT JOIN movie ON movie.movie_id = task.movie_id
WHERE task.state = 'failed' AND coalesce(movie.state, '') NOT IN ('ignored', 'vanished', 'superseded')
UNION ALL
SELECT session.name, coalesce(image.name, ''), 'movie', '', regexp_replace(movie.reason, {_GIVEN_UP}, '\1.\3', 's'),
  upper(regexp_extract(movie.reason, {_GIVEN_UP}, 2, 's')[1]) || regexp_extract(movie.reason, {_GIVEN_UP}, 2, 's')[2:],
  false, 0, movie.ended_at, movie.path, movie.movie_id, movie.session_id
FROM movie JOIN session USING (session_id) LEFT JOIN image ON image.image_id = movie.image_id
WHERE movie.state = 'quarantined'
  AND movie.movie_id NOT IN (SELECT movie_id FROM task WHERE state = 'failed' AND movie_id IS NOT NULL)
"""


def create_views(connection: Connection) -> None:
    """Create or renew every view, in the caller's transaction."""
    connection.execute(_define_micrographs(read_tables(connection)))
    connection.execute(_THROUGHPUT)
    connection.execute(_FAILURES)


def _define_micrographs(tables: Mapping[str, Mapping[str, str]]) -> str:
    """One row for each image that has a movie: its newest revision, the numbers, and the state of every stage."""
    numbers = [
        f'"{table_name(stage)}"."{metric}" AS {column}'
        if metric in tables.get(stage, {})
        else f"NULL::{sql_type} AS {column}"
        for column, (stage, metric, sql_type) in _SHOWN.items()
    ]
    joins = [
        f'LEFT JOIN "{table_name(stage)}" ON "{table_name(stage)}".image_id = newest.image_id'
        for stage in sorted({stage for stage, metric, _ in _SHOWN.values() if metric in tables.get(stage, {})})
    ]
    # A stage may have been owed more than once (reprocessing under another job): the newest task speaks.
    pivots = ["max(first_at) FILTER (stage = 'ctf_estimation' AND NOT by_request) AS ctf_at"]
    pivots += [f"max_by(state, created_at) FILTER (stage = '{stage}') AS \"{stage}\"" for stage in tables]
    states = [f'stages."{stage}"' for stage in tables]
    shown = [
        "session.name AS session",
        "image.name AS name",
        "newest.path AS movie",
        "newest.state AS state",
        *numbers,
        *states,
        "coalesce((image.acquisition->>'$.optics_group')::INTEGER, 1) AS optics_group",
        "verdict.passes",
        "verdict.gate",
        "verdict.reason AS gate_reason",
        "date_diff('microseconds', newest.last_write_at, stages.ctf_at) / 1e6 AS latency_s",
        "newest.seen_at",
        "image.image_id",
        "newest.movie_id",
        "newest.session_id",
    ]
    return f"""
CREATE OR REPLACE VIEW micrographs AS
WITH newest AS (
  SELECT * FROM movie WHERE image_id IS NOT NULL AND state <> 'superseded'
  QUALIFY row_number() OVER (PARTITION BY image_id ORDER BY revision DESC, seen_at DESC, movie_id) = 1
), stages AS (
  SELECT image_id, {", ".join(pivots)} FROM task LEFT JOIN ({FIRST_COMPLETIONS}) AS first USING (task_id)
  WHERE image_id IS NOT NULL GROUP BY image_id
)
SELECT {", ".join(shown)}
FROM newest JOIN image ON image.image_id = newest.image_id JOIN session ON session.session_id = newest.session_id
LEFT JOIN stages ON stages.image_id = newest.image_id {" ".join(joins)}
LEFT JOIN verdict ON verdict.image_id = newest.image_id AND newest.state NOT IN {SET_ASIDE}
"""
