"""Names that become file and folder names: of sessions and of images."""

import unicodedata
from pathlib import PurePath

LONGEST_NAME = 100
"""Characters; Magellon's limit."""
_MOST_BYTES = 200  # file systems allow 255, of which suffixes and temporary prefixes need a share
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


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
