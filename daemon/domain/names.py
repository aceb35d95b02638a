"""Names that become file and folder names: of sessions and of images."""

import unicodedata
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

LONGEST_NAME = 100
"""Characters; Magellon's limit."""
_MOST_BYTES = 200  # file systems allow 255, of which suffixes and temporary prefixes need a share
_SPELLED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_OF_FILE_SYSTEMS = frozenset({"lost+found", "system volume information", "$recycle.bin"})


def is_left_alone(folder_name: str) -> bool:
    """Whether nobody puts movies into a folder of this name: a hidden one, as of snapshots and of the trash, or one
    that a file system keeps for itself, which nobody else can even open."""
    return folder_name.startswith(".") or folder_name.lower() in _OF_FILE_SYSTEMS


def unwritable_name(name: str) -> str:
    """Say why a movie's own name cannot be told in STAR files and messages; empty when it can."""
    kinds = {unicodedata.category(character) for character in name}
    if "Cs" in kinds:
        return "is not UTF-8"
    return "holds a line break or another control character" if kinds & {"Cc", "Zl", "Zp"} else ""


def name_problem(name: str) -> str:
    """Say why a name cannot be a file name everywhere Elcano needs it; empty when it can."""
    size_bytes = len(name.encode(errors="surrogatepass"))
    objections = (
        (not name, "is empty"),
        (len(name) > LONGEST_NAME, f"is {len(name)} characters long, {LONGEST_NAME} are allowed"),
        ("/" in name or "\\" in name, "contains a path separator"),
        (any(unicodedata.category(char) in _INVISIBLE for char in name), "contains a control or invisible character"),
        (name != name.strip(), "begins or ends with a blank"),
        (name.startswith("."), "begins with a dot"),
        (size_bytes > _MOST_BYTES, f"takes {size_bytes} bytes, {_MOST_BYTES} are allowed"),
    )
    return next((objection for applies, objection in objections if applies), "")


def readable_path(path: PurePath) -> str:
    """Return a path as text that any message can carry; bytes that are not UTF-8 are shown as `?`."""
    return str(path).encode("utf-8", "replace").decode()


def spell_controls(text: str, *, keep: str = "") -> str:
    """Return text for a person's eyes: what would steer a terminal, or hide, is spelled out; `keep` is left alone.

    `\\x1b` for an escape, `\\n` for a line break in a name, `\\xff` for a byte of a file's name that is not UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(character if character in keep else _spell(character) for character in text)


def _spell(character: str) -> str:
    if unicodedata.category(character) not in _INVISIBLE:
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps such a byte
        return f"\\x{code - 0xDC00:02x}"
    return _SPELLED.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def spell_all(value: Any) -> Any:
    """Return a value as JSON has it, every text in it spelled by `spell_controls`."""
    match value:
        case str() | PurePath():
            return spell_controls(str(value))
        case bool() | int() | float() | None:
            return value
        case Mapping():
            return {spell_controls(str(key)): spell_all(part) for key, part in value.items()}
        case list() | tuple() | set() | frozenset():
            return [spell_all(part) for part in value]
    return spell_controls(repr(value))
