"""From pydantic's errors to sentences: key path, value, what is allowed with its unit, the nearest known key."""

import difflib
import json
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from daemon.errors import Problem

Loc = Sequence[str | int]

# Longest first: `_e_per_ang2` also ends in `_ang2`, `_mib_per_s` in `_s`.
_UNITS = (
    ("_mib_per_s", "MiB/s"),
    ("_e_per_ang2", "e⁻/Å²"),
    ("_ang2", "Å²"),
    ("_bytes", "bytes"),
    ("_gib", "GiB"),
    ("_ang", "Å"),
    ("_deg", "°"),
    ("_rad", "rad"),
    ("_kv", "kV"),
    ("_mm", "mm"),
    ("_um", "µm"),
    ("_px", "px"),
    ("_s", "s"),
)
_LONGEST_VALUE_SHOWN = 80


def unit_of(key: str) -> str:
    """Return the unit that a key's name ends in, or nothing."""
    return next((unit for suffix, unit in _UNITS if key.endswith(suffix)), "")


def key_path(loc: Loc) -> str:
    """Write a location as people do: `session[0].acquisition.pixel_size_ang`."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def show_value(value: object) -> str:
    """Write a value as it stands in TOML, shortened, without a password that a URL may carry."""
    if isinstance(value, str) and "@" in value and "://" in value:
        value = hide_password(value)
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_VALUE_SHOWN else text[: _LONGEST_VALUE_SHOWN - 1] + "…"


def hide_password(url: str) -> str:
    """Replace whatever stands before the @ of a URL."""
    parts = urlsplit(url)
    return parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else url


def unwrap(annotation: Any) -> Any:
    """Take Optional and Annotated off a type."""
    while True:
        if get_origin(annotation) is typing.Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (typing.Union, types.UnionType):
            rest = [arg for arg in get_args(annotation) if arg is not type(None)]
            if len(rest) != 1:
                return annotation
            annotation = rest[0]
        else:
            return annotation


def model_of(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a field holds, directly or as the items of a sequence."""
    inner = unwrap(annotation)
    if get_origin(inner) in (tuple, list):
        inner = unwrap(get_args(inner)[0])
    return inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None


def locate(model: type[BaseModel], loc: Loc) -> tuple[type[BaseModel], str, FieldInfo | None]:
    """Follow a location: the innermost model on the way, its key there, and that key's field if it is known."""
    key, field = "", None
    for part in loc:
        if isinstance(part, int):
            continue
        if field is not None:
            inner = model_of(field.annotation)
            if inner is None:
                break
            model = inner
        key, field = part, model.model_fields.get(part)
        if field is None:
            break
    return model, key, field


def bounds(field: FieldInfo) -> tuple[float | None, float | None, bool, bool]:
    """Return lowest, highest, and whether each itself is excluded. A pair's bounds are those of its members."""
    metadata = [*field.metadata, *(part for extra in _annotations(field.annotation) for part in _parts(extra))]
    limits: dict[str, Any] = {}
    for item in metadata:
        for kind in (annotated_types.Ge, annotated_types.Gt, annotated_types.Le, annotated_types.Lt):
            if isinstance(item, kind):
                limits[kind.__name__] = getattr(item, kind.__name__.lower())
    low, high = limits.get("Gt", limits.get("Ge")), limits.get("Lt", limits.get("Le"))
    return low, high, "Gt" in limits, "Lt" in limits


def _parts(extra: Any) -> Sequence[Any]:
    return extra.metadata if isinstance(extra, FieldInfo) else (extra,)


def _annotations(annotation: Any) -> Iterator[Any]:
    yield from getattr(annotation, "__metadata__", ())
    for arg in get_args(annotation):
        yield from _annotations(arg)


def allowed(key: str, field: FieldInfo) -> str:
    """Say what a key takes: kind, range and unit, in words."""
    if isinstance(field.json_schema_extra, dict) and "takes" in field.json_schema_extra:
        return str(field.json_schema_extra["takes"])
    inner, unit = unwrap(field.annotation), unit_of(key)
    if get_origin(inner) is Literal:
        return _with_unit("one of " + ", ".join(str(option) for option in get_args(inner)), unit)
    if inner in (int, float):
        return _with_unit(("a whole number" if inner is int else "a number") + _range_words(field), unit)
    if _is_pair(inner):
        return _with_unit("two numbers [low, high]" + _range_words(field), unit)
    return _kind(inner, field)


