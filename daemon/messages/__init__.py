"""Everything that crosses a process: events, commands, replies and the subjects they travel on."""

from typing import Any

__all__ = ["schema"]


def schema() -> dict[str, Any]:
    """Return the JSON Schema of everything that Elcano says and understands."""
    from daemon.messages import catalogue  # noqa: PLC0415 - who needs one kind of message need not load them all

    return catalogue.schema()
