"""How sessions stand: what of their done work was cancelled, and when each last changed."""

from collections.abc import Mapping
from dataclasses import dataclass

from daemon.store.connection import Connection
from daemon.store.reading import Reads
from daemon.store.rows import to_seconds, to_timestamp

_PARTLY_CANCELLED = """
SELECT session_id, count(*) FROM movie
WHERE state = 'done' AND movie_id IN (SELECT movie_id FROM task WHERE state = 'cancelled') GROUP BY session_id
"""
_LAST_CHANGES = """
SELECT session_id, max(moved_at), session_id IN (SELECT session_id FROM task WHERE state IN ('pending', 'running'))
FROM history WHERE moved_at >= $since GROUP BY session_id
"""


async def count_partly_cancelled(store: Reads) -> Mapping[str, int]:
    """Return how many movies are done of which a step was cancelled, by session; one without any is left out."""

    def read(connection: Connection) -> dict[str, int]:
        return dict(connection.execute(_PARTLY_CANCELLED).fetchall())

    return await store.read(read)


@dataclass(frozen=True)
class LastChange:
    """When anything of a session last changed, and whether a task of it waits or runs."""

    at_s: float
    is_in_work: bool


async def last_changes(store: Reads, since_s: float) -> Mapping[str, LastChange]:
    """Return the last change of each session that has changed since then, by session."""

    def read(connection: Connection) -> dict[str, LastChange]:
        rows = connection.execute(_LAST_CHANGES, {"since": to_timestamp(since_s)}).fetchall()
        return {session_id: LastChange(to_seconds(at), is_in_work) for session_id, at, is_in_work in rows}

    return await store.read(read)
