import re
from pathlib import Path
from typing import Any

import daemon.messages
from daemon.messages.catalogue import EVENT_KINDS
from daemon.messages.commands import COMMANDS, QUERIES
from daemon.messages.event_page import render_page

PAGE = Path(__file__).parents[2] / "docs" / "events.md"


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text() == render_page(), "renew it: python -m daemon.messages.event_page > docs/events.md"


def test_the_page_describes_every_event_command_and_query() -> None:
    text = render_page()
    for kind in EVENT_KINDS:
        assert f"### {kind.name}\n" in text
    for name in COMMANDS:
        assert f"### cmd.{name}\n" in text
    for name in QUERIES:
        assert f"### query.{name}\n" in text
    assert re.search(r"\| `percent` \| number \| required \|", text)


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        return {node["$ref"]} if "$ref" in node else set().union(*(references(value) for value in node.values()))
    return set().union(*(references(value) for value in node)) if isinstance(node, list) else set()


def test_the_schema_is_closed_and_has_an_entry_for_everything() -> None:
    schema = daemon.messages.schema()
    assert set(schema["events"]) == {kind.name for kind in EVENT_KINDS}
    assert set(schema["commands"]) == set(COMMANDS)
    assert set(schema["queries"]) == set(QUERIES)
    assert references(schema) <= {f"#/$defs/{name}" for name in schema["$defs"]}
    assert schema["$defs"]["StepProgress"]["properties"]["percent"] == {"type": "number", "minimum": 0, "maximum": 100}
    assert schema["$defs"]["Envelope"]["properties"]["specversion"] == {"enum": ["1.0"], "default": "1.0"}


def test_every_message_and_every_kind_says_what_it_is() -> None:
    definitions = daemon.messages.schema()["$defs"]
    assert [name for name, definition in definitions.items() if not definition.get("description")] == []
