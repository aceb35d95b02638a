"""Sessions, their images, jobs, decisions and notifications."""

from collections.abc import Collection, Sequence
from typing import Any

from daemon.domain.identity import stable_id
from daemon.domain.session import ImageRecord, Session
from daemon.domain.states import MovieState, SessionState
from daemon.errors import IllegalMove
from daemon.store.changes import (
    CloseSession,
    DropImages,
    MarkJob,
    PutDecision,
    PutImages,
    PutJob,
    PutNotification,
    PutSession,
    ReopenJob,
    ReopenSession,
)
from daemon.store.connection import Connection
from daemon.store.plan import Plan, Row
from daemon.store.reading import Reads
from daemon.store.rows import (
    JobRow,
    SessionRow,
    convert,
    decode_acquisition,
    decode_json,
    decode_path,
    encode_acquisition,
    encode_json,
    encode_path,
    to_optional_seconds,
    to_seconds,
    to_timestamp,
)

_FORMER = "former_directories"
"""Key among the facts of a session."""


def put_session(change: PutSession, plan: Plan) -> None:
    """Enter a session, or renew what is known about it."""
    session = change.session
    row: Row = {
        "session_id": session.session_id,
        "name": session.name,
        "raw_directory": encode_path(session.raw_directory),
        "home": encode_path(session.home),
        "acquisition": encode_acquisition(session.acquisition),
        "facts": encode_json({**change.facts, **_former_directories(session)}),
    }
    if plan.find_session(session.session_id) is not None:
        plan.update("session", row, session.session_id)
        return
    at_s = plan.at(change.at_s)
    plan.sessions[session.session_id] = session.state
    closed_at = to_timestamp(at_s) if session.state is SessionState.CLOSED else None
    row |= {"state": session.state, "created_at": to_timestamp(at_s), "closed_at": closed_at}
    plan.insert("session", row, session.session_id)
    plan.record_move("session", session.session_id, session.session_id, (None, session.state), at_s, cause="imported")


def _former_directories(session: Session) -> dict[str, list[str]]:
    return {_FORMER: [encode_path(place) for place in session.former_directories]} if session.former_directories else {}


def close_session(change: CloseSession, plan: Plan) -> None:
    """Expect no more movies."""
    _move_session(change, SessionState.CLOSED, plan)


def reopen_session(change: ReopenSession, plan: Plan) -> None:
    """Expect movies again."""
    _move_session(change, SessionState.OPEN, plan)


def _move_session(change: CloseSession | ReopenSession, state: SessionState, plan: Plan) -> None:
    before = plan.session(change.session_id)
    if before is state:
        return
    at_s = plan.at(change.at_s)
    plan.sessions[change.session_id] = state
    closed_at = to_timestamp(at_s) if state is SessionState.CLOSED else None
    row: Row = {"session_id": change.session_id, "state": state, "closed_at": closed_at}
    plan.update("session", row, change.session_id)
    plan.record_move(
        "session",
        change.session_id,
        change.session_id,
        (before, state),
        at_s,
        cause=change.cause,
        asked_by=change.asked_by,
    )


def put_images(change: PutImages, plan: Plan) -> None:
    """Enter or renew image records."""
    for image in change.images:
        plan.upsert(
            "image",
            {
                "image_id": image.image_id,
                "session_id": image.session_id,
                "name": image.name,
                "parent_id": image.parent_id,
                "level": image.level,
                "frame_name": image.frame_name,
                "acquisition": encode_acquisition(image.acquisition),
                "manifest": encode_json(image.manifest),
            },
            image.image_id,
        )


def drop_images(change: DropImages, plan: Plan) -> None:
    """Forget images of sessions that never came to be; such images have no movie."""
    session_ids = [session_id for session_id in change.session_ids if plan.find_session(session_id) is None]
    plan.execute(
        "image",
        "DELETE FROM image WHERE session_id IN (SELECT unnest(?::VARCHAR[])) "
        "AND image_id NOT IN (SELECT unnest(?::VARCHAR[]))",
        session_ids,
        list(change.kept),
    )


def put_job(change: PutJob, plan: Plan) -> None:
    """Enter a job, or renew its parameters."""
    row: Row = {
        "job_id": change.job_id,
        "session_id": change.session_id,
        "kind": change.kind,
        "parameters": encode_json(change.parameters),
    }
    if plan.knows_job(change.job_id):
        plan.update("job", row, change.job_id)
        return
    plan.jobs.add(change.job_id)
    plan.insert("job", row | {"created_at": to_timestamp(plan.at(change.at_s))}, change.job_id)


