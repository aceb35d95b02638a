"""The unit file, judged by systemd itself; its exit code says nothing about unknown keys, its words do."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from daemon.config.layers import PASSED_CREDENTIALS
from tests.oracles import find_program

SYSTEMD = Path(__file__).parents[2] / "systemd"
MOST_EXPOSED = 2.5


@pytest.fixture
def analyze() -> str:
    """Where systemd-analyze is."""
    return find_program("systemd-analyze", "systemd")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as it is installed, but for the program, which is not there."""
    text = (SYSTEMD / "elcano.service").read_text(encoding="utf-8")
    program = "/opt/elcano/.venv/bin/elcano"
    assert text.count(program) == 1
    path = tmp_path / "elcano.service"
    path.write_text(text.replace(program, "/bin/true"), encoding="utf-8")
    (tmp_path / "elcano.service.d").mkdir()
    return path


def complaints(analyze: str, unit: Path) -> str:
    """What systemd says of a unit."""
    done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr


def version_of(analyze: str) -> int:
    """Which systemd this is."""
    said = subprocess.run([analyze, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    found = re.match(r"systemd (\d+)", said)
    assert found is not None
    return int(found[1])


def test_systemd_understands_every_line(analyze: str, unit: Path) -> None:
    assert complaints(analyze, unit) == ""


def test_systemd_understands_the_example_for_a_site_with_every_line_taken(analyze: str, unit: Path) -> None:
    text = (SYSTEMD / "site.conf").read_text(encoding="utf-8")
    taken = re.sub(r"^#(?=[A-Z][A-Za-z]+=)", "", text, flags=re.MULTILINE)
    assert taken.count("\nDeviceAllow=") == 3
    (unit.with_suffix(".service.d") / "site.conf").write_text(taken, encoding="utf-8")
    assert complaints(analyze, unit) == ""


def test_the_longer_waits_are_understood_where_systemd_has_them(analyze: str, unit: Path) -> None:
    shutil.copy(SYSTEMD / "backoff.conf", unit.with_suffix(".service.d"))
    said = complaints(analyze, unit)
    if version_of(analyze) >= 254:
        assert said == ""
    else:
        assert "Unknown key 'RestartSteps'" in said


def test_a_key_that_does_not_exist_is_noticed(analyze: str, unit: Path) -> None:
    (unit.with_suffix(".service.d") / "site.conf").write_text("[Service]\nRestartOften=yes\n")
    assert "RestartOften" in complaints(analyze, unit)


def test_the_service_is_hardened(analyze: str, unit: Path) -> None:
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    level = re.search(r"Overall exposure level for elcano\.service: ([0-9.]+)", done.stdout)
    assert level is not None, done.stdout + done.stderr
    assert float(level[1]) <= MOST_EXPOSED


def test_what_cuda_and_shared_file_systems_need_is_not_taken_away() -> None:
    service = read_unit()
    for key in ("MemoryDenyWriteExecute", "ProcSubset", "PrivateUsers", "DynamicUser", "PrivateNetwork"):
        assert key not in service, key
    assert service["PrivateDevices"] == "no"
    assert "~" not in service["SystemCallFilter"]


def test_the_unit_and_the_daemon_agree() -> None:
    service = read_unit()
    assert service["Type"] == "notify"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert service["Restart"] == "always"
    assert float(service["WatchdogSec"]) > 0
    assert service["LoadCredential"].startswith(f"{PASSED_CREDENTIALS}:")
    assert service["StateDirectory"] == "elcano"


def test_the_install_page_names_files_that_are_there() -> None:
    page = (SYSTEMD / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w/.])(?:systemd|requirements)/[\w.-]+\w", page))
    assert {"systemd/elcano.service", "systemd/site.conf", "systemd/backoff.conf"} <= named
    for name in named:
        assert (SYSTEMD.parent / name).is_file(), name


def read_unit() -> dict[str, str]:
    """The keys of the [Service] section, the last of each."""
    text = (SYSTEMD / "elcano.service").read_text(encoding="utf-8")
    unit, service, install = (part.partition("\n[")[0] for part in re.split(r"^\[\w+\]$", text, flags=re.MULTILINE)[1:])
    assert "StartLimitIntervalSec=0" in unit
    assert "WantedBy=multi-user.target" in install
    return dict(line.split("=", 1) for line in service.splitlines() if line and not line.startswith("#"))
