"""The raw configuration: config.toml, overlaid with the environment, and where each value came from."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemon.errors import Problem

ENVIRONMENT_PREFIX = "ELCANO__"
PASSED_CREDENTIALS = "nats.creds"
"""Name under which the service manager passes NATS credentials, in $CREDENTIALS_DIRECTORY."""
PATH_VARIABLES = {"MAGELLON_GPFS_PATH": ("paths", "gpfs"), "MAGELLON_HOME_PATH": ("paths", "home")}

KeyPath = tuple[str | int, ...]


@dataclass
class Layers:
    """What was read, before anything is checked."""

    raw: dict[str, Any] = field(default_factory=dict)
    origin: dict[KeyPath, str] = field(default_factory=dict)
    """The variable that set a key; keys of the file are not listed."""
    texts: dict[KeyPath, str] = field(default_factory=dict)
    """What that variable held, literally."""
    problems: list[Problem] = field(default_factory=list)


def find_config(explicit: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Choose the file: the one named, $ELCANO_CONFIG, ./config.toml, the user's, the machine's; None without any."""
    if explicit is not None:
        return explicit
    if environ.get("ELCANO_CONFIG"):
        return Path(environ["ELCANO_CONFIG"])
    home = Path(environ["HOME"]) if environ.get("HOME") else None
    user = Path(environ["XDG_CONFIG_HOME"]) if environ.get("XDG_CONFIG_HOME") else home and home / ".config"
    places = [Path("config.toml"), user and user / "elcano" / "config.toml", Path("/etc/elcano/config.toml")]
    return next((place for place in places if place is not None and place.is_file()), None)


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
    try:
        content = path.read_bytes()
    except OSError as error:
        layers.problems.append(Problem(str(path), f"cannot be read: {error.strerror or error}"))
        return
    try:
        layers.raw = tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        layers.problems.append(Problem(f"{path}, line {line}", "is not UTF-8 text", "save the file as UTF-8"))
    except tomllib.TOMLDecodeError as error:
        layers.problems.append(Problem(str(path), f"is not valid TOML: {error}"))
    except RecursionError:
        layers.problems.append(Problem(str(path), "is nested too deeply"))


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
