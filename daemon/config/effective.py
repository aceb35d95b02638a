"""What holds: every key's value and where it came from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from daemon.config.layers import Layers, read_layers
from daemon.config.lines import KeyPath
from daemon.config.loader import StageParameters, load_settings
from daemon.config.problems import hide_password, key_path
from daemon.config.schema import Settings


@dataclass(frozen=True)
class EffectiveKey:
    """One key: its path, its value (a password in a URL hidden) and who set it: a file, a variable, or "default"."""

    key: str
    value: Any
    origin: str


def effective_keys(
    path: Path | None, stage_params: StageParameters, environ: Mapping[str, str]
) -> tuple[EffectiveKey, ...]:
    """List every key that holds. Raises ConfigurationInvalid as load_settings does."""
    settings = load_settings(path, stage_params, environ)
    layers = read_layers(path, environ)
    return tuple(
        EffectiveKey(key_path(place), plain_value(value), _origin(place, layers, path))
        for place, value in leaves(settings)
    )


def leaves(settings: Settings) -> Iterator[tuple[KeyPath, Any]]:
    """Yield every key with its value, section by section; the `[[session]]` entries last."""
    yield ("paths", "gpfs"), settings.paths.gpfs
    yield ("paths", "home"), settings.paths.home
    yield ("paths", "state"), settings.state
    for field in fields(settings):
        section = getattr(settings, field.name)
        if field.name != "paths" and isinstance(section, BaseModel):
            yield from _members((field.name,), section)
    for stage, section in settings.stages.items():
        yield ("stages", stage, "enabled"), section.enabled
        yield from _members(("stages", stage), section.params)
    for n, entry in enumerate(settings.sessions):
        yield from _members(("session", n), entry)


def _members(place: KeyPath, model: BaseModel) -> Iterator[tuple[KeyPath, Any]]:
    for name, value in model:
        if isinstance(value, BaseModel):
            yield from _members((*place, name), value)
        else:
            yield (*place, name), value


def plain_value(value: Any) -> Any:
    """Return a value as JSON has it, a password in a URL hidden."""
    match value:
        case Path():
            return str(value)
        case str() if "://" in value:
            return hide_password(value)
        case tuple() | list():
            return [plain_value(item) for item in value]
    return value


def _origin(place: KeyPath, layers: Layers, path: Path | None) -> str:
    for n in range(len(place), 0, -1):
        if place[:n] in layers.origin:
            return layers.origin[place[:n]]
    table: Any = layers.raw
    for part in place:
        try:
            table = table[part]
        except (KeyError, IndexError, TypeError):
            return "default"
    return str(path)
