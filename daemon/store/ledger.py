"""Movies: their way through the ledger, and reading it."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from daemon.domain.movie import LedgerEntry
from daemon.domain.states import MOVIE_MOVES, MovieState
from daemon.errors import IllegalMove
from daemon.store.changes import MoveMovie, SeeMovie, UpdateMovieFile
from daemon.store.connection import Connection
from daemon.store.plan import Plan, Row
from daemon.store.reading import Reads
from daemon.store.rows import (
    MOVIE_COLUMNS,
    KnownFile,
    Transition,
    convert,
    decode_path,
    encode_path,
    read_movie,
    to_optional_seconds,
    to_seconds,
    to_timestamp,
)


def see_movie(change: SeeMovie, plan: Plan) -> None:
    """Enter a new revision of a file."""
    entry = change.entry
    plan.add_movie(entry)
    plan.insert(
        "movie",
        {
            "movie_id": entry.movie_id,
            "session_id": entry.session_id,
            "image_id": entry.image_id,
            "path": encode_path(entry.identity.path),
            "size_bytes": entry.identity.size_bytes,
            "mtime_ns": entry.identity.mtime_ns,
            "revision": entry.revision,
            "state": entry.state,
            "reason": entry.reason,
            "seen_at": to_timestamp(entry.seen_at_s),
            "last_write_at": to_timestamp(entry.last_write_s),
            "complete_at": to_timestamp(entry.seen_at_s) if entry.state is MovieState.COMPLETE else None,
            "ended_at": to_timestamp(entry.seen_at_s) if entry.state.is_terminal else None,
        },
        entry.movie_id,
    )
    plan.record_move(
        "movie",
        entry.movie_id,
        entry.session_id,
        (None, entry.state),
        entry.seen_at_s,
        reason=entry.reason,
        cause=change.cause,
    )


def update_movie_file(change: UpdateMovieFile, plan: Plan) -> None:
    """Note the new size and times of a file that is still being written."""
    entry = plan.movie(change.movie_id)
    if entry.state not in {MovieState.SEEN, MovieState.SETTLING}:
        raise IllegalMove(
            f"movie {entry.movie_id} ({entry.identity.path})", f"is {entry.state}: a changed file is a new revision"
        )
    plan.change_movie(entry, replace(entry, identity=change.identity, last_write_s=change.last_write_s))
    row: Row = {
        "movie_id": entry.movie_id,
        "path": encode_path(change.identity.path),
        "size_bytes": change.identity.size_bytes,
        "mtime_ns": change.identity.mtime_ns,
        "last_write_at": to_timestamp(change.last_write_s),
    }
    plan.update("movie", row, entry.movie_id)


def move_movie(change: MoveMovie, plan: Plan) -> None:
    """Bring a movie into another state, if an arrow leads there or a person reopens it."""
    entry = plan.movie(change.movie_id)
    reopened = change.asked_by is not None and entry.state.is_terminal and not change.state.is_terminal
    if change.state not in MOVIE_MOVES[entry.state] and not reopened:
        raise IllegalMove(
            f"movie {entry.movie_id} ({entry.identity.path})", f"cannot go from {entry.state} to {change.state}"
        )
    at_s = plan.at(change.at_s)
    row: Row = {
        "movie_id": entry.movie_id,
        "state": change.state,
        "reason": change.reason,
        "ended_at": to_timestamp(at_s) if change.state.is_terminal else None,
    }
    moved = replace(entry, state=change.state, reason=change.reason)
    if change.state is MovieState.COMPLETE:
        row["complete_at"] = to_timestamp(at_s)
    if change.image_id is not None:
        row["image_id"] = change.image_id
        moved = replace(moved, image_id=change.image_id)
    if change.last_write_s is not None:
        row["last_write_at"] = to_timestamp(change.last_write_s)
        moved = replace(moved, last_write_s=change.last_write_s)
    plan.change_movie(entry, moved)
    plan.update("movie", row, entry.movie_id)
    plan.record_move(
        "movie",
        entry.movie_id,
        entry.session_id,
        (entry.state, change.state),
        at_s,
        reason=change.reason,
        cause=change.cause,
        asked_by=change.asked_by,
    )


async def movies(store: Reads, session_id: str, states: Collection[MovieState] = ()) -> list[LedgerEntry]:
    """Ledger entries of a session in the order they were seen; `states` empty means all."""
    wanted = [state.value for state in states or MovieState]

    def read(connection: Connection) -> list[LedgerEntry]:
        rows = connection.execute(
            f"SELECT {MOVIE_COLUMNS} FROM movie WHERE session_id = ? AND list_contains(?, state) "
            "ORDER BY seen_at, movie_id",
            [session_id, wanted],
        ).fetchall()
        return [read_movie(row) for row in rows]

    return await store.read(read)


async def ignored_for(store: Reads, session_id: str, reasons: Collection[str]) -> list[tuple[Path, str]]:
    """Files of a session that are ignored for one of these reasons, and for which, in the order they were seen."""

    def read(connection: Connection) -> list[tuple[Path, str]]:
        rows = connection.execute(
            "SELECT path, reason FROM movie WHERE session_id = ? AND state = ? AND list_contains(?, reason) "
            "ORDER BY seen_at, path",
            [session_id, MovieState.IGNORED.value, list(reasons)],
        ).fetchall()
        return [(decode_path(path), reason) for path, reason in rows]

    return await store.read(read)


async def movie(store: Reads, movie_id: str) -> LedgerEntry | None:
    """One ledger entry, or None when the ledger does not know it."""

    def read(connection: Connection) -> LedgerEntry | None:
        row = connection.execute(f"SELECT {MOVIE_COLUMNS} FROM movie WHERE movie_id = ?", [movie_id]).fetchone()
        return None if row is None else read_movie(row)

    return await store.read(read)


async def movies_by_id(store: Reads, movie_ids: Collection[str]) -> list[LedgerEntry]:
    """Ledger entries of these movies in the order they were seen; of what the ledger does not know, none."""

    def read(connection: Connection) -> list[LedgerEntry]:
        rows = connection.execute(
            f"SELECT {MOVIE_COLUMNS} FROM movie WHERE movie_id IN (SELECT unnest(?::VARCHAR[])) "
            "ORDER BY seen_at, movie_id",
            [list(movie_ids)],
        ).fetchall()
        return [read_movie(row) for row in rows]

    return await store.read(read)


async def last_seen_s(store: Reads, session_id: str) -> float | None:
    """When the newest file of a session was seen, or None before the first."""

    def read(connection: Connection) -> float | None:
        row = connection.execute("SELECT max(seen_at) FROM movie WHERE session_id = ?", [session_id]).fetchone()
        return None if row is None else to_optional_seconds(row[0])

    return await store.read(read)


async def known_files(store: Reads, session_id: str) -> dict[Path, KnownFile]:
    """Newest revision of every file of a session, superseded ones left out."""

    def read(connection: Connection) -> dict[Path, KnownFile]:
        rows = connection.execute(
            "SELECT path, size_bytes, mtime_ns, movie_id, state FROM movie WHERE session_id = ? AND state <> ? "
            "ORDER BY revision, seen_at",
            [session_id, MovieState.SUPERSEDED.value],
        ).fetchall()
        # Once for each file and state, not for each row: this is read before a session is watched again.
        states = {state.value: state for state in MovieState}
        newest = {path: (size, mtime, key, states[state]) for path, size, mtime, key, state in rows}
        return {decode_path(path): KnownFile(*found) for path, found in newest.items()}

    return await store.read(read)


async def history(store: Reads, movie_id: str) -> list[Transition]:
    """Every transition of a movie and of its tasks, in order."""

    def read(connection: Connection) -> list[Transition]:
        rows = connection.execute(
            "SELECT seq, subject, subject_id, session_id, from_state, to_state, moved_at, reason, cause, asked_by "
            "FROM history WHERE (subject = 'movie' AND subject_id = $movie) "
            "OR (subject = 'task' AND subject_id IN (SELECT task_id FROM task WHERE movie_id = $movie)) ORDER BY seq",
            {"movie": movie_id},
        ).fetchall()
        return [Transition(*convert(row, {6: to_seconds})) for row in rows]

    return await store.read(read)
