"""The one way in for text from outside: file names, log lines, errors, anything that somebody else wrote.

What could steer a terminal is shown, never obeyed: control characters, escape sequences, characters that turn the
direction of writing. Markup needs no escaping here, as nothing that is shown is ever read as markup: texts are
drawn as segments, or as `Content` with `markup=False`.
"""

import unicodedata

LONGEST_LINE = 2000
"""Characters of one line that are kept; nobody reads on, and every one of them costs a cell to draw."""

_PICTURES = {code: chr(0x2400 + code) for code in range(0x20)} | {0x7F: "\u2421"}


def show_line(raw: object, longest: int = LONGEST_LINE) -> str:
    """Return text as one harmless line: control characters as pictures, what is too long cut and counted."""
    text = raw if isinstance(raw, str) else str(raw)
    left_out = len(text) - longest
    if left_out > 0:
        text = text[:longest]
    if not text.isprintable():
        text = "".join(character if character.isprintable() else _show_character(character) for character in text)
    return f"{text}… (+{left_out} characters)" if left_out > 0 else text


def show_end(raw: object, width: int) -> str:
    """Return text as one harmless line that keeps its end: names of one session differ there."""
    text = show_line(raw)
    return text if len(text) <= width else f"…{text[len(text) - width + 1 :]}"


def show_start(raw: object, width: int) -> str:
    """Return text as one harmless line that keeps its start, and says so where it is cut."""
    text = show_line(raw)
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


def show_lines(raw: object, longest: int = LONGEST_LINE, most: int = 500) -> list[str]:
    """Return text as harmless lines, at most so many; tabs become spaces."""
    text = raw if isinstance(raw, str) else str(raw)
    lines = text.replace("\r\n", "\n").split("\n")
    shown = [show_line(line.expandtabs(4), longest) for line in lines[:most]]
    if len(lines) > most:
        shown.append(f"… (+{len(lines) - most} lines)")
    return shown


def _show_character(character: str) -> str:
    code = ord(character)
    if code in _PICTURES:
        return _PICTURES[code]
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if unicodedata.category(character) == "Zs":
        return " "
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
