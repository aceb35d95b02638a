"""Was everything told? Moves in the history against the events that were committed with them."""

from dataclasses import dataclass

from daemon.store.connection import Connection
from daemon.store.reading import Reads

_FIRST_SEQ = 1


@dataclass(frozen=True)
class Untold:
    """A move of a movie, task or session (`subject`) that fewer events tell of than it happened."""

    subject: str
    subject_id: str
    to_state: str
    event: str
    moves: int
    events: int


# A task that enters the ledger ended follows one of a moved file: of its end, that one has told.
_TOLD_BY = """
CASE
  WHEN subject = 'task' AND from_state IS NULL THEN NULL
  WHEN subject = 'task' AND to_state = 'running' THEN 'magellon.step.started'
  WHEN subject = 'task' AND to_state IN ('completed', 'failed', 'cancelled', 'skipped')
    THEN 'magellon.step.' || to_state
  WHEN subject = 'movie' AND to_state IN ('seen', 'quarantined') THEN 'magellon.session.movie.' || to_state
  WHEN subject = 'movie' AND to_state = 'complete' AND cause = 'proven whole' THEN 'magellon.session.movie.complete'
  WHEN subject = 'session' AND from_state IS NULL THEN 'magellon.session.imported'
  WHEN subject = 'session' AND to_state = 'closed' THEN 'magellon.session.closed'
  WHEN subject = 'session' AND to_state = 'open' THEN 'magellon.session.reopened'
END
"""

_LACKING = f"""
WITH move AS (
  SELECT subject, subject_id, to_state, {_TOLD_BY} AS event, count(*) AS moves
  FROM history
  WHERE session_id = $session AND ($since IS NULL OR moved_at > $since)
  GROUP BY ALL
), told AS (
  SELECT kind, id, count(*) AS events
  FROM (
    SELECT said->>'$.type' AS kind,
      coalesce(said->>'$.data.task_id', said->>'$.data.movie_id', said->>'$.data.session_id') AS id
    FROM (SELECT decode(body)::JSON AS said FROM event WHERE stream IS NOT NULL)
  )
  GROUP BY ALL
)
SELECT subject, subject_id, to_state, event, moves, coalesce(events, 0)
FROM move LEFT JOIN told ON kind = event AND id = subject_id
WHERE event IS NOT NULL AND coalesce(events, 0) < moves
ORDER BY subject, subject_id, to_state
"""


async def untold_moves(store: Reads, session_id: str) -> list[Untold]:
    """Return the moves of a session without their events; not those older than the oldest event that is kept."""

    def read(connection: Connection) -> list[Untold]:
        oldest = connection.execute("SELECT min(seq), arg_min(occurred_at, seq) FROM event").fetchone()
        is_pruned = oldest is not None and oldest[0] is not None and oldest[0] > _FIRST_SEQ
        since = oldest[1] if is_pruned and oldest is not None else None
        rows = connection.execute(_LACKING, {"session": session_id, "since": since}).fetchall()
        return [Untold(*row) for row in rows]

    return await store.read(read)
