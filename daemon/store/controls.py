"""What people have set for the running daemon: pauses, parameters, gates; it outlives a restart."""

from daemon.domain.identity import stable_id
from daemon.store.changes import SetControl
from daemon.store.connection import Connection
from daemon.store.plan import Plan, Row
from daemon.store.rows import ControlRow, convert, decode_json, encode_json, to_seconds, to_timestamp


def set_control(change: SetControl, plan: Plan) -> None:
    """Set something, replacing what was set, or take it away; the history keeps every value with who and why."""
    at_s = plan.at(change.at_s)
    control_id = stable_id("control", change.kind, change.session_id or "", change.stage or "")
    if change.value is None:
        plan.execute("control", "DELETE FROM control WHERE control_id = ?", control_id)
    else:
        row: Row = {
            "control_id": control_id,
            "kind": change.kind,
            "session_id": change.session_id,
            "stage": change.stage,
            "value": encode_json(change.value),
            "asked_by": change.asked_by,
            "why": change.why,
            "set_at": to_timestamp(at_s),
        }
        plan.upsert("control", row, control_id)
    plan.record_move(
        "control",
        control_id,
        change.session_id or "",
        (None, "unset" if change.value is None else encode_json(change.value)),
        at_s,
        reason=change.why,
        cause=" ".join(word for word in (change.kind, change.stage) if word),
        asked_by=change.asked_by,
    )


def read_controls(connection: Connection) -> list[ControlRow]:
    """Everything that is set, oldest first."""
    rows = connection.execute(
        "SELECT kind, session_id, stage, value, asked_by, why, set_at FROM control ORDER BY set_at, control_id"
    ).fetchall()
    return [ControlRow(*convert(row, {3: decode_json, 6: to_seconds})) for row in rows]
