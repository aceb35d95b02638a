"""Micrographs at a glance, and what has changed of them since."""

from collections.abc import Mapping
from typing import Any

from daemon.messages.micrographs import MicrographRow
from daemon.store.connection import Connection
from daemon.store.metric_tables import read_tables, table_name
from daemon.store.reading import Reads
from daemon.store.views import SET_ASIDE

_LONGEST_WORDS = 200
_CHANGED = """
AND image.image_id IN (
  SELECT subject_id FROM history WHERE seq > $after AND session_id = $session AND subject = 'image'
  UNION
  SELECT image_id FROM history JOIN task ON task.task_id = history.subject_id
  WHERE history.seq > $after AND history.session_id = $session AND history.subject = 'task'
  UNION
  SELECT image_id FROM history JOIN movie ON movie.movie_id = history.subject_id
  WHERE history.seq > $after AND history.session_id = $session AND history.subject = 'movie'
)
"""
_CTF, _MOTION = "ctf_estimation", "motion_correction"
_NUMBERS = (
    (_CTF, "({table}.defocus_u_ang + {table}.defocus_v_ang) / 2", "defocus_v_ang"),
    (_CTF, "{table}.astigmatism_ang", "astigmatism_ang"),
    (_CTF, "{table}.fit_resolution_ang", "fit_resolution_ang"),
    (_CTF, "{table}.score", "score"),
    (_MOTION, "{table}.total_motion_ang", "total_motion_ang"),
    (_CTF, "{table}.ice_ring", "ice_ring"),
    (_CTF, "{table}.confident", "confident"),
    (_CTF, "{table}.warning", "warning"),
    (_MOTION, "{table}.warning", "warning"),
)
"""Stage, what is told of it, and a column that its table must have for that."""


async def read_micrographs(store: Reads, session_id: str, after: int | None) -> tuple[int, list[MicrographRow]]:
    """Return how far the history went before, and the micrographs of a session, those seen first first.

    With `after` only those of which a task, the movie, the verdict or the mark has moved since. Of a file that was
    rewritten the newest revision counts. What changes while this reads may be told again, never left out.
    """

    def read(connection: Connection) -> tuple[int, list[MicrographRow]]:
        (seq,) = connection.execute("SELECT coalesce(max(seq), 0) FROM history").fetchone() or (0,)
        values: dict[str, Any] = {"session": session_id}
        if after is not None:
            values["after"] = after
        statement = _select(read_tables(connection), since=after is not None)
        rows = connection.execute(statement, values).fetchall()
        return seq, [_row(*row) for row in rows]

    return await store.read(read)


def _select(tables: Mapping[str, Mapping[str, str]], *, since: bool) -> str:
    numbers = [
        told.format(table=f'"{table_name(stage)}"') if column in tables.get(stage, {}) else "NULL"
        for stage, told, column in _NUMBERS
    ]
    joins = [
        f'LEFT JOIN "{table_name(stage)}" ON "{table_name(stage)}".image_id = image.image_id'
        for stage in (_CTF, _MOTION)
        if stage in tables
    ]
    return f"""
SELECT image.image_id, image.name, movie.state, verdict.passes, coalesce(verdict.gate, ''),
  left(coalesce(verdict.reason, ''), {_LONGEST_WORDS}), {", ".join(numbers)}
FROM image JOIN movie ON movie.image_id = image.image_id {" ".join(joins)}
LEFT JOIN verdict ON verdict.image_id = image.image_id AND movie.state NOT IN {SET_ASIDE}
WHERE image.session_id = $session AND movie.state <> 'superseded' {_CHANGED if since else ""}
QUALIFY row_number() OVER (
  PARTITION BY image.image_id ORDER BY movie.revision DESC, movie.seen_at DESC, movie.movie_id) = 1
ORDER BY movie.seen_at, image.name
"""


def _row(*row: Any) -> MicrographRow:
    *values, ctf_warning, motion_warning = row
    warning = "; ".join(filter(None, (ctf_warning, motion_warning)))[:_LONGEST_WORDS]
    return MicrographRow(*[*values, warning])
