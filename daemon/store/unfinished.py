"""What a session still owes, by count and the first few names: a backlog of a hundred thousand tasks is not read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.domain.states import MovieState, TaskState
from daemon.store.connection import Connection
from daemon.store.reading import Reads
from daemon.store.rows import decode_path

_UNJUDGED = [MovieState.SEEN.value, MovieState.SETTLING.value]
_OPEN = [TaskState.PENDING.value, TaskState.RUNNING.value]
_MOST_NAMES = 6
_WHOLE_AND_OPEN = (
    "FROM task ANTI JOIN (SELECT movie_id FROM movie WHERE session_id = $session AND list_contains($unjudged, state)) "
    "AS early USING (movie_id) WHERE session_id = $session AND list_contains($open, state)"
)


@dataclass(frozen=True)
class Backlog:
    """What is open of a session at one moment."""

    movies: int
    """Files not judged yet."""
    first_movies: tuple[Path, ...]
    """A few of them."""
    tasks: Mapping[str, int]
    """Open tasks of movies that were judged, by stage."""
    task_movies: int
    """How many movies these belong to."""
    newest_move: int
    """Number of the newest line of the history then."""


async def backlog(store: Reads, session_id: str) -> Backlog:
    """Return what is open of a session."""

    def read(connection: Connection) -> Backlog:
        # First: what comes while the rest is read is new after this line, whether it is counted or not.
        (newest,) = _one(connection.execute("SELECT coalesce(max(seq), 0) FROM history"))
        given: dict[str, Any] = {"session": session_id, "unjudged": _UNJUDGED}
        unjudged = "FROM movie WHERE session_id = $session AND list_contains($unjudged, state)"
        names = connection.execute(f"SELECT path {unjudged} ORDER BY path LIMIT {_MOST_NAMES}", given).fetchall()
        (movies,) = _one(connection.execute(f"SELECT count(*) {unjudged}", given))
        given |= {"open": _OPEN}
        stages = connection.execute(f"SELECT stage, count(*) {_WHOLE_AND_OPEN} GROUP BY stage", given).fetchall()
        (task_movies,) = _one(connection.execute(f"SELECT count(DISTINCT movie_id) {_WHOLE_AND_OPEN}", given))
        return Backlog(movies, tuple(decode_path(path) for (path,) in names), dict(stages), task_movies, newest)

    return await store.read(read)


async def has_new_movie(store: Reads, session_id: str, since: int) -> bool:
    """Whether a file of a session was entered after this line of the history."""

    def read(connection: Connection) -> bool:
        found = connection.execute(
            "SELECT 1 FROM history WHERE seq > ? AND session_id = ? AND subject = 'movie' AND from_state IS NULL "
            "LIMIT 1",
            [since, session_id],
        ).fetchone()
        return found is not None

    return await store.read(read)


async def decided(store: Reads, key: str) -> list[str]:
    """Ids of the sessions that have a decision of this key, and not null."""

    def read(connection: Connection) -> list[str]:
        rows = connection.execute(
            "SELECT session_id FROM decision WHERE key = ? AND value <> 'null' ORDER BY ALL", [key]
        )
        return [session_id for (session_id,) in rows.fetchall()]

    return await store.read(read)


def _one(result: Connection) -> tuple[int, ...]:
    row = result.fetchone()
    assert row is not None, "an aggregate has one row"
    return row
