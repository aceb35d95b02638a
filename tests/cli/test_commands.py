"""The command line as a whole: help, exit codes, and one sentence for everything that goes wrong."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from daemon.__main__ import main
from tests.end_to_end.facility import Facility

COMMANDS = (
    *("demo", "run", "import", "retry", "close", "status", "audit", "query", "simulate", "doctor"),
    *("config check", "config show", "config schema"),
)


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    code: int
    out: str
    err: str


Elcano = Callable[..., Answer]


@pytest.fixture
def elcano(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Elcano:
    """Run a command in this process, as its console script does, away from anyone's configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("ELCANO_CONFIG", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "STATE_DIRECTORY"):
        monkeypatch.delenv(variable, raising=False)

    def run(*arguments: str | Path) -> Answer:
        monkeypatch.setattr(sys, "argv", ["elcano", *(str(argument) for argument in arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Answer(int(ended.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def facility(tmp_path: Path) -> Facility:
    return Facility.build(tmp_path)


def test_help_shows_an_example_and_loads_nothing_heavy() -> None:
    script = f"""
import sys
from typer.testing import CliRunner
from daemon.cli.app import application
for command in {COMMANDS!r}:
    result = CliRunner().invoke(application, [*command.split(), "--help"])
    assert result.exit_code == 0, command
    assert f"Example: elcano {{command}}" in " ".join(result.stdout.split()), result.stdout
heavy = {{"torch", "scipy", "duckdb", "nats", "numpy", "pyarrow", "watchdog"}} & set(sys.modules)
assert not heavy, heavy
print(*(command.name for command in application.registered_commands))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {command for command in COMMANDS if " " not in command}


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


@pytest.mark.parametrize("arguments", [["audit"], ["query", "SELECT 1"]])
def test_what_reads_the_database_says_that_there_is_none(
    elcano: Elcano, facility: Facility, arguments: list[str]
) -> None:
    answer = elcano(*arguments, "--config", facility.config)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith(f"elcano: Store {facility.state / 'elcano.duckdb'}: there is no such file. ")
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
    for command, code in (("run", 2), ("doctor", 2), ("config check", 1)):
        answer = elcano(*command.split(), "--config", facility.config)
        assert (answer.code, answer.out) == (code, ""), command
        assert "8 problem(s) in the configuration" in answer.err
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


def test_doctor_finds_a_good_facility_well(elcano: Elcano, facility: Facility) -> None:
    answer = elcano("doctor", "--config", facility.config)
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert all(line.startswith("ok    ") for line in lines)
    found = {line.removeprefix("ok    ").partition(":")[0] for line in lines}
    assert found == {
        *("configuration", "python", "watched root", "home", "state", "nats-server", "daemon", "database"),
        "compute device",
    }
    assert not facility.state.exists()


def test_doctor_names_what_is_wrong_and_what_to_do(elcano: Elcano, facility: Facility) -> None:
    missing = facility.root / "not mounted"
    (facility.root / "state").mkdir()
    (facility.root / "state" / "elcano.duckdb").write_bytes(b"not a database")
    facility.configure(
        {
            "watch": {"roots": [str(missing)]},
            "limits": {"disk_reserve_gib": 1_000_000},
            "bus": {"url": "nats://127.0.0.1:1"},
        }
    )
    answer = elcano("doctor", "--config", facility.config, "--json")
    assert (answer.code, answer.err) == (1, "")
    wrong = {finding["what"]: finding for finding in json.loads(answer.out) if not finding["is_good"]}
    assert set(wrong) == {"watched root", "home", "daemon", "database"}
    assert wrong["watched root"]["found"] == f"{missing} is not there"
    assert "cannot be reached" in wrong["daemon"]["found"]
    assert all(finding["hint"] for finding in wrong.values())
