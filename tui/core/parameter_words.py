"""The parameters a step ran with, as people read them."""

from collections.abc import Collection, Mapping
from typing import Any

from tui.core.spans import show_number
from tui.core.text import show_line

_OF_PROGRAMS = frozenset({"command", "program_time_limit_s", "scratch_folder"})
"""What concerns only a step that a program of another does: beside Elcano's own work it reads as if that had run."""


def tell_parameters(values: Mapping[str, Any], own: Collection[str]) -> dict[str, str]:
    """Return names and values to be shown; `own` are the names of those that were set for this task alone."""
    is_program = values.get("backend", "program") == "program"
    return {
        key: _tell(value) + (" (its own)" if key in own else "")
        for key, value in values.items()
        if is_program or key not in _OF_PROGRAMS
    }


def _tell(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, list | tuple):
        return show_line(" ".join(map(str, value)) or "none", 200)
    if isinstance(value, Mapping):
        return show_line(", ".join(f"{key}: {_tell(item)}" for key, item in value.items()) or "none", 200)
    return show_line(show_number(value), 80)
