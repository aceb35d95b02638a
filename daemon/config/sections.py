"""Section by section, from raw values to models: everything wrong is told, and what is right is kept.

A key that is wrong is taken out and the rest is checked again, until nothing wrong is left: so a wrong key hides
neither the others beside it nor a rule that several of them must keep together.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from daemon.config.layers import Layers
from daemon.config.lines import KeyPath
from daemon.config.problems import Fault, every_key, fault_from, nearest_key
from daemon.config.schema import SessionEntry

UNKNOWN_SECTION = "unknown section"
_ENTRIES = "session"
_TEXT_WANTED = ("string_type", "path_type", "string_sub_type")


@dataclass
class Checked:
    """What came of each section, with defaults in place of what was wrong."""

    sections: dict[str, Any] = field(default_factory=dict)
    """A section that nothing can be made of is not there."""
    entries: dict[int, SessionEntry] = field(default_factory=dict)
    """The `[[session]]` entries that anything can be made of, by where they stand in the file."""
    faults: list[Fault] = field(default_factory=list)

    def is_wrong(self, *place: str | int) -> bool:
        """Whether a key was given wrongly, so that what holds in its place was not meant."""
        return any(fault.place[: len(place)] == place for fault in self.faults)


def check_sections(layers: Layers, model: type[BaseModel], base: Path) -> Checked:
    """Check all sections of a file whose model is `model`; relative paths start at `base`."""
    checked = Checked()
    for key in sorted(layers.raw.keys() - model.model_fields.keys()):
        hint = nearest_key(key, model.model_fields, every_key(model))
        for name in model.model_fields:
            hint = hint.replace(f"did you mean {name}?", f"did you mean [{name}]?")
        checked.faults.append(Fault((key,), UNKNOWN_SECTION, hint))
    reader = _Reader(layers, model, base, checked.faults)
    for name, info in model.model_fields.items():
        if name == _ENTRIES:
            _check_entries(layers.raw.get(name, []), reader, checked)
            continue
        section = reader.read(cast("Any", info.annotation), (name,), layers.raw.get(name, {}))
        if section is not None:
            checked.sections[name] = section
    return checked


def _check_entries(value: Any, reader: "_Reader", checked: Checked) -> None:
    if isinstance(value, dict):
        checked.faults.append(Fault((_ENTRIES,), "must be a list of tables", "head each entry with [[session]]"))
    elif isinstance(value, list):
        for n, table in enumerate(value):
            entry = reader.read(SessionEntry, (_ENTRIES, n), table)
            if entry is not None:
                checked.entries[n] = entry
    else:
        reader.read(tuple[SessionEntry, ...], (_ENTRIES,), value)


@dataclass
class _Reader:
    """Makes models of raw values; whatever is wrong is added to `faults`."""

    layers: Layers
    model: type[BaseModel]
    base: Path
    faults: list[Fault]

    def read(self, kind: Any, place: KeyPath, value: Any) -> Any:
        """Return what can be made of a value, None where nothing can."""
        adapter: TypeAdapter[Any] = TypeAdapter(kind)
        value = copy.deepcopy(value)
        while True:
            result, errors = self._try(adapter, value)
            if not errors:
                return result
            if self._take_texts(place, value, errors):
                continue
            self.faults += [fault_from(_at(place, error), self.model) for error in errors]
            is_whole_wrong = [not _take_out(value, error) for error in errors]
            if any(is_whole_wrong):
                return None

    def _try(self, adapter: TypeAdapter[Any], value: Any) -> tuple[Any, Sequence[ErrorDetails]]:
        """Check strictly, as JSON: TOML's kinds are kept apart, yet lists and texts become tuples and paths."""
        try:
            text = json.dumps(value, default=str)
            return adapter.validate_json(text, strict=True, context={"base": self.base}), ()
        except ValidationError as error:
            return None, error.errors()

    def _take_texts(self, place: KeyPath, value: Any, errors: Sequence[ErrorDetails]) -> bool:
        """A variable such as ELCANO__BUS__INSTANCE=7 looks like a number; where text is wanted it is text."""
        texts: Mapping[KeyPath, str] = self.layers.texts
        is_any = False
        for error in errors:
            whole = (*place, *error["loc"])
            if error["type"] in _TEXT_WANTED and whole in texts:
                table, key = _table_of(value, tuple(error["loc"]))
                is_any = is_any or table[key] != texts[whole]
                table[key] = texts[whole]
        return is_any


def _at(place: KeyPath, error: ErrorDetails) -> ErrorDetails:
    return cast("ErrorDetails", {**error, "loc": (*place, *error["loc"])})


def _table_of(value: Any, loc: KeyPath) -> tuple[Any, Any]:
    """Return the table or list that a location ends in, and its key there."""
    for part in loc[:-1]:
        value = value[part]
    return value, loc[-1]


def _take_out(value: Any, error: ErrorDetails) -> bool:
    """Take what an error is about out of its table; False where that would leave nothing.

    Where a key is missing, it is the table that cannot be used; and an item of a list makes the list useless.
    """
    loc = tuple(error["loc"])
    if error["type"] == "missing":
        loc = loc[:-1]
    lists = [position for position, part in enumerate(loc) if isinstance(part, int)]
    loc = loc[: lists[0]] if lists else loc
    if not loc:
        return False
    try:
        table, key = _table_of(value, loc)
        table.pop(key, None)
    except (KeyError, TypeError):
        pass  # it went with the table around it, for another error
    return True
