"""What holds: every key's value and where it came from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from daemon.config.layers import KeyPath, Layers, read_layers
from daemon.config.loader import StageParameters, load_settings
from daemon.config.problems import hide_password, key_path
from daemon.config.schema import Settings


@dataclass(frozen=True)
class EffectiveKey:
    """One key: its path, its value (a password in a URL hidden) and who set it."""

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
        EffectiveKey(key_path(place), _plain(value), _origin(place, layers)) for place, value in _leaves(settings)
    )


def _leaves(settings: Settings) -> Iterator[tuple[KeyPath, Any]]:
    yield ("paths", "gpfs"), settings.paths.gpfs
    yield ("paths", "home"), settings.paths.home
    yield ("paths", "state"), settings.state
    for name in ("bus", "store", "watch", "compute", "output", "limits", "lifecycle", "log"):
        yield from _members((name,), getattr(settings, name))
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


def _plain(value: Any) -> Any:
    match value:
        case Path():
            return str(value)
        case str() if "://" in value:
            return hide_password(value)
        case tuple() | list():
            return [_plain(item) for item in value]
    return value


def _origin(place: KeyPath, layers: Layers) -> str:
    for n in range(len(place), 0, -1):
        if place[:n] in layers.origin:
            return layers.origin[place[:n]]
    table: Any = layers.raw
    for part in place:
        try:
            table = table[part]
        except (KeyError, IndexError, TypeError):
            return "default"
    return "file"