def mark_job(change: MarkJob, plan: Plan) -> None:
    """Note who cancelled a job or declared it completed."""
    if (change.cancelled_by is None) == (change.completed_by is None):
        raise IllegalMove(f"job {change.job_id}", "is marked either cancelled or completed, by someone")
    if not plan.knows_job(change.job_id):
        raise IllegalMove(f"job {change.job_id}", "is not in the store")
    mark = "cancelled" if change.cancelled_by is not None else "completed"
    row: Row = {
        "job_id": change.job_id,
        f"{mark}_by": change.cancelled_by or change.completed_by,
        f"{mark}_at": to_timestamp(plan.at(change.at_s)),
    }
    plan.update("job", row, change.job_id)
    asked_by = change.cancelled_by or change.completed_by
    _record_mark(plan, change.job_id, mark, asked_by, plan.at(change.at_s), change.reason)


def reopen_job(change: ReopenJob, plan: Plan) -> None:
    """Take the marks of a job away."""
    if not plan.knows_job(change.job_id):
        raise IllegalMove(f"job {change.job_id}", "is not in the store")
    marks = ("cancelled_by", "cancelled_at", "completed_by", "completed_at")
    row: Row = {"job_id": change.job_id} | dict.fromkeys(marks)
    plan.update("job", row, change.job_id)
    _record_mark(plan, change.job_id, "reopened", change.asked_by, plan.at(change.at_s))


def _record_mark(plan: Plan, job_id: str, mark: str, asked_by: str | None, at_s: float, reason: str = "") -> None:
    plan.record_move("job", job_id, "", (None, mark), at_s, reason=reason, cause=f"marked {mark}", asked_by=asked_by)


def put_notification(change: PutNotification, plan: Plan) -> None:
    """Enter something a person should know."""
    row: Row = {
        "notification_id": change.notification_id,
        "session_id": change.session_id,
        "severity": change.severity,
        "kind": change.kind,
        "message": change.message,
        "hint": change.hint,
        "raised_at": to_timestamp(plan.at(change.at_s)),
    }
    plan.upsert("notification", row, change.notification_id)


def put_decision(change: PutDecision, plan: Plan) -> None:
    """Enter a session-level decision."""
    decision_id = stable_id("decision", change.session_id, change.key)
    row: Row = {
        "decision_id": decision_id,
        "session_id": change.session_id,
        "key": change.key,
        "value": encode_json(change.value),
        "decided_at": to_timestamp(plan.at(change.at_s)),
    }
    plan.upsert("decision", row, decision_id)


_SESSION_COLUMNS = "session_id, name, raw_directory, home, acquisition, state, facts, created_at, closed_at"


async def sessions(store: Reads, state: SessionState | None = None) -> list[SessionRow]:
    """Sessions, oldest first."""

    def read(connection: Connection) -> list[SessionRow]:
        rows = connection.execute(
            f"SELECT {_SESSION_COLUMNS} FROM session WHERE $state IS NULL OR state = $state "
            "ORDER BY created_at, session_id",
            {"state": None if state is None else state.value},
        ).fetchall()
        return [_read_session(row) for row in rows]

    return await store.read(read)


async def session(store: Reads, session_id: str) -> SessionRow | None:
    """One session, or None when the store does not know it."""

    def read(connection: Connection) -> SessionRow | None:
        row = connection.execute(
            f"SELECT {_SESSION_COLUMNS} FROM session WHERE session_id = ?", [session_id]
        ).fetchone()
        return None if row is None else _read_session(row)

    return await store.read(read)


def _read_session(row: Sequence[Any]) -> SessionRow:
    facts = decode_json(row[6])
    return SessionRow(
        session=Session(
            session_id=row[0],
            name=row[1],
            raw_directory=decode_path(row[2]),
            home=decode_path(row[3]),
            acquisition=decode_acquisition(row[4]),
            state=SessionState(row[5]),
            former_directories=tuple(map(decode_path, facts.pop(_FORMER, ()))),
        ),
        facts=facts,
        created_at_s=to_seconds(row[7]),
        closed_at_s=to_optional_seconds(row[8]),
    )


_ROWS_AT_ONCE = 500
_IMAGE_COLUMNS = "image_id, session_id, name, parent_id, level, acquisition, frame_name, manifest"


def _read_image(row: Sequence[Any]) -> ImageRecord:
    return ImageRecord(*convert(row, {5: decode_acquisition, 7: decode_json}))


async def images(store: Reads, session_id: str) -> list[ImageRecord]:
    """Images of a session by level and name, so that parents come before their children."""

    def read(connection: Connection) -> list[ImageRecord]:
        found = connection.execute(
            f"SELECT {_IMAGE_COLUMNS} FROM image WHERE session_id = ? ORDER BY level NULLS LAST, name, image_id",
            [session_id],
        )
        images: list[ImageRecord] = []
        # In parts: while a part is fetched, no other thread runs.
        while rows := found.fetchmany(_ROWS_AT_ONCE):
            images += map(_read_image, rows)
        return images

    return await store.read(read)


