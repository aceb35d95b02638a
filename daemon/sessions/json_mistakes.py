"""What is wrong with a file that is not JSON, in the words of whoever typed it."""

import json
import re
from collections.abc import Mapping

from daemon.errors import Problem

_COMMA_IN_NUMBER = re.compile(r"(\d+)\s*,\s*\Z")
_DIGITS = re.compile(r"\d+")
_WORDS: Mapping[str, tuple[str, str]] = {
    "Expecting property name enclosed in double quotes": ("a key is wanted here", "keys stand in double quotes"),
    "Expecting value": (
        "a value is wanted here",
        "a value is a number, a text in double quotes, true, false or null",
    ),
    "Expecting ',' delimiter": ("a comma is missing before this", "a comma stands between one entry and the next"),
    "Expecting ':' delimiter": ("a colon is missing here", 'an entry is "KEY": VALUE'),
    "Extra data": ("the file should have ended before this", "look for a bracket that closes too early"),
    "Unterminated string starting at": ("a text begins here and does not end", "a double quote is missing"),
    "Invalid control character at": ("a text holds a line break or a tab", "a double quote is missing before it"),
}
"""What json says of the common mistakes: what is wrong, and what to do."""


def explain_json(error: json.JSONDecodeError) -> Problem:
    """Say where the mistake is, which for a comma is before the place at which json stopped."""
    text, position = error.doc, error.pos
    before, at = text[:position].rstrip(), text[position : position + 1]
    if at in ("}", "]") and before.endswith(","):
        return _problem(text, len(before) - 1, f"the comma before the closing {at} is one too many", "take it out")
    whole, part = _COMMA_IN_NUMBER.search(before), _DIGITS.match(text, position)
    if whole is not None and part is not None and "property name" in error.msg:
        what = "a number has a point, not a comma"
        return _problem(text, whole.start(1), what, f"write {whole[1]}.{part[0]}")
    if not text[position:].strip() and not error.msg.startswith("Unterminated"):
        return _problem(
            text, position, "the file ends too early", "a closing bracket is missing, or it was not written whole"
        )
    what, hint = _WORDS.get(error.msg, (error.msg, ""))
    return _problem(text, position, what, hint)


def _problem(text: str, position: int, what: str, hint: str) -> Problem:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return Problem(f"line {line}, column {column}", f"is not JSON: {what}", hint)
