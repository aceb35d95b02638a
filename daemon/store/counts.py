"""How much there is of what is shown in part or not at all."""

from daemon.store.connection import Connection
from daemon.store.reading import Reads


async def count_notifications(store: Reads) -> int:
    """How many notifications are kept."""
    return await _count(store, "SELECT count(*) FROM notification")


async def count_no_movies(store: Reads, session_id: str) -> int:
    """How many files of a session were left alone because their names say that they are no movies."""
    statement = "SELECT count(*) FROM movie WHERE session_id = ? AND state = 'ignored' AND reason LIKE 'not a movie:%'"
    return await _count(store, statement, session_id)


async def _count(store: Reads, statement: str, *values: str) -> int:
    def read(connection: Connection) -> int:
        row = connection.execute(statement, list(values)).fetchone()
        return 0 if row is None else int(row[0])

    return await store.read(read)
