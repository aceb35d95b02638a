import json
import tomllib
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel, Field
from typer.testing import CliRunner

from daemon.cli.config import build_config_commands


class Params(BaseModel):
    """Make a picture."""

    height_px: int = Field(default=494, ge=16, le=8192, description="Height of the picture.")


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ELCANO_CONFIG", raising=False)
    return build_config_commands(lambda: {"thumbnail": Params})


def test_a_right_configuration(commands: typer.Typer) -> None:
    Path("config.toml").write_text("[stages.thumbnail]\nheight_px = 256\n")
    result = CliRunner().invoke(commands, ["check"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "config.toml: right; 0 session entries, 1 of 1 steps enabled",
        "Only what is written was checked: run `elcano doctor` to check the folders.",
    ]


def test_a_wrong_configuration_tells_everything_on_stderr(commands: typer.Typer) -> None:
    Path("wrong.toml").write_text("[stages.thumbnail]\nheight_px = 1\nhight = 2\n")
    result = CliRunner().invoke(commands, ["check", "--config", "wrong.toml"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "stages.thumbnail.height_px: 1 is not allowed (takes a whole number from 16 to 8192 px)" in result.stderr
    assert "stages.thumbnail.hight: unknown key (did you mean height_px?)" in result.stderr
    result = CliRunner().invoke(commands, ["check", "--config", "wrong.toml", "--json"])
    assert result.exit_code == 2
    told = json.loads(result.stdout)
    assert told["ok"] is False
    assert [(problem["line"], problem["where"]) for problem in told["problems"]] == [
        (2, "stages.thumbnail.height_px"),
        (3, "stages.thumbnail.hight"),
    ]


def test_a_file_that_is_not_there_is_wrong_use(commands: typer.Typer) -> None:
    for command in ("check", "show"):
        result = CliRunner().invoke(commands, [command, "--config", "none.toml"])
        assert result.exit_code == 2
        assert result.stderr == "elcano: none.toml: there is no such file. Name an existing one with --config.\n"


def test_show_tells_values_and_origins(commands: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("config.toml").write_text("[stages.thumbnail]\nheight_px = 256\n")
    monkeypatch.setenv("ELCANO__LOG__LEVEL", "debug")
    result = CliRunner().invoke(commands, ["show"])
    lines = {line.partition(" = ")[0]: line for line in result.stdout.splitlines()}
    assert lines["stages.thumbnail.height_px"].split()[2:] == ["256", "#", "config.toml"]
    assert lines["log.level"].split()[2:] == ['"debug"', "#", "ELCANO__LOG__LEVEL"]
    assert lines["log.format"].split()[2:] == ['"auto"', "#", "default"]
    rows = json.loads(CliRunner().invoke(commands, ["show", "--json"]).stdout)
    assert {"key": "log.level", "value": "debug", "origin": "ELCANO__LOG__LEVEL"} in rows


def test_one_long_value_does_not_pad_all_others(commands: typer.Typer) -> None:
    roots = [f"/a/rather/long/path/to/a/folder/{n}" for n in range(20)]
    Path("config.toml").write_text(f"[watch]\nroots = {json.dumps(roots)}\n")
    lines = CliRunner().invoke(commands, ["show"]).stdout.splitlines()
    (long,) = [line for line in lines if line.startswith("watch.roots = ")]
    assert long.endswith("  # config.toml")
    assert max(len(line) for line in lines if line != long) < 120 < len(long)


def test_show_of_a_wrong_configuration(commands: typer.Typer) -> None:
    Path("config.toml").write_text("[log]\nlevel = 'loud'\n")
    result = CliRunner().invoke(commands, ["show"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "log.level" in result.stderr


def test_schema_as_json_and_as_toml(commands: typer.Typer) -> None:
    schema = json.loads(CliRunner().invoke(commands, ["schema"]).stdout)
    assert set(schema["properties"]) >= {"paths", "watch", "stages", "session"}
    text = CliRunner().invoke(commands, ["schema", "--toml"]).stdout
    assert tomllib.loads(text)["stages"]["thumbnail"] == {"enabled": True, "height_px": 494}
    Path("config.toml").write_text(text)
    assert CliRunner().invoke(commands, ["check"]).exit_code == 0
