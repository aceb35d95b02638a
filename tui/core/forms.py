"""Parameters as people type them: from a JSON Schema to fields, and from what was typed to values."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Field:
    """One parameter: its kinds, bounds and meaning, and what it is now."""

    key: str
    kinds: tuple[str, ...]
    """JSON's names: number, integer, string, boolean, array, object, null."""
    choices: tuple[Any, ...]
    meaning: str
    bounds: str
    value: Any

    @property
    def typed(self) -> str:
        """The value as one types it; nothing for none."""
        if self.value is None:
            return ""
        return self.value if isinstance(self.value, str) else json.dumps(self.value)

    def read(self, typed: str) -> Any:
        """Return the value of what was typed. Raises ValueError with a sentence."""
        text = typed.strip()
        if not text and "null" in self.kinds:
            return None
        if self.choices:
            chosen = [choice for choice in self.choices if str(choice) == text]
            if chosen:
                return chosen[0]
            raise ValueError(f"{self.key} is one of {', '.join(map(str, self.choices))}.")
        for kind in self.kinds:
            if kind == "string":
                return text
            value = _read_json(text)
            if _is_a(kind, value):
                return value
        raise ValueError(f"{self.key} must be {' or '.join(_WORDS.get(kind, kind) for kind in self.kinds)}.")


def read_fields(schema: Mapping[str, Any], values: Mapping[str, Any]) -> list[Field]:
    """Return the fields of a stage's parameters, in the order of the schema."""
    definitions = schema.get("$defs", {})
    fields = []
    for key, described in schema.get("properties", {}).items():
        options = [_resolve(option, definitions) for option in described.get("anyOf", [described])]
        kinds = tuple(dict.fromkeys(str(option.get("type", "string")) for option in options))
        choices = tuple(choice for option in options for choice in option.get("enum", ()))
        meaning = " ".join(str(described.get("description", "")).split())
        fields.append(Field(key, kinds, choices, meaning, _bounds(options), values.get(key)))
    return fields


def changed_values(fields: Sequence[Field], typed: Mapping[str, str]) -> dict[str, Any]:
    """Return the values that differ from what they were. Raises ValueError for the first that cannot be read."""
    changed = {}
    for field in fields:
        if field.key in typed and typed[field.key].strip() != field.typed:
            changed[field.key] = field.read(typed[field.key])
    return changed


_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "number": (int, float),
    "integer": int,
    "array": list,
    "object": dict,
}
_WORDS = {
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list, such as [1, 2]",
    "null": "empty",
}
_LIMITS = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))


def _bounds(options: Sequence[Mapping[str, Any]]) -> str:
    told = [f"{sign} {option[name]:g}" for option in options for name, sign in _LIMITS if name in option]
    if any(option.get("type") == "null" for option in options):
        told.append("or empty")
    return ", ".join(told)


def _resolve(option: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = option.get("$ref")
    if reference is None:
        return option
    found: Mapping[str, Any] = definitions.get(str(reference).rpartition("/")[2], {})
    return found


def _read_json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def _is_a(kind: str, value: Any) -> bool:
    if kind == "boolean" or isinstance(value, bool):
        return kind == "boolean" and isinstance(value, bool)
    return kind in _TYPES and isinstance(value, _TYPES[kind])
