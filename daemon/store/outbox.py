"""The outbox: events committed together with what they tell, published afterwards in order."""

from collections.abc import Sequence
from typing import Protocol

from daemon.store.changes import Change, MarkPublished, PruneEvents, QueueEvent
from daemon.store.connection import Connection
from daemon.store.plan import Plan
from daemon.store.reading import Reads
from daemon.store.rows import OutboxRow, to_timestamp


class Outbox(Reads, Protocol):
    """What publishing needs of a store."""

    outbox_floor: int
    """Every event below this seq is published; kept so that a look for work costs the same with any past."""

    async def commit(self, *changes: Change) -> None:
        """Make changes true."""
        ...


def queue_event(change: QueueEvent, plan: Plan) -> None:
    """Queue an event behind all that were committed before it."""
    plan.insert(
        "event",
        {
            "event_id": change.event_id,
            "subject": change.subject,
            "stream": change.stream,
            "body": change.body,
            "occurred_at": to_timestamp(plan.at(change.occurred_at_s)),
        },
    )


def record_published(change: MarkPublished, plan: Plan) -> None:
    """Note that events reached the bus."""
    if change.seqs:
        plan.execute(
            "event",
            "UPDATE event SET published_at = ? WHERE seq BETWEEN ? AND ? AND list_contains(?, seq)",
            to_timestamp(plan.at(change.at_s)),
            min(change.seqs),
            max(change.seqs),
            list(change.seqs),
        )


def prune_events(change: PruneEvents, plan: Plan) -> None:
    """Forget what was published long ago, but for the newest row, which carries the count on."""
    plan.execute(
        "event",
        "DELETE FROM event WHERE published_at < ? AND seq < (SELECT max(seq) FROM event)",
        to_timestamp(change.published_before_s),
    )


async def unpublished(store: Outbox, limit: int = 256) -> list[OutboxRow]:
    """Oldest events that wait, in order of seq."""

    def read(connection: Connection) -> list[OutboxRow]:
        rows = connection.execute(
            "SELECT seq, event_id, subject, stream, body FROM event "
            "WHERE seq >= ? AND published_at IS NULL ORDER BY seq LIMIT ?",
            [store.outbox_floor, limit],
        ).fetchall()
        return [OutboxRow(*row) for row in rows]

    waiting = await store.read(read)
    if waiting:
        store.outbox_floor = max(store.outbox_floor, waiting[0].seq)
    return waiting


async def mark_published(store: Outbox, seqs: Sequence[int], at_s: float | None = None) -> None:
    """Note that these events reached the bus."""
    if seqs:
        await store.commit(MarkPublished(tuple(seqs), at_s))


async def prune(store: Outbox, published_before_s: float) -> None:
    """Forget events that were published before this time."""
    await store.commit(PruneEvents(published_before_s))
