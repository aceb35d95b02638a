"""What people say of single images, over the gates."""

from dataclasses import dataclass

from daemon.store.connection import Connection
from daemon.store.plan import Plan
from daemon.store.rows import to_seconds, to_timestamp


@dataclass(frozen=True)
class MarkImage:
    """A person accepts an image, rejects it, or (`passes` None) leaves it to the gates again."""

    session_id: str
    image_id: str
    passes: bool | None
    asked_by: str
    why: str = ""
    at_s: float | None = None


@dataclass(frozen=True)
class Mark:
    """What a person has said of an image; it holds until somebody says otherwise."""

    passes: bool
    asked_by: str
    why: str
    at_s: float = 0.0


def mark_image(change: MarkImage, plan: Plan) -> None:
    """Enter what a person says, or take it away; the history keeps every word with who and why."""
    at_s = plan.at(change.at_s)
    if change.passes is None:
        plan.execute("mark", "DELETE FROM mark WHERE image_id = ?", change.image_id)
    else:
        row = {
            "image_id": change.image_id,
            "session_id": change.session_id,
            "passes": change.passes,
            "asked_by": change.asked_by,
            "why": change.why,
            "marked_at": to_timestamp(at_s),
        }
        plan.upsert("mark", row, change.image_id)
    said = {True: "accepted", False: "rejected", None: "unmarked"}[change.passes]
    plan.record_move(
        "image",
        change.image_id,
        change.session_id,
        (None, said),
        at_s,
        reason=change.why,
        cause="by hand",
        asked_by=change.asked_by,
    )


def read_marks(connection: Connection, where: str, value: str) -> dict[str, Mark]:
    """Return the marks for which an SQL condition holds, by image."""
    rows = connection.execute(
        f"SELECT image_id, passes, asked_by, why, marked_at FROM mark WHERE {where}", [value]
    ).fetchall()
    return {row[0]: Mark(row[1], row[2], row[3], to_seconds(row[4])) for row in rows}
