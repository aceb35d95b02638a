"""Sessions whose raw directory was moved: every path that is kept of them follows, in one transaction."""

import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from daemon.domain.movie import FileIdentity
from daemon.domain.states import MovieState
from daemon.store.changes import MoveFiles
from daemon.store.connection import Connection
from daemon.store.plan import Plan
from daemon.store.reading import Reads
from daemon.store.rows import decode_path, encode_path

_WHOLE = (MovieState.COMPLETE, MovieState.DONE, MovieState.FAILED, MovieState.QUARANTINED)
"""States of a movie whose file does not change any more."""


def move_files(change: MoveFiles, plan: Plan) -> None:
    """Write the new place into the paths of a session's movies, and into what its images and decisions name.

    A statement for each column, not a row at a time: ten thousands of movies follow in one transaction, and a death of
    the daemon finds all of them in one place.
    """
    session_id = change.now.session_id
    plan.moved.add(session_id)
    for before, now in _beginnings(change.before.raw_directory, change.now.raw_directory):
        plan.execute(
            "movie",
            "UPDATE movie SET path = $1 || substr(path, length($2) + 1) "
            "WHERE session_id = $3 AND starts_with(path, $2)",
            now,
            before,
            session_id,
        )
        # In JSON, where a text begins with the old place. No other text of these columns can be taken for one.
        quoted = [json.dumps(text, ensure_ascii=False)[:-1] for text in (before, now)]
        for table, column in (("image", "acquisition"), ("decision", "value")):
            plan.execute(
                table,
                f"UPDATE {table} SET {column} = replace({column}, $1, $2) "
                f"WHERE session_id = $3 AND contains({column}, $1)",
                *quoted,
                session_id,
            )


def _beginnings(before: Path, now: Path) -> Iterator[tuple[str, str]]:
    """Yield how paths under a directory begin, and how they will: as text, and as bytes where a name is not UTF-8."""
    yield f"{encode_path(before)}/", f"{encode_path(now)}/"
    no_text = os.fsdecode(b"\xff")
    old, new = (encode_path(place / no_text).removesuffix("ff") for place in (before, now))
    yield old, new


async def owners_of(store: Reads, files: Collection[FileIdentity]) -> dict[str, list[FileIdentity]]:
    """Return, by session, its whole movies that have the size and the time of one of these files."""

    def read(connection: Connection) -> dict[str, list[FileIdentity]]:
        rows = connection.execute(
            "SELECT session_id, path, size_bytes, mtime_ns FROM movie WHERE list_contains($states, state) "
            "AND mtime_ns IN (SELECT unnest($times::BIGINT[])) ORDER BY session_id, path, revision",
            {"states": [state.value for state in _WHOLE], "times": [file.mtime_ns for file in files]},
        ).fetchall()
        marks = {(file.size_bytes, file.mtime_ns) for file in files}
        owned: dict[str, list[FileIdentity]] = {}
        for session_id, path, size_bytes, mtime_ns in rows:
            if (size_bytes, mtime_ns) in marks:
                owned.setdefault(session_id, []).append(FileIdentity(decode_path(path), size_bytes, mtime_ns))
        return owned

    return await store.read(read)


async def whole_files(store: Reads, session_id: str) -> list[FileIdentity]:
    """Return the files of a session's whole movies, each as it was when it was last judged."""

    def read(connection: Connection) -> list[FileIdentity]:
        rows = connection.execute(
            "SELECT path, size_bytes, mtime_ns FROM movie WHERE session_id = $session "
            "AND list_contains($states, state) ORDER BY path, revision",
            {"session": session_id, "states": [state.value for state in _WHOLE]},
        ).fetchall()
        newest = {path: (size_bytes, mtime_ns) for path, size_bytes, mtime_ns in rows}
        return [FileIdentity(decode_path(path), *standing) for path, standing in newest.items()]

    return await store.read(read)
