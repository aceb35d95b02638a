"""Writes docs/events.md: `python -m daemon.messages.event_page > docs/events.md` renews it."""

import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from daemon.messages import commands
from daemon.messages import event_data as kinds
from daemon.messages.catalogue import EVENT_KINDS
from daemon.messages.error_info import ErrorInfo

_INTRODUCTION = """\
# Events, commands and queries

This page is generated from `daemon/messages`; `python -m daemon.messages.event_page > docs/events.md` renews it.

Every event is one [CloudEvents 1.0](https://cloudevents.io) JSON object: `specversion`, `id`, `source`
(`elcano/<instance>`), `type`, `subject`, `time` (RFC 3339, UTC), `datacontenttype` and `data`. `<prefix>` is
`[bus] prefix` (default `magellon`), `<instance>` is `[bus] instance` (default `main`). Types keep their name under
any prefix.

Names from outside become one subject token: letters, digits, `_` and `-` stand for themselves, any other byte of the
UTF-8 form is `=XX` in hexadecimal (the session `24dec03a.v2` is `24dec03a=2Ev2`).

**Durable** events tell a state that is already stored. They are published in order, at least once, and kept in
JetStream; the header `Nats-Msg-Id` equals `id`, and a consumer drops repeats by it. Step events lie in the stream
`<PREFIX>_STEP_EVENTS`, job and session events in `<PREFIX>_SESSION_EVENTS`. **Best effort** events (progress, log
lines, heartbeats) may be lost: show them, never build state from them. A step's progress passes through the step
stream too, as it shares the subject, and leaves it after a minute.
"""


def render_page() -> str:
    """Return docs/events.md as it should be."""
    lines = [_INTRODUCTION, "## Events", ""]
    lines += ["| type | subject | kept | meaning |", "|---|---|---|---|"]
    for kind in EVENT_KINDS:
        kept = "durable" if kind.durable else "best effort"
        lines.append(f"| `{kind.name}` | `{kind.subject}` | {kept} | {_meaning(kind.data)} |")
    lines += ["", "## Event data", ""]
    for kind in EVENT_KINDS:
        lines += _section(kind.data, title=kind.name)
    lines += [*_section(ErrorInfo), *_section(kinds.DeviceLoad)]
    lines += ["## Job summaries", "", *_section(kinds.JobSummary)]
    lines += [
        "## Commands and queries",
        "",
        "Request/reply on core NATS: publish a `Command` to `elcano.<instance>.cmd.<name>` or",
        "`elcano.<instance>.query.<name>`, for instance `nats request elcano.main.query.status ''`. The answer is",
        "a `Reply`.",
        "An answer too large for one message comes as several; `page` counts them, and their lists are to be joined.",
        "",
    ]
    lines += [*_section(commands.Command), *_section(commands.Reply), *_section(commands.Page)]
    for title, named in (("cmd", commands.COMMANDS), ("query", commands.QUERIES)):
        for name, arguments in named.items():
            lines += _section(arguments, title=f"{title}.{name}")
    return "\n".join(lines)


def _section(kind: type[msgspec.Struct], *, title: str = "") -> list[str]:
    table = [*_field_table(kind), ""] if kind.__struct_fields__ else []
    return [f"### {title or kind.__name__}", "", _meaning(kind), "", *table]


def _meaning(kind: type[msgspec.Struct]) -> str:
    return " ".join((kind.__doc__ or "").split())


def _field_table(kind: type[msgspec.Struct]) -> list[str]:
    rows = ["| field | type | default |", "|---|---|---|"]
    (_,), components = msgspec.json.schema_components([kind], ref_template="{name}")
    properties = components[kind.__name__]["properties"]
    for field in msgspec.structs.fields(kind):
        default = "required" if field.required else f"`{_default(field)}`"
        rows.append(f"| `{field.name}` | {_type_words(properties[field.encode_name])} | {default} |")
    return rows


def _default(field: msgspec.structs.FieldInfo) -> str:
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    return msgspec.json.encode(value).decode()


def _type_words(node: Mapping[str, Any]) -> str:
    kind = str(node.get("type", "any"))
    if "$ref" in node:
        kind = str(node["$ref"])
    elif "anyOf" in node:
        kind = " or ".join(_type_words(option) for option in node["anyOf"])
    elif "enum" in node:
        kind = ", ".join(f'"{value}"' for value in node["enum"])
    elif kind == "array":
        kind = f"list of {_type_words(node.get('items', {}))}"
    elif kind == "object" and node.get("additionalProperties"):
        kind = f"object of {_type_words(node['additionalProperties'])}"
    elif node.get("format") == "date-time":
        kind = "time"
    return kind


if __name__ == "__main__":
    sys.stdout.write(render_page())
