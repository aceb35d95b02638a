"""What people say of single images, over the gates."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from daemon.store.connection import Connection
from daemon.store.plan import Plan
from daemon.store.reading import Reads
from daemon.store.rows import to_seconds, to_timestamp

_SAID = {True: "accepted", False: "rejected", None: "unmarked"}
_CAUSE = "by hand"


@dataclass(frozen=True)
class MarkImage:
    """A person accepts an image, rejects it, or (`passes` None) leaves it to the gates again."""

    session_id: str
    image_id: str
    passes: bool | None
    asked_by: str
    why: str = ""
    at_s: float | None = None

    def as_kept(self) -> "MarkImage":
        """Return it as `heard_marks` does: the history keeps microseconds."""
        at = to_timestamp(self.at_s)
        return self if at is None else replace(self, at_s=to_seconds(at))


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
    plan.record_move(
        "image",
        change.image_id,
        change.session_id,
        (None, _SAID[change.passes]),
        at_s,
        reason=change.why,
        cause=_CAUSE,
        asked_by=change.asked_by,
    )


def read_marks(connection: Connection, where: str, value: str) -> dict[str, Mark]:
    """Return the marks for which an SQL condition holds, by image."""
    rows = connection.execute(
        f"SELECT image_id, passes, asked_by, why, marked_at FROM mark WHERE {where}", [value]
    ).fetchall()
    return {row[0]: Mark(row[1], row[2], row[3], to_seconds(row[4])) for row in rows}


async def heard_marks(store: Reads, session_id: str) -> frozenset[MarkImage]:
    """Return every word that the history has of images of a session, those that were taken back among them."""

    def read(connection: Connection) -> frozenset[MarkImage]:
        rows = connection.execute(
            "SELECT subject_id, to_state, coalesce(asked_by, ''), reason, moved_at FROM history "
            "WHERE subject = 'image' AND cause = ? AND session_id = ?",
            [_CAUSE, session_id],
        ).fetchall()
        passes = {said: passes for passes, said in _SAID.items()}
        return frozenset(
            MarkImage(session_id, image_id, passes[said], asked_by, why, to_seconds(at))
            for image_id, said, asked_by, why, at in rows
        )

    return await store.read(read)


async def foreign_images(store: Reads, session_id: str, image_ids: Collection[str]) -> frozenset[str]:
    """Return which of these images are known as another session's."""

    def read(connection: Connection) -> frozenset[str]:
        rows = connection.execute(
            "SELECT image_id FROM image WHERE session_id <> ? AND image_id IN (SELECT unnest(?::VARCHAR[]))",
            [session_id, list(image_ids)],
        ).fetchall()
        return frozenset(image_id for (image_id,) in rows)

    return await store.read(read)
