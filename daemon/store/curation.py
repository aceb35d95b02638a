"""What stands beside the figures of images where their gates are moved: when they were taken, and who moved before."""

import json
from dataclasses import dataclass

from daemon.store.connection import Connection
from daemon.store.reading import Reads
from daemon.store.rows import to_seconds
from daemon.store.views import SET_ASIDE


@dataclass(frozen=True)
class LimitsRecord:
    """What people had set once it was moved; empty: all of it was taken back."""

    limits: dict[str, float | None]
    at_s: float
    asked_by: str
    why: str


async def image_moments(store: Reads, session_id: str) -> dict[str, tuple[str, float]]:
    """Return name and time of last write of every image that is judged, by image id, in the order of these times."""

    def read(connection: Connection) -> dict[str, tuple[str, float]]:
        rows = connection.execute(
            "SELECT image_id, any_value(image.name), max(last_write_at) AS written FROM movie "
            f"JOIN image USING (image_id) WHERE movie.session_id = ? AND movie.state NOT IN {SET_ASIDE} "
            "GROUP BY image_id ORDER BY written, image_id",
            [session_id],
        ).fetchall()
        return {image_id: (name, to_seconds(at)) for image_id, name, at in rows}

    return await store.read(read)


async def limits_moves(store: Reads, session_id: str, *, limit: int = 20) -> list[LimitsRecord]:
    """Return how people moved a session's gates, the latest first."""

    def read(connection: Connection) -> list[LimitsRecord]:
        rows = connection.execute(
            "SELECT to_state, moved_at, coalesce(asked_by, ''), reason FROM history WHERE subject = 'control' "
            f"AND cause = 'gates' AND session_id = ? ORDER BY seq DESC LIMIT {int(limit)}",
            [session_id],
        ).fetchall()
        return [
            LimitsRecord({} if value == "unset" else json.loads(value), to_seconds(at), asked_by, why)
            for value, at, asked_by, why in rows
        ]

    return await store.read(read)
