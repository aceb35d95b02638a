"""The command line run in the test's own process, away from anyone's configuration."""

import sys
from pathlib import Path

import pytest

from benchmarks.rig.facility import Facility
from daemon.__main__ import main
from tests.cli.answer import Answer, Elcano


@pytest.fixture
def elcano(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Elcano:
    """Run a command in this process, as its console script does."""
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
