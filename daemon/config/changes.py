"""What a configuration read again changes: which keys, which of them a running daemon can take over at once."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from daemon.config.effective import leaves, plain_value
from daemon.config.lines import KeyPath
from daemon.config.places import REAL_PLACES, RealPlaces
from daemon.config.problems import key_path, locate
from daemon.config.schema import SessionEntry, Settings, StageSettings

_SWITCH = "enabled"


@dataclass(frozen=True)
class KeyChange:
    """One key that is different now; old and new as the file would have them."""

    place: KeyPath
    old: str
    new: str
    is_live: bool

    @property
    def key(self) -> str:
        """The key as people write it."""
        return key_path(self.place)

    def __str__(self) -> str:
        return f"{self.key}: {self.old} -> {self.new}"


@dataclass(frozen=True)
class Changes:
    """Everything in which a configuration differs from the one that runs."""

    keys: tuple[KeyChange, ...]
    entries: tuple[SessionEntry, ...]
    """`[[session]]` entries that are new or say something new."""
    dropped: tuple[SessionEntry, ...]
    """Entries that are gone; their sessions go on."""

    @property
    def live(self) -> tuple[KeyChange, ...]:
        """Keys that hold as soon as they are applied."""
        return tuple(change for change in self.keys if change.is_live)

    @property
    def waiting(self) -> tuple[KeyChange, ...]:
        """Keys that need a restart."""
        return tuple(change for change in self.keys if not change.is_live)


def changes_live(section: str, key: str, field: FieldInfo | None) -> bool:
    """Whether a running daemon takes a key over: parameters of stages, and what the schema marks.

    `[[session]]` entries are compared whole: see Changes.entries.
    """
    if section == "stages":
        return key != _SWITCH
    extra = field.json_schema_extra if field is not None else None
    return isinstance(extra, dict) and extra.get("live") is True


def compare(running: Settings, wanted: Settings, *, places: RealPlaces = REAL_PLACES) -> Changes:
    """Return what `wanted` changes. Looks at directories: not for the event loop."""
    before = dict(_outside_entries(running))
    after = dict(_outside_entries(wanted))
    keys = [
        KeyChange(place, _shown(before, place), _shown(after, place), _is_live(wanted, place))
        for place in dict.fromkeys((*before, *after))
        if before.get(place) != after.get(place)
    ]
    real = places.real_paths(entry.directory for entry in (*running.sessions, *wanted.sessions))
    known = {real[entry.directory]: entry for entry in running.sessions}
    named = {real[entry.directory] for entry in wanted.sessions}
    entries = tuple(entry for entry in wanted.sessions if known.get(real[entry.directory]) != entry)
    dropped = tuple(entry for directory, entry in known.items() if directory not in named)
    return Changes(tuple(keys), entries, dropped)


def adopt(running: Settings, wanted: Settings, *, keep_stages: Collection[str] = ()) -> Settings:
    """Return the settings that hold once everything live is applied: the rest stays as it runs.

    `keep_stages` names stages that keep their parameters all the same.
    """
    sections: dict[str, Any] = {}
    for field in fields(running):
        old, new = getattr(running, field.name), getattr(wanted, field.name)
        if isinstance(old, BaseModel) and field.name != "paths":
            live = {
                key: getattr(new, key)
                for key, info in type(old).model_fields.items()
                if changes_live(field.name, key, info)
            }
            sections[field.name] = old.model_copy(update=live)
    stages = {
        name: stage if name in keep_stages else StageSettings(stage.enabled, wanted.stages[name].params)
        for name, stage in running.stages.items()
    }
    return replace(running, **sections, stages=MappingProxyType(stages), sessions=wanted.sessions)


def _outside_entries(settings: Settings) -> list[tuple[KeyPath, Any]]:
    return [(place, value) for place, value in leaves(settings) if place[0] != "session"]


def _shown(values: Mapping[KeyPath, Any], place: KeyPath) -> str:
    value = plain_value(values.get(place))
    return "unset" if value is None else json.dumps(value, ensure_ascii=False)


def _is_live(settings: Settings, place: KeyPath) -> bool:
    section, key = str(place[0]), str(place[-1])
    if section == "stages":
        return changes_live(section, key, None)
    model = getattr(settings, section, None)
    if not isinstance(model, BaseModel):
        return False
    return changes_live(section, key, locate(type(model), place[1:])[2])
