"""The command line of the simulator."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from daemon.cli.simulate import simulate


@pytest.fixture
def app() -> typer.Typer:
    commands = typer.Typer()
    commands.command()(simulate)
    return commands


def test_it_writes_a_session_and_says_where(app: typer.Typer, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, [str(tmp_path), "--session", "demo", "--movies", "1", "--pixel-size", "2", "--json"]
    )
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["directory"] == str(tmp_path / "demo")
    assert Path(facts["movies"][0]).stat().st_size == facts["total_bytes"]
    assert json.loads(Path(facts["truth"]).read_text())["pixel_size_ang"] == 2


def test_it_tells_how_far_it_is_where_there_is_no_terminal(app: typer.Typer, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(tmp_path), "--movies", "2", "--prepare"])
    assert result.exit_code == 0, result.stderr
    assert result.stderr.splitlines() == [
        f"simulating 2 movies of 12 frames, 512×512 px, in {tmp_path / 'simulated'}",
        *("made 1 of 2", "made 2 of 2", "written 1 of 2", "written 2 of 2"),
    ]


def test_wrong_use_is_one_sentence_and_exit_2(app: typer.Typer, tmp_path: Path) -> None:
    runner = CliRunner()
    bad_name = runner.invoke(app, [str(tmp_path), "--session", "../up"])
    assert (bad_name.exit_code, bad_name.stdout) == (2, "")
    assert bad_name.stderr.count("\n") == 1
    assert "../up" in bad_name.stderr
    (tmp_path / "demo").mkdir()
    assert runner.invoke(app, [str(tmp_path), "--session", "demo"]).exit_code == 2
    assert runner.invoke(app, [str(tmp_path), "--movies", "0"]).exit_code == 2


def test_a_place_that_cannot_be_written_is_exit_1(app: typer.Typer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = CliRunner().invoke(app, [str(tmp_path / "file"), "--movies", "1"])
    assert result.exit_code == 1
    assert result.stderr == (
        f"{tmp_path / 'file' / 'simulated'}: cannot be written: Not a directory. "
        "Name a DIR that you may write to, on a disk with room for the movies.\n"
    )


def test_help_has_an_example(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert "elcano simulate /tmp/gpfs" in result.stdout