def _is_pair(inner: Any) -> bool:
    items = get_args(inner)
    return get_origin(inner) is tuple and len(items) == 2 and Ellipsis not in items


def _kind(inner: Any, field: FieldInfo) -> str:
    if get_origin(inner) in (tuple, list):
        item = unwrap(get_args(inner)[0])
        return "a list of tables" if model_of(item) else "a list of paths" if item is Path else "a list of texts"
    if model_of(inner):
        return "a table"
    if inner in (bool, Path):
        return "true or false" if inner is bool else "a path"
    length = next((item.max_length for item in field.metadata if isinstance(item, annotated_types.MaxLen)), None)
    return f"text of at most {length} characters" if length else "text"


def _range_words(field: FieldInfo) -> str:
    low, high, open_low, open_high = bounds(field)
    if low is not None and high is not None and not open_low and not open_high:
        return f" from {low:.12g} to {high:.12g}"
    start = "" if low is None else f" above {low:.12g}" if open_low else f" from {low:.12g}"
    end = "" if high is None else f" below {high:.12g}" if open_high else f" up to {high:.12g}"
    return start + (" and" if start and end else "") + end


def _with_unit(text: str, unit: str) -> str:
    return f"{text} {unit}" if unit else text


def every_key(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the path of every key, tables before their members."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        yield path
        inner = model_of(field.annotation)
        if inner is not None:
            yield from every_key(inner, f"{path}.")


def nearest_key(key: str, siblings: Iterable[str], everywhere: Iterable[str]) -> str:
    """Suggest the known key that was probably meant: a sibling, else the same name in another section."""
    known, paths, asked = sorted(siblings), sorted(everywhere), key.lower()
    elsewhere = [path for path in paths if path.rpartition(".")[2] == asked]
    close = difflib.get_close_matches(asked, known, n=1, cutoff=0.6)
    if close and (not elsewhere or difflib.SequenceMatcher(None, asked, close[0]).ratio() >= _ALMOST_THE_SAME):
        return f"did you mean {close[0]}?"
    if elsewhere:
        return f"did you mean {' or '.join(elsewhere)}?"
    begun = [name for name in known if len(asked) > 2 and (asked in name or name in asked)]
    if len(begun) == 1:
        return f"did you mean {begun[0]}?"
    close_leaf = difflib.get_close_matches(asked, [path.rpartition(".")[2] for path in paths], n=1, cutoff=0.75)
    if close_leaf:
        return f"did you mean {next(path for path in paths if path.rpartition('.')[2] == close_leaf[0])}?"
    return f"known here: {', '.join(known)}" if known else "nothing is known here"


_ALMOST_THE_SAME = 0.8


@dataclass(frozen=True)
class Fault:
    """One thing wrong at one key, before anyone has looked up where that was said."""

    place: tuple[str | int, ...]
    what: str
    hint: str = ""


def fault_from(error: ErrorDetails, root: type[BaseModel]) -> Fault:
    """Turn one pydantic error into what was given, and what is allowed."""
    loc = tuple(error["loc"])
    model, key, field = locate(root, loc)
    takes = f"takes {allowed(key, field)}" if field else ""
    match error["type"]:
        case "extra_forbidden":
            return Fault(loc, "unknown key", nearest_key(key, model.model_fields, every_key(root)))
        case "missing":
            return Fault(loc, "required, but not given", takes)
        case "value_error":
            said = str(error.get("ctx", {}).get("error", error["msg"]))
            if isinstance(error["input"], Mapping):
                return Fault(loc, ": ".join(filter(None, (_spoken_of(error["input"], said), said))))
            return Fault(loc, f"{_given(error['input'])} is not allowed: {said}")
    return Fault(loc, f"{_given(error['input'])} is not allowed", takes or error["msg"])


def _given(value: object) -> str:
    """What was given; nobody wants to read a whole section again."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        return "a list of tables"
    return show_value(value)


def _spoken_of(table: Mapping[str, object], said: str) -> str:
    """Of a table that breaks a rule, the keys that the rule names."""
    named = [key for key in table if re.search(rf"\b{re.escape(key)}\b", said)]
    return ", ".join(f"{key} = {_given(table[key])}" for key in named)


def problem_from(error: ErrorDetails, root: type[BaseModel]) -> Problem:
    """Turn one pydantic error into a sentence that names the key."""
    fault = fault_from(error, root)
    return Problem(key_path(fault.place), fault.what, fault.hint)
