"""config.toml written out of the schema: every key with its meaning, range, unit and default."""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from daemon.config.changes import changes_live
from daemon.config.loader import StageParameters, settings_model
from daemon.config.problems import allowed, model_of

_WIDTH = 110
_INTRODUCTION = """\
Configuration of Elcano. Every key stands here with its default; a line that begins with # is unset.
Any key can be set from the environment too: ELCANO__WATCH__POLL_MIN_S=2 is poll_min_s of [watch].
Check it with `elcano config check`, see what holds with `elcano config show`.

A running daemon reads this file again when it is told to (`systemctl reload elcano`, or the signal SIGHUP). A file
with any mistake in it changes nothing. Keys marked "changes live" hold at once, and new [[session]] entries are
imported; everything else is named in the log and waits for a restart."""


def write_reference(stage_params: StageParameters) -> str:
    """Return the text of a config.toml that documents every key and shows every default."""
    model = settings_model(stage_params)
    blocks = ["\n".join(_comment(_INTRODUCTION))]
    for name, field in model.model_fields.items():
        inner = model_of(field.annotation)
        if inner is None:
            raise TypeError(f"section {name} of the schema is not a model")
        if name == "stages":
            blocks += [_table(f"stages.{stage}", stage_field, "stages") for stage, stage_field in _in_order(inner)]
        elif name == "session":
            blocks.append(_entry_example(inner))
        else:
            blocks.append(_table(name, field))
            blocks += [_table(f"{name}.{key}", part) for key, part in _in_order(inner) if model_of(part.annotation)]
    return "\n\n".join(blocks) + "\n"


def toml_value(value: Any) -> str:
    """Write one value as TOML."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str() | Path():
            return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list() | tuple():
            return "[" + ", ".join(toml_value(item) for item in value) + "]"
    raise TypeError(f"no TOML for {value!r}")


def _table(name: str, field: FieldInfo, section: str = "") -> str:
    model = model_of(field.annotation)
    if model is None:
        raise TypeError(f"{name} is not a table")
    return "\n".join([*_comment(model.__doc__ or ""), f"[{name}]", *_keys(model, section)])


def _entry_example(model: type[BaseModel]) -> str:
    """Write a `[[session]]` entry with its tables, all of it commented out: there is none by default."""
    lines = [*_comment(model.__doc__ or ""), "# [[session]]", *_keys(model, "session", unset=True)]
    for path, inner in _tables_below(model, "session"):
        lines += ["#", *_comment(inner.__doc__ or ""), f"# [{path}]", *_keys(inner, "session", unset=True)]
    return "\n".join(lines)


def _tables_below(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, type[BaseModel]]]:
    for key, field in model.model_fields.items():
        inner = model_of(field.annotation)
        if inner is not None:
            yield f"{prefix}.{key}", inner
            yield from _tables_below(inner, f"{prefix}.{key}")


def _keys(model: type[BaseModel], section: str, *, unset: bool = False) -> Iterator[str]:
    for key, field in _in_order(model):
        if model_of(field.annotation):
            continue
        live = "; changes live" if changes_live(section, key, field) else ""
        yield from _comment(f"{field.description or ''} ({allowed(key, field)}{live})")
        default = field.get_default(call_default_factory=True, validated_data={})
        if default is None or default is PydanticUndefined:
            default = next(iter(field.examples or ()), "")
            yield f"# {key} = {toml_value(default)}"
        else:
            yield f"{'# ' if unset else ''}{key} = {toml_value(default)}"


def _in_order(model: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    """Return the fields as declared, a stage's own switch first."""
    return sorted(model.model_fields.items(), key=lambda item: item[0] != "enabled")


def _comment(text: str) -> Iterator[str]:
    for paragraph in textwrap.dedent(text).strip().split("\n\n"):
        yield from textwrap.wrap(
            " ".join(paragraph.split()), _WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False
        )
