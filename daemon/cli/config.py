"""`elcano config`: check, show and document config.toml."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli.options import ConfigOption, JsonOption, find_configuration

if TYPE_CHECKING:
    from pydantic import BaseModel

    from daemon.errors import ConfigurationInvalid

_WIDEST_PADDING = 72
"""One long value must not push every remark out of sight."""


def build_config_commands(stage_params: "Callable[[], Mapping[str, type[BaseModel]]]") -> typer.Typer:
    """Return the command group; `stage_params` is called only when a command runs."""
    group = typer.Typer(
        no_args_is_help=True, help="Check, show and document the configuration.\n\nExample: elcano config check"
    )

    @group.command()
    def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
        """Tell everything that is wrong with the configuration.

        Exit 2 if anything is. Every mistake is named at once, with its line, what was given and what is allowed.

        Example: elcano config check --config config.toml
        """
        check_config(config, stage_params(), as_json=as_json)

    @group.command()
    def show(config: ConfigOption = None, as_json: JsonOption = False) -> None:
        """Print every key that holds, and where it came from.

        From a default, the file or a variable.

        Example: elcano config show --json
        """
        show_config(config, stage_params(), as_json=as_json)

    @group.command()
    def schema(
        as_toml: Annotated[bool, typer.Option("--toml", help="A config.toml with every key and its default.")] = False,
    ) -> None:
        """Print a documented config.toml to start from, or its JSON schema.

        Without --toml the schema, for editors.

        Example: elcano config schema --toml > config.toml
        """
        print_schema(stage_params(), as_toml=as_toml)

    return group


def check_config(config: Path | None, stage_params: "Mapping[str, type[BaseModel]]", *, as_json: bool) -> None:
    """Check a configuration: exit 0 when it is right, 2 when it is not, or not there."""
    from daemon.config.loader import load_settings
    from daemon.errors import ConfigurationInvalid

    path = find_configuration(config)
    try:
        settings = load_settings(path, stage_params, os.environ)
    except ConfigurationInvalid as error:
        if as_json:
            print(json.dumps({"ok": False, "source": _source(path), "problems": _problems(error)}, ensure_ascii=False))
        else:
            typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    enabled = [name for name, stage in settings.stages.items() if stage.enabled]
    if as_json:
        print(json.dumps({"ok": True, "source": _source(path), "problems": []}, ensure_ascii=False))
    else:
        entries = f"{len(settings.sessions)} session entries, {len(enabled)} of {len(settings.stages)} steps enabled"
        print(f"{_source(path)}: right; {entries}")
        print("Only what is written was checked: run `elcano doctor` to check the folders.")


def show_config(config: Path | None, stage_params: "Mapping[str, type[BaseModel]]", *, as_json: bool) -> None:
    """Print every key that holds with its value and origin; exit 2 when the configuration is wrong."""
    from daemon.config.effective import effective_keys
    from daemon.errors import ConfigurationInvalid

    path = find_configuration(config)
    try:
        keys = effective_keys(path, stage_params, os.environ)
    except ConfigurationInvalid as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    if as_json:
        rows: list[dict[str, Any]] = [{"key": key.key, "value": key.value, "origin": key.origin} for key in keys]
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    lines = [(f"{key.key} = {json.dumps(key.value, ensure_ascii=False)}", key.origin) for key in keys]
    width = min(max(len(text) for text, _ in lines), _WIDEST_PADDING)
    print(f"# {_source(path)}")
    for text, origin in lines:
        print(f"{text:<{width}}  # {origin}")


def print_schema(stage_params: "Mapping[str, type[BaseModel]]", *, as_toml: bool) -> None:
    """Print the JSON schema, or a documented config.toml."""
    from daemon.config.loader import settings_model
    from daemon.config.reference import write_reference

    if as_toml:
        print(write_reference(stage_params), end="")
    else:
        print(json.dumps(settings_model(stage_params).model_json_schema(), ensure_ascii=False, indent=2))


def _source(path: Path | None) -> str:
    return str(path) if path is not None else "defaults and environment (no config.toml found)"


def _problems(error: "ConfigurationInvalid") -> list[dict[str, str | int | None]]:
    return [{"where": item.where, "line": item.line, "what": item.what, "hint": item.hint} for item in error.problems]
