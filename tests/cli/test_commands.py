"""The command line as a whole: help, exit codes, and one sentence for everything that goes wrong."""

import os
import socket
import subprocess
import sys

import pytest
import structlog

from benchmarks.rig.facility import Facility
from daemon.engine.claim import HomeClaim
from daemon.store.connection import FileOwner
from tests.cli.answer import Answer, Elcano


def test_every_help_is_complete_its_example_is_right_and_nothing_heavy_is_loaded() -> None:
    script = """
import re, shlex, sys
import typer
from typer.testing import CliRunner
from daemon.cli.app import application

def walk(command, name):
    yield name, command
    for word, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, f"{name} {word}".strip())

values = []
for name, command in walk(typer.main.get_command(application), ""):
    shown = CliRunner().invoke(application, [*name.split(), "--help"])
    assert shown.exit_code == 0, name
    text = " ".join(shown.stdout.split())
    assert f"Example: elcano {name}".strip() in text, shown.stdout
    if hasattr(command, "commands"):
        assert "..." not in shown.stdout.partition("Commands:")[2], f"the list of commands is cut:\\n{shown.stdout}"
        continue
    for parameter in command.params:
        assert parameter.help, f"{name}: nothing is said of {parameter.name}"
    example = shlex.split(re.search(r"Example: (elcano .*?)( Arguments:| Options:|$)", text)[1])
    end = next((place for place, word in enumerate(example) if word in (">", "|")), None)
    words = example[1 + len(name.split()) : end]
    command.make_context(name, list(words))  # fails where the example is no right call
    values += [(name, word) for before, word in zip(words, words[1:]) if before == "--set"]
    print(name)
heavy = {"torch", "scipy", "duckdb", "nats", "numpy", "pyarrow", "watchdog", "textual"} & set(sys.modules)
assert not heavy, heavy

from daemon.app.parameters import stage_parameters
from daemon.config.gates import GateSettings
known = {key for params in stage_parameters().values() for key in params.model_fields} | set(GateSettings.model_fields)
assert {name for name, _ in values} == {"reprocess", "parameters", "gates"}
assert {word.partition("=")[0] for _, word in values} <= known, values
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"run", "status", "query", "doctor", "config check", "config schema"} <= set(done.stdout.splitlines())


def test_a_command_that_only_asks_does_not_load_what_computes(facility: Facility) -> None:
    facility.configure({"stages": {"thumbnail": {"height_px": 256}}})
    script = "import sys; from daemon.__main__ import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    for command in (["status"], ["import", str(facility.gpfs)], ["retry", "--stage", "fft"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *command, "--config", str(facility.config)],
            capture_output=True,
            text=True,
            check=False,
            env=facility.environment,
        )
        assert (done.returncode, done.stdout) == (1, "False\n"), done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        *(["run"], ["run", "--once"], ["status"], ["audit"], ["query", "SELECT 1"], ["doctor"]),
        *(["import", "."], ["retry", "--stage", "fft"], ["close", "night"]),
    ],
)
def test_a_configuration_that_is_not_there_is_wrong_use(elcano: Elcano, arguments: list[str]) -> None:
    answer = elcano(*arguments, "--config", "nowhere.toml")
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err == "elcano: nowhere.toml: there is no such file. Name an existing one with --config.\n"


@pytest.mark.parametrize(
    "arguments", [["status"], ["import", "."], ["retry", "--stage", "fft"], ["close", "night"], ["status", "--json"]]
)
def test_without_a_daemon_the_sentence_says_how_to_start_it(
    elcano: Elcano, facility: Facility, arguments: list[str]
) -> None:
    answer = elcano(*arguments, "--config", facility.config)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == (
        f"elcano: No elcano daemon answers at {facility.state}. "
        "Start it with `elcano run`, or name its configuration with --config.\n"
    )


@pytest.mark.parametrize("arguments", [["status"], ["query", "SELECT 1"], ["retry", "--stage", "fft"], ["pause"]])
def test_beside_a_wrong_configuration_whoever_asks_is_told_in_one_line_and_goes_on(
    elcano: Elcano, facility: Facility, arguments: list[str]
) -> None:
    facility.configure({"watch": {"rooots": [], "poll_min_s": 0}, "session": [{"name": "x"}], "stages": {"x": {}}})
    answer = elcano(*arguments, "--config", facility.config)
    told, *rest = answer.err.splitlines()
    assert told.startswith(f"elcano: {facility.config} has 3 problems, the first: line ")
    assert told.endswith(f"; `elcano config check --config {facility.config}` tells all.")
    assert len(rest) == 1
    assert str(facility.state) in rest[0], "it has asked where the configuration says"
    assert (answer.code, answer.out) == (1, "")
    facility.configure({"watch": {"rooots": []}, "bus": {"url": "http://nats"}})
    answer = elcano(*arguments, "--config", facility.config)
    assert answer.code == 2
    assert "1 problem in the configuration" in answer.err
    assert "bus.url" in answer.err


def test_a_daemon_that_starts_is_not_called_absent(elcano: Elcano, facility: Facility) -> None:
    with FileOwner(facility.state / "elcano.duckdb"):
        answer = elcano("status", "--config", facility.config)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == (
        f"elcano: The daemon at {facility.state}, process {os.getpid()} on {socket.gethostname()}, does not answer "
        "yet: it is starting or busy. Ask again in a moment.\n"
    )
    assert "No elcano daemon answers" in elcano("status", "--config", facility.config).err


@pytest.mark.parametrize("taken", ["state", "home"])
def test_a_second_daemon_is_refused_before_anything_heavy_is_loaded(facility: Facility, taken: str) -> None:
    if taken == "state":
        first: FileOwner | HomeClaim = FileOwner(facility.state / "elcano.duckdb")
    else:
        first = HomeClaim(facility.home, facility.root / "other")
        first.take()
    script = "import sys; from daemon.__main__ import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script, "run", "--config", str(facility.config)],
        capture_output=True,
        text=True,
        check=False,
        env=facility.environment,
    )
    first.release()
    assert (done.returncode, done.stdout) == (1, "False\n"), done.stderr
    assert f"process {os.getpid()} on {socket.gethostname()}" in done.stderr


@pytest.mark.parametrize("arguments", [["audit"], ["query", "SELECT 1"]])
def test_what_reads_the_database_says_that_there_is_none(
    elcano: Elcano, facility: Facility, arguments: list[str]
) -> None:
    answer = elcano(*arguments, "--config", facility.config)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith(f"elcano: The database {facility.state / 'elcano.duckdb'}: there is no such file. ")
    assert answer.err.count("\n") == 1


def test_wrong_use_of_a_command_is_exit_2(elcano: Elcano, facility: Facility) -> None:
    config = ["--config", facility.config]
    assert elcano("retry", *config).err == "elcano: retry needs task ids, --session or --stage.\n"
    assert elcano("retry", *config).code == 2
    nowhere = elcano("import", facility.gpfs / "nowhere", *config)
    assert (nowhere.code, nowhere.err.count("\n")) == (2, 1)
    style = elcano("query", "SELECT 1", "--format", "xml", *config)
    assert (style.code, style.err) == (2, "elcano: --format xml is not known. Choose table, json, csv, parquet.\n")
    parquet = elcano("query", "SELECT 1", "--format", "parquet", *config)
    assert (parquet.code, parquet.err) == (2, "elcano: --format parquet needs --output FILE.\n")
    assert elcano("unheard-of").code == 2


def test_everything_wrong_with_a_configuration_is_told_at_once(elcano: Elcano, facility: Facility) -> None:
    facility.configure(
        {
            "paths": {"home": str(facility.gpfs / "results")},
            "watch": {"poll_min_s": 0.001, "rooots": []},
            "stages": {"thumbnail": {"height_px": 1}, "denoise": {}},
            "session": [{"directory": str(facility.gpfs / "a"), "pipeline": ["fft", "picking"]}],
            "bus": {"url": "http://nats"},
            "surprise": {"key": 1},
        }
    )
    for command in ("run", "doctor", "config check", "config show"):
        answer = elcano(*command.split(), "--config", facility.config)
        assert (answer.code, answer.out) == (2, ""), command
        assert "8 problems in the configuration" in answer.err
        for words in (
            f"paths.home: {facility.gpfs / 'results'} lies under the watched paths.gpfs {facility.gpfs}",
            "watch.poll_min_s: 0.001 is not allowed",
            "watch.rooots: unknown key (did you mean roots?)",
            "stages.thumbnail.height_px: 1 is not allowed",
            "stages.denoise: unknown key",
            'session[0].pipeline: "picking" is not a stage',
            'bus.url: "http://nats"',
            "surprise: unknown section",
        ):
            assert words in answer.err, words
    assert not facility.state.exists()
    assert not facility.home.exists()


def test_a_run_that_passes_movies_over_says_so_and_is_not_ok(
    elcano: Elcano, facility: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both would outlive this test: the daemon has a process of its own otherwise.
    monkeypatch.setattr("daemon.cli.logs.set_up_logs", lambda level, style: None)
    monkeypatch.setattr("os.umask", lambda mask: 0o022)
    folder = facility.gpfs / "forgotten"
    (folder / "frames").mkdir(parents=True)
    (folder / "frames" / "x.tif").touch()
    with structlog.testing.capture_logs() as lines:
        answer = elcano("run", "--once", "--config", facility.config)
    assert answer.code == 1
    assert answer.out == (
        f"{folder}: movies were passed over, there is no session.json: put one in it, or name it in a [[session]] "
        "entry\n"
    )
    (told,) = [line for line in lines if "passed over" in line["event"]]
    assert "starting" in [line["event"] for line in lines]
    assert (told["log_level"], told["folder"]) == ("warning", str(folder))
    assert told["hint"].startswith(f"elcano import {folder}, ")


def test_version_and_licence(elcano: Elcano) -> None:
    from daemon import __version__

    assert elcano("--version") == Answer(0, f"elcano {__version__}\nLicence: Apache-2.0\n", "")
