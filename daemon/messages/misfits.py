"""What is wrong with what somebody asks, in plain words."""

import re
from collections.abc import Mapping

_MISFIT = re.compile(r"Expected `([^`]+)`, got `([^`]+)`(?: - at `\$\.?([^`]*)`)?")
_TOO_LONG = re.compile(r"Expected `str` of length <= (\d+) - at `\$\.([^`\[]+)`")
_KINDS: Mapping[str, str] = {
    "float": "a number",
    "int": "a whole number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}


def describe_misfit(error: str) -> str:
    """Return what is wrong with an argument that is of another kind or longer than it must be; else what was said."""
    too_long = _TOO_LONG.fullmatch(error)
    if too_long is not None:
        most, name = too_long.groups()
        return f"{name} may have {most} characters at most"
    found = _MISFIT.fullmatch(error)
    if found is None:
        return error
    wanted, got, place = found.groups()
    name, each, _ = (place or "what is asked").partition("[")
    kinds = " or ".join(_KINDS.get(kind, kind) for kind in wanted.split(" | "))
    return f"{'each value of ' if each else ''}{name} must be {kinds}, not {_KINDS.get(got, got)}"
