"""What a panel of jobs is drawn from: all tasks of a job, image by image, and what has changed of them since."""

from pathlib import Path
from typing import Any

from daemon.messages.panel import MatrixCell, MatrixImage, TaskMove
from daemon.store.connection import Connection
from daemon.store.reading import Reads
from daemon.store.rows import convert, decode_path, to_seconds

_LONGEST_REASON = 200
_WIRE_CODES = "list_position(['pending', 'running', 'completed', 'failed', 'cancelled', 'skipped'], task.state) - 1"
_CHANGED = """
AND task.image_id IN (
  SELECT image_id FROM history JOIN task AS moved ON moved.task_id = history.subject_id
  WHERE history.seq > $after AND history.session_id = $session AND history.subject = 'task'
  UNION
  SELECT image_id FROM history JOIN movie ON movie.movie_id = history.subject_id
  WHERE history.seq > $after AND history.session_id = $session AND history.subject = 'movie'
)
"""


async def read_matrix(
    store: Reads, job_id: str, session_id: str, stages: tuple[str, ...], after: int | None
) -> tuple[int, list[MatrixImage]]:
    """Return how far the history went before, and the images of a job with their tasks, those seen first first.

    With `after` only images of which a task or the movie has moved since. Of a file that was rewritten the newest
    revision counts. What changes while this reads may be told again by the next answer, never left out.
    """
    column_of = {stage: number for number, stage in enumerate(stages)}

    def read(connection: Connection) -> tuple[int, list[MatrixImage]]:
        (seq,) = connection.execute("SELECT coalesce(max(seq), 0) FROM history").fetchone() or (0,)
        values: dict[str, Any] = {"job": job_id}
        if after is not None:
            values |= {"after": after, "session": session_id}
        rows = connection.execute(
            "SELECT task.image_id, coalesce(image.name, ''), coalesce(movie.state, ''), stage, task_id, "
            f"{_WIRE_CODES}, attempts, CASE WHEN task.state IN ('failed', 'skipped', 'cancelled', 'pending') "
            f"THEN left(task.reason, {_LONGEST_REASON}) ELSE '' END "
            "FROM task LEFT JOIN image USING (image_id) LEFT JOIN movie USING (movie_id) "
            f"WHERE task.job_id = $job AND task.image_id IS NOT NULL {'' if after is None else _CHANGED} "
            "ORDER BY movie.seen_at, image.name, movie.revision, task.created_at",
            values,
        ).fetchall()
        images: dict[str, tuple[str, str, list[MatrixCell | None]]] = {}
        for image_id, name, movie_state, stage, task_id, code, attempts, reason in rows:
            known = images.get(image_id)
            cells: list[MatrixCell | None] = [None] * len(stages) if known is None else known[2]
            if stage in column_of:
                cells[column_of[stage]] = (task_id, code, attempts, reason)
            images[image_id] = (name, movie_state, cells)
        return seq, [(image_id, *rest) for image_id, rest in images.items()]

    return await store.read(read)


async def not_whole(store: Reads, session_id: str, most: int) -> dict[str, Path]:
    """Return the images whose movie waits to be whole, with its file; at most so many, those seen first first."""

    def read(connection: Connection) -> dict[str, Path]:
        rows = connection.execute(
            "SELECT image_id, path FROM movie WHERE session_id = ? AND image_id IS NOT NULL "
            "AND state IN ('seen', 'settling') ORDER BY seen_at, movie_id LIMIT ?",
            [session_id, most],
        ).fetchall()
        return {image_id: decode_path(path) for image_id, path in rows}

    return await store.read(read)


async def task_moves(store: Reads, task_id: str) -> list[TaskMove]:
    """Return every change of a task's state, in order."""

    def read(connection: Connection) -> list[TaskMove]:
        rows = connection.execute(
            "SELECT from_state, to_state, moved_at, reason, cause, asked_by FROM history "
            "WHERE subject = 'task' AND subject_id = ? ORDER BY seq",
            [task_id],
        ).fetchall()
        keys = ("from_state", "to_state", "at_s", "reason", "cause", "asked_by")
        return [TaskMove(**dict(zip(keys, convert(row, {2: to_seconds}), strict=True))) for row in rows]

    return await store.read(read)
