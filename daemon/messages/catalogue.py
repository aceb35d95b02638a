"""The list of everything Elcano says and understands; docs/events.md is written from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from daemon.errors import MessageInvalid
from daemon.messages import commands
from daemon.messages import event_data as kinds
from daemon.messages.envelope import Envelope


@dataclass(frozen=True)
class EventKind:
    """One type of event: where it is published, what it carries, and whether it is kept."""

    name: str
    subject: str
    data: type[kinds.EventData]
    durable: bool


_STEP = "<prefix>.job.<job>.step.<step>"
_SESSION = "<prefix>.session.<session>."

EVENT_KINDS: tuple[EventKind, ...] = (
    EventKind("magellon.step.started", _STEP, kinds.StepStarted, durable=True),
    EventKind("magellon.step.progress", _STEP, kinds.StepProgress, durable=False),
    EventKind("magellon.step.completed", _STEP, kinds.StepCompleted, durable=True),
    EventKind("magellon.step.failed", _STEP, kinds.StepFailed, durable=True),
    EventKind("magellon.step.cancelled", _STEP, kinds.StepCancelled, durable=True),
    EventKind("magellon.step.skipped", _STEP, kinds.StepSkipped, durable=True),
    EventKind("magellon.job.started", "<prefix>.job.<job>.started", kinds.JobStarted, durable=True),
    EventKind("magellon.job.progress", "<prefix>.job.<job>.progress", kinds.JobProgress, durable=False),
    EventKind("magellon.job.completed", "<prefix>.job.<job>.completed", kinds.JobCompleted, durable=True),
    EventKind("magellon.job.cancelled", "<prefix>.job.<job>.cancelled", kinds.JobCancelled, durable=True),
    EventKind("magellon.session.imported", f"{_SESSION}imported", kinds.SessionImported, durable=True),
    EventKind("magellon.session.closed", f"{_SESSION}closed", kinds.SessionClosed, durable=True),
    EventKind("magellon.session.reopened", f"{_SESSION}reopened", kinds.SessionReopened, durable=True),
    EventKind("magellon.session.movie.seen", f"{_SESSION}movie.seen", kinds.MovieSeen, durable=True),
    EventKind("magellon.session.movie.complete", f"{_SESSION}movie.complete", kinds.MovieProven, durable=True),
    EventKind(
        "magellon.session.movie.quarantined", f"{_SESSION}movie.quarantined", kinds.MovieQuarantined, durable=True
    ),
    EventKind("magellon.session.image.marked", f"{_SESSION}image.marked", kinds.ImageMarked, durable=True),
    EventKind("magellon.session.advice", f"{_SESSION}advice", kinds.Advice, durable=True),
    EventKind("magellon.session.notification", f"{_SESSION}notification", kinds.Notification, durable=True),
    EventKind("magellon.log", "<prefix>.log.<job>.<task>", kinds.LogLine, durable=False),
    EventKind(
        "magellon.plugins.heartbeat",
        "<prefix>.plugins.heartbeat.<category>.<stage>",
        kinds.StageHeartbeat,
        durable=False,
    ),
    EventKind("magellon.node.heartbeat", "<prefix>.node.<host>.heartbeat", kinds.NodeHeartbeat, durable=False),
)

_BY_TYPE: Mapping[str, EventKind] = {kind.name: kind for kind in EVENT_KINDS}


def read_data(envelope: Envelope) -> kinds.EventData:
    """Return an event's data, typed; fields that newer daemons added are ignored. Raises MessageInvalid."""
    kind = _BY_TYPE.get(envelope.type)
    if kind is None:
        raise MessageInvalid("event", f"its type {envelope.type!r} is not one of Elcano's")
    try:
        return msgspec.convert(envelope.data, kind.data)
    except msgspec.ValidationError as error:
        raise MessageInvalid("event", f"{envelope.type}: {error}") from error


def schema() -> dict[str, Any]:
    """Return one JSON Schema (2020-12) with a definition for every message, and which event type carries which."""
    types: list[type[msgspec.Struct]] = [Envelope, kinds.JobSummary, commands.Command, commands.Reply]
    types += [kind.data for kind in EVENT_KINDS]
    types += list({*commands.COMMANDS.values(), *commands.QUERIES.values()})
    types.sort(key=lambda kind: kind.__name__)
    references, components = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    by_name = {kind.__name__: reference for kind, reference in zip(types, references, strict=True)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": dict(sorted(components.items())),
        "events": {kind.name: by_name[kind.data.__name__] for kind in EVENT_KINDS},
        "commands": {name: by_name[kind.__name__] for name, kind in commands.COMMANDS.items()},
        "queries": {name: by_name[kind.__name__] for name, kind in commands.QUERIES.items()},
    }
