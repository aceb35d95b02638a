"""On which line of a TOML file each key stands: tomllib gives the values, not their places.

Only text that tomllib has read is looked through, so that nothing here needs to refuse anything.
"""

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

KeyPath = tuple[str | int, ...]

_QUOTES = ('"""', "'''", '"', "'")


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line, from 1, of every section and key; what stands inside a value has the line of its key."""
    lines: dict[KeyPath, int] = {}
    tables: dict[KeyPath, int] = {}
    section: KeyPath = ()
    for line, written, is_header in _statements(text):
        if is_header:
            is_entry = written.startswith("[[")
            names = _names(written.strip("[]"))
            section = _inside(names, tables)
            if is_entry:
                tables[section] = tables.get(section, -1) + 1
                section = (*section, tables[section])
            place = section
        else:
            place = (*section, *_names(written))
        for end in range(1, len(place) + 1):
            lines.setdefault(place[:end], line)
    return lines


def line_of(place: KeyPath, lines: Mapping[KeyPath, int]) -> int | None:
    """Return the line of a key, or of what it stands in or is missing from; None where the file has neither."""
    return next((lines[place[:end]] for end in range(len(place), 0, -1) if place[:end] in lines), None)


def _inside(names: list[str], tables: Mapping[KeyPath, int]) -> KeyPath:
    """Where a header leads: below a list of tables it means the last one."""
    place: KeyPath = ()
    for position, name in enumerate(names):
        place = (*place, name)
        if place in tables and position + 1 < len(names):
            place = (*place, tables[place])
    return place


def _names(written: str) -> list[str]:
    """Take a dotted key apart, its quotes off."""
    names: list[str] = []
    table: Any = tomllib.loads(f"{written.strip()} = 0")
    while isinstance(table, dict):
        ((name, table),) = table.items()
        names.append(name)
    return names


def _statements(text: str) -> Iterator[tuple[int, str, bool]]:
    """Yield the line of each header or key, what is written, and which of the two it is."""
    position = 0
    while position < len(text):
        if text[position] == "#":
            position = _end_of_line(text, position)
        elif text[position].isspace():
            position += 1
        else:
            is_header = text[position] == "["
            end = _end_of_line(text, position) if is_header else _end_of_key(text, position)
            written = _header(text[position:end]) if is_header else text[position:end]
            yield text.count("\n", 0, position) + 1, written, is_header
            position = end if is_header else _end_of_value(text, end + 1)


def _header(line: str) -> str:
    """Cut a remark off a header; a # in quotes is part of a name."""
    position = 0
    while position < len(line) and line[position] != "#":
        position = _skip(line, position)
    return line[:position].strip()


def _end_of_line(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _end_of_key(text: str, position: int) -> int:
    while text[position] != "=":
        position = _skip(text, position)
    return position


def _end_of_value(text: str, position: int) -> int:
    """Return where a value ends: with its line, unless brackets are open."""
    depth = 0
    while position < len(text) and (depth or text[position] != "\n"):
        if text[position] == "#":
            position = _end_of_line(text, position)
            continue
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(text[position], 0)
        position = _skip(text, position)
    return position


def _skip(text: str, position: int) -> int:
    """Return the position after a character, or after a whole text in quotes."""
    quote = next((mark for mark in _QUOTES if text.startswith(mark, position)), None)
    if quote is None:
        return position + 1
    position += len(quote)
    while not text.startswith(quote, position):
        position += 2 if quote[0] == '"' and text[position] == "\\" else 1
    position += len(quote)
    while len(quote) == 3 and text.startswith(quote[0], position):  # a text may end in quotes of its own
        position += 1
    return position