async def image(store: Reads, image_id: str) -> ImageRecord | None:
    """One image, or None when the store does not know it."""

    def read(connection: Connection) -> ImageRecord | None:
        row = connection.execute(f"SELECT {_IMAGE_COLUMNS} FROM image WHERE image_id = ?", [image_id]).fetchone()
        return None if row is None else _read_image(row)

    return await store.read(read)


async def foreign_image(
    store: Reads, session_id: str, image_ids: Sequence[str], under_way: Collection[str]
) -> ImageRecord | None:
    """One of these images that belongs to another session, which exists or is being imported, or None."""

    def read(connection: Connection) -> ImageRecord | None:
        row = connection.execute(
            f"SELECT {_IMAGE_COLUMNS} FROM image "
            "WHERE session_id <> $session AND image_id IN (SELECT unnest($images::VARCHAR[])) AND "
            "(session_id IN (SELECT session_id FROM session) OR session_id IN (SELECT unnest($others::VARCHAR[]))) "
            "LIMIT 1",
            {"session": session_id, "images": list(image_ids), "others": list(under_way)},
        ).fetchone()
        return None if row is None else _read_image(row)

    return await store.read(read)


async def unfounded_sessions(store: Reads) -> list[str]:
    """Ids of sessions that have images but do not exist: an import goes on, or did not come to its end."""

    def read(connection: Connection) -> list[str]:
        rows = connection.execute(
            "SELECT DISTINCT session_id FROM image ANTI JOIN session USING (session_id) ORDER BY session_id"
        ).fetchall()
        return [session_id for (session_id,) in rows]

    return await store.read(read)


async def named_images(store: Reads, session_id: str | None, names: Collection[str]) -> dict[str, str]:
    """Names, by id, of the images so called that have a movie; of all sessions when none is given."""

    def read(connection: Connection) -> dict[str, str]:
        rows = connection.execute(
            "SELECT image_id, name FROM image WHERE name IN (SELECT unnest($names)) "
            "AND ($session IS NULL OR session_id = $session) "
            "AND image_id IN (SELECT image_id FROM movie WHERE state <> $superseded)",
            {"names": list(names), "session": session_id, "superseded": MovieState.SUPERSEDED.value},
        ).fetchall()
        return dict(rows)

    return await store.read(read)


async def jobs(store: Reads, session_id: str | None = None) -> list[JobRow]:
    """Jobs, oldest first."""

    def read(connection: Connection) -> list[JobRow]:
        rows = connection.execute(
            "SELECT job_id, session_id, kind, parameters, created_at, cancelled_by, cancelled_at, completed_by, "
            "completed_at FROM job WHERE $session IS NULL OR session_id = $session ORDER BY created_at, job_id",
            {"session": session_id},
        ).fetchall()
        return [
            JobRow(*convert(row, {3: decode_json, 4: to_seconds, 6: to_optional_seconds, 8: to_optional_seconds}))
            for row in rows
        ]

    return await store.read(read)


async def job_cancelled_by(store: Reads, job_id: str) -> str | None:
    """Who cancelled a job, None while nobody has."""

    def read(connection: Connection) -> str | None:
        row = connection.execute("SELECT cancelled_by FROM job WHERE job_id = ?", [job_id]).fetchone()
        return None if row is None else row[0]

    return await store.read(read)


async def decisions(store: Reads, session_id: str) -> dict[str, Any]:
    """Decisions of a session by key."""

    def read(connection: Connection) -> dict[str, Any]:
        rows = connection.execute("SELECT key, value FROM decision WHERE session_id = ? ORDER BY key", [session_id])
        return {key: decode_json(value) for key, value in rows.fetchall()}

    return await store.read(read)


async def notification(store: Reads, notification_id: str) -> PutNotification | None:
    """One notification as it was put last, or None."""

    def read(connection: Connection) -> PutNotification | None:
        row = connection.execute(
            "SELECT notification_id, severity, kind, message, hint, session_id, raised_at FROM notification "
            "WHERE notification_id = ?",
            [notification_id],
        ).fetchone()
        return None if row is None else PutNotification(*convert(row, {6: to_seconds}))

    return await store.read(read)


async def notifications(store: Reads, session_id: str | None = None, limit: int = 100) -> list[PutNotification]:
    """Newest notifications first."""

    def read(connection: Connection) -> list[PutNotification]:
        rows = connection.execute(
            "SELECT notification_id, severity, kind, message, hint, session_id, raised_at FROM notification "
            "WHERE $session IS NULL OR session_id = $session ORDER BY raised_at DESC, notification_id LIMIT $limit",
            {"session": session_id, "limit": limit},
        ).fetchall()
        return [PutNotification(*convert(row, {6: to_seconds})) for row in rows]

    return await store.read(read)
