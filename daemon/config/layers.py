"""The raw configuration: config.toml, overlaid with the environment, and where each value came from."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemon.config.lines import KeyPath, key_lines, line_of
from daemon.config.problems import Fault, key_path
from daemon.errors import Problem

ENVIRONMENT_PREFIX = "ELCANO__"
PASSED_CREDENTIALS = "nats.creds"
"""Name under which the service manager passes NATS credentials, in $CREDENTIALS_DIRECTORY."""
PATH_VARIABLES = {"MAGELLON_GPFS_PATH": ("paths", "gpfs"), "MAGELLON_HOME_PATH": ("paths", "home")}

_PLACE = re.compile(r" \(at line (\d+), column (\d+)\)$")
_COMMA_IN_NUMBER = re.compile(r"=\s*([+-]?\d+),(\d+)\s*(?:#.*)?$")
_MEANT = (
    ("Cannot overwrite", "the same key stands there twice"),
    ("Cannot declare", "the same section stands there twice"),
    ("Cannot mutate", "a table in braces takes its keys inside the braces only"),
    ("Invalid value", "text stands in quotes, true and false in small letters"),
    ("Unclosed array", "a bracket or a comma is missing"),
    ("Expected newline", "one key a line; text with a blank in it stands in quotes"),
    ("Illegal character", "a quote is missing at the end of the line"),
    ("Expected '='", "a line is KEY = VALUE or [SECTION]"),
)
"""How tomllib's words for the common mistakes begin, and what is wrong then."""


@dataclass
class Layers:
    """What was read, before anything is checked."""

    raw: dict[str, Any] = field(default_factory=dict)
    origin: dict[KeyPath, str] = field(default_factory=dict)
    """The variable that set a key; keys of the file are not listed."""
    texts: dict[KeyPath, str] = field(default_factory=dict)
    """What that variable held, literally."""
    lines: dict[KeyPath, int] = field(default_factory=dict)
    """Where the file says each key."""
    is_readable: bool = True
    """False where there is a file that cannot be read."""
    problems: list[Problem] = field(default_factory=list)

    def variable_of(self, place: KeyPath) -> str | None:
        """The variable that set a key, what it stands in, or all that there is of it; None where none did."""
        for end in range(len(place), 0, -1):
            if place[:end] in self.origin:
                return self.origin[place[:end]]
        if place in self.lines:
            return None
        return next((variable for below, variable in self.origin.items() if below[: len(place)] == place), None)

    def locate(self, fault: Fault) -> Problem:
        """Say where a fault is: in which line, or in which variable."""
        where, variable = key_path(fault.place), self.variable_of(fault.place)
        if variable is not None:
            return Problem(f"{where} (from {variable})", fault.what, fault.hint)
        return Problem(where, fault.what, fault.hint, line_of(fault.place, self.lines))


def read_layers(path: Path | None, environ: Mapping[str, str]) -> Layers:
    """Read the file and lay the environment over it; nothing is raised, everything wrong is listed."""
    layers = Layers()
    if path is not None:
        _read_file(path, layers)
    for variable, place in PATH_VARIABLES.items():
        if environ.get(variable):
            _override(layers, variable, place, environ[variable], environ[variable])
    for variable in sorted(environ):
        if variable.startswith(ENVIRONMENT_PREFIX):
            parts = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
            if all(parts):
                _override(layers, variable, tuple(parts), _parse_value(environ[variable]), environ[variable])
            else:
                layers.problems.append(Problem(variable, "names no key", f"write {ENVIRONMENT_PREFIX}SECTION__KEY"))
    _take_passed_credentials(layers, environ)
    return layers


def _take_passed_credentials(layers: Layers, environ: Mapping[str, str]) -> None:
    """Use the credentials that the service manager passed, unless the configuration names some or needs none."""
    bus = layers.raw.get("bus")
    if (
        not environ.get("CREDENTIALS_DIRECTORY")
        or not isinstance(bus, dict)
        or "url" not in bus
        or "credentials" in bus
    ):
        return
    passed = Path(environ["CREDENTIALS_DIRECTORY"]) / PASSED_CREDENTIALS
    if passed.is_file():
        _override(layers, "CREDENTIALS_DIRECTORY", ("bus", "credentials"), str(passed), str(passed))


def _read_file(path: Path, layers: Layers) -> None:
    layers.is_readable = False
    try:
        content = path.read_bytes()
    except OSError as error:
        layers.problems.append(Problem(str(path), f"cannot be read: {error.strerror or error}"))
        return
    try:
        text = content.decode("utf-8-sig")
        layers.raw = tomllib.loads(text)
        layers.lines = key_lines(text)
        layers.is_readable = True
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        layers.problems.append(Problem(str(path), "is not UTF-8 text", "save the file as UTF-8", line))
    except tomllib.TOMLDecodeError as error:
        layers.problems.append(_not_toml(path, text, str(error)))
    except RecursionError:
        layers.problems.append(Problem(str(path), "is nested too deeply"))


def _not_toml(path: Path, text: str, said: str) -> Problem:
    """Say where reading ended, and what was probably meant: nothing behind it was read."""
    found = _PLACE.search(said)
    line = text.split("\n")[int(found[1]) - 1] if found else ""
    comma = _COMMA_IN_NUMBER.search(line)
    meant = (
        f"use a point: {comma[1]}.{comma[2]}"
        if comma
        else next((hint for words, hint in _MEANT if said.startswith(words)), "")
    )
    hint = "; ".join(filter(None, (meant, "the rest of the file is checked once this is mended")))
    if found is None:
        return Problem(str(path), f"is not valid TOML: {said}", hint)
    return Problem(str(path), f"is not valid TOML: {said[: found.start()]}, column {found[2]}", hint, int(found[1]))


def _parse_value(text: str) -> Any:
    """Read a variable as a TOML value; whatever is not one is plain text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        parsed = tomllib.loads(f"value = {text}\n")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return parsed["value"] if set(parsed) == {"value"} else text


def _override(layers: Layers, variable: str, place: tuple[str, ...], value: Any, text: str) -> None:
    table = layers.raw
    for part in place[:-1]:
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            key = ".".join(place)
            layers.problems.append(
                Problem(variable, f"{key} cannot be set, {part} is not a table", "give the whole list in one variable")
            )
            return
        table = inner
    table[place[-1]] = value
    layers.origin[place] = variable
    layers.texts[place] = text
