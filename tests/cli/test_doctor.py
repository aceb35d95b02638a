"""`elcano doctor`: each thing it looks at, when it is well and when it is not."""

import errno
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rig.facility import Facility
from daemon.cli import doctor_folders, doctor_machine
from daemon.cli.findings import Inspection
from daemon.engine.gpu_check import GpuReport, look_for_gpus
from daemon.watchers.mounts import Mount
from tests.cli.answer import Elcano

Findings = dict[str, dict[str, str]]
Diagnose = Callable[..., tuple[int, Findings]]


@pytest.fixture(autouse=True)
def calm_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this test machine lacks or has is not the subject."""
    monkeypatch.setattr(doctor_machine, "is_clock_synchronised", lambda: True)
    monkeypatch.setattr(doctor_machine, "memory_limit_bytes", lambda: 64 * 2**30)
    monkeypatch.setattr("daemon.engine.gpu_check.look_for_gpus", lambda: GpuReport(()))


@pytest.fixture
def diagnose(elcano: Elcano, facility: Facility) -> Diagnose:
    """Exit code and the last finding about each thing."""

    def run(**sections: Any) -> tuple[int, Findings]:
        facility.configure(sections)
        answer = elcano("doctor", "--config", facility.config, "--json")
        assert answer.err == ""
        return answer.code, {finding["what"]: finding for finding in json.loads(answer.out)}

    return run


def test_a_good_facility(elcano: Elcano, facility: Facility) -> None:
    answer = elcano("doctor", "--config", facility.config)
    assert (answer.code, answer.err) == (0, ""), answer.out
    lines = answer.out.splitlines()
    assert all(line.startswith("ok    ") for line in lines), answer.out
    found = {line.removeprefix("ok    ").partition(":")[0] for line in lines}
    assert found == {
        *("program", "configuration", "watched root", "home", "state", "nats-server", "daemon", "database", "memory"),
        *("GPU", "compute device", "clock", "passed over"),
    }
    assert not facility.state.exists()
    assert not facility.home.exists()


def test_what_fails_says_what_to_do(diagnose: Diagnose, facility: Facility) -> None:
    missing = facility.root / "not mounted"
    facility.state.mkdir()
    (facility.state / "elcano.duckdb").write_bytes(b"not a database")
    code, found = diagnose(
        watch={"roots": [str(missing)]},
        session=[{"directory": str(facility.root / "gone")}],
        limits={"disk_reserve_gib": 1_000_000},
        bus={"url": "nats://127.0.0.1:1"},
        compute={"byte_budget_gib": 100},
    )
    failed = {what for what, finding in found.items() if finding["status"] == "fail"}
    assert code == 1
    assert failed == {"watched root", "session directory", "home", "daemon", "database", "memory"}
    assert found["watched root"]["found"] == f"{missing} is not there"
    assert "cannot be reached" in found["daemon"]["found"]
    assert found["memory"]["hint"] == "Set [compute] byte_budget_gib to 62 or less."
    assert all(found[what]["hint"] for what in failed)


def test_a_warning_is_no_failure(
    diagnose: Diagnose, facility: Facility, monkeypatch: pytest.MonkeyPatch, elcano: Elcano
) -> None:
    monkeypatch.setattr(doctor_machine, "is_clock_synchronised", lambda: False)
    code, found = diagnose(compute={"byte_budget_gib": 63})
    assert code == 0
    assert {what for what, finding in found.items() if finding["status"] == "warn"} == {"memory", "clock"}
    words = elcano("doctor", "--config", facility.config).out
    assert "\nwarn  clock: not synchronised, as the kernel says -> Latency" in words


def test_file_systems_of_roots_and_state(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "local: the kernel tells of new files" in diagnose()[1]["watched root"]["found"]
    monkeypatch.setattr("daemon.watchers.mounts.find_mount", lambda path: Mount(path, "gpfs", "/dev/gpfs0"))
    code, found = diagnose()
    assert code == 0
    assert "(gpfs, network: polled)" in found["watched root"]["found"]
    assert (found["state"]["status"], found["state"]["found"]) == ("warn", "lies on gpfs")


@pytest.mark.parametrize(
    ("mode", "status"), [(0o700, "ok"), (0o750, "ok"), (0o755, "warn"), (0o701, "warn"), (0o704, "warn")]
)
def test_state_that_others_may_read(diagnose: Diagnose, facility: Facility, mode: int, status: str) -> None:
    facility.state.mkdir()
    facility.state.chmod(mode)
    code, found = diagnose()
    assert (code, found["state"]["status"]) == (0, status)
    if status == "warn":
        assert found["state"]["found"].startswith(f"{facility.state} has mode {mode:04o}")
        assert found["state"]["hint"] == f"chmod o-rwx {facility.state}"


def test_rights_of_the_user(diagnose: Diagnose, facility: Facility, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked of the system by name, as the user that runs the tests may be root."""

    def refuse(folder: Path) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    facility.home.mkdir()
    monkeypatch.setattr(os, "scandir", refuse)
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **more: path != facility.home and may(path, mode, **more))
    code, found = diagnose()
    assert code == 1
    assert found["watched root"]["found"] == f"{facility.gpfs}: Permission denied"
    assert "not writable" in found["home"]["found"]


def test_a_home_that_is_mounted_read_only_is_said_to_be(
    diagnose: Diagnose, facility: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    facility.home.mkdir()
    may, look = os.access, os.statvfs
    monkeypatch.setattr(os, "access", lambda path, mode, **more: path != facility.home and may(path, mode, **more))

    def look_at_mount(path: Path) -> os.statvfs_result:
        found = list(look(path))
        found[8] |= os.ST_RDONLY if path == facility.home else 0
        return os.statvfs_result(found)

    monkeypatch.setattr(os, "statvfs", look_at_mount)
    assert "on a read-only mount" in diagnose()[1]["home"]["found"]


def test_clocks_of_machine_and_file_server(
    diagnose: Diagnose, facility: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    facility.home.mkdir()
    assert "differ by 0.0 s" in diagnose()[1]["clock"]["found"]
    assert list(facility.home.iterdir()) == []
    monkeypatch.setattr(doctor_folders, "file_time_skew_s", lambda folder: -7.0)
    code, found = diagnose()
    assert (code, found["clock"]["status"]) == (0, "warn")
    assert "differ by 7.0 s" in found["clock"]["found"]


def test_folders_that_are_passed_over(diagnose: Diagnose, facility: Facility) -> None:
    for name in ("forgotten", "named"):
        (facility.gpfs / name / "frames").mkdir(parents=True)
        (facility.gpfs / name / "frames" / "x.tif").touch()
    code, found = diagnose(session=[{"directory": str(facility.gpfs / "named")}])
    assert (code, found["passed over"]["status"]) == (0, "warn")
    assert found["passed over"]["found"] == f"movies but no session.json in {facility.gpfs / 'forgotten'}"
    assert "elcano import DIR" in found["passed over"]["hint"]


def test_a_root_that_is_not_there_is_told_once(diagnose: Diagnose, facility: Facility) -> None:
    missing = facility.root / "nope"
    code, found = diagnose(paths={"gpfs": str(missing)})
    assert code == 1
    assert (found["watched root"]["status"], "passed over" in found) == ("fail", False)
    assert str(missing) in found["watched root"]["found"]


def test_sessions_that_cannot_be_imported(diagnose: Diagnose, facility: Facility) -> None:
    broken = facility.gpfs / "broken" / "session.json"
    broken.parent.mkdir()
    broken.write_text('{"msession": ')
    code, found = diagnose()
    assert (code, found["session"]["status"]) == (1, "fail")
    assert str(broken) in found["session"]["found"]

    broken.unlink()
    elsewhere = facility.root / "elsewhere.json"
    elsewhere.write_text('{"msession": {}, "images": []}')
    broken.symlink_to(elsewhere)
    code, found = diagnose()
    assert code == 1
    assert found["session"]["found"].startswith(f"{broken} lies outside the allowed roots")

    said = {"directory": "/gpfs/b", "reason": "The name is taken."}
    status = {"passed_over": [], "not_imported": [said]}
    inspection = Inspection(settings=None, daemon=status, daemon_problem=None)  # type: ignore[arg-type]
    (finding,) = doctor_folders.check_imports(inspection)
    assert (finding.status, finding.found) == ("fail", "/gpfs/b could not be imported: The name is taken.")


def test_what_troubles_a_running_daemon_is_told_with_its_time() -> None:
    said = {
        "text": "/gpfs/a cannot be watched: Permission denied.",
        "since": "2026-11-21T19:32:55+00:00",
        "hint": "Let us.",
    }
    inspection = Inspection(settings=None, daemon={"troubles": [said] * 25}, daemon_problem=None)  # type: ignore[arg-type]
    first, *_, last = doctor_folders.check_troubles(inspection)
    assert (first.status, first.hint) == ("fail", "Let us.")
    assert first.found.startswith("since 2")
    assert first.found.endswith(": /gpfs/a cannot be watched: Permission denied.")
    assert last.found == "and 5 more"


def test_a_gpu_that_is_asked_for_and_not_there(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("daemon.engine.gpu_check.look_for_gpus", lambda: GpuReport((), "the driver shows nvidia0, but"))
    code, found = diagnose(compute={"device": "cuda"})
    assert (code, found["GPU"]["status"], found["compute device"]["status"]) == (1, "warn", "fail")


def test_drivers_that_do_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mute() -> bool:
        import warnings

        warnings.warn("CUDA initialization: the driver is too old", stacklevel=1)
        return False

    monkeypatch.setattr("torch.cuda.is_available", mute)
    absent = tmp_path / "no driver"
    assert look_for_gpus(absent, tmp_path) == GpuReport(())
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr("torch.version.cuda", None)
    assert look_for_gpus(absent, tmp_path).problem == (
        "the driver shows nvidia0, but this PyTorch is built for the CPU only"
    )
    monkeypatch.setattr("torch.version.cuda", "12.6")
    assert look_for_gpus(absent, tmp_path).problem == (
        "the driver shows nvidia0, but PyTorch (CUDA 12.6) cannot use it: CUDA initialization: the driver is too old"
    )


def test_memory_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    limit = tmp_path / "memory.max"
    machine = doctor_machine.memory_limit_bytes(limit)
    assert machine > 2**28
    limit.write_text("max\n")
    assert doctor_machine.memory_limit_bytes(limit) == machine
    limit.write_text("268435456\n")
    assert doctor_machine.memory_limit_bytes(limit) == 2**28


def test_the_kernel_is_asked_about_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert doctor_machine.is_clock_synchronised() in {True, False, None}


def test_programs_that_steps_run(diagnose: Diagnose) -> None:
    motion = {"backend": "program", "command": ["no-such-MotionCor", "{movie}"]}
    ctf = {"backend": "program", "command": ["/bin/sh"]}
    code, found = diagnose(stages={"motion_correction": motion, "ctf_estimation": ctf})
    assert code == 1
    missing = found["program of motion_correction"]
    assert (missing["status"], missing["hint"]) == ("fail", "Name it by its whole path, or install it.")
    assert "no-such-MotionCor is not there" in missing["found"]
    assert (found["program of ctf_estimation"]["status"], found["program of ctf_estimation"]["found"]) == (
        "ok",
        "/bin/sh",
    )


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[Path]]:
    """Folders whose file server is gone: whoever looks there, in whatever way, does not come back while it is."""
    folders: set[Path] = set()
    back = threading.Event()

    def hang_on(look: Callable[..., Any]) -> Callable[..., Any]:
        def hanging(path: Any, *rest: Any, **more: Any) -> Any:
            if isinstance(path, str | Path) and any(Path(path).is_relative_to(folder) for folder in folders):
                back.wait()
            return look(path, *rest, **more)

        return hanging

    for name in ("stat", "scandir", "statvfs", "access", "listdir", "lstat"):
        monkeypatch.setattr(os, name, hang_on(getattr(os, name)))
    monkeypatch.setattr("os.path.realpath", hang_on(os.path.realpath))
    monkeypatch.setattr("daemon.cli.options._HOME_LIMIT_S", 0.5)
    for module in (doctor_folders, doctor_machine):
        monkeypatch.setattr(module, "LOOK_LIMIT_S", 0.5)
    monkeypatch.setattr("daemon.config.places.REAL_PLACES._limit_s", 0.5)
    yield folders
    back.set()
    for thread in threading.enumerate():
        if thread.name.startswith("elcano-"):
            thread.join()


def test_what_does_not_answer_is_said_and_holds_up_nothing(
    diagnose: Diagnose, facility: Facility, dead: set[Path]
) -> None:
    """As on an NFS mount whose server has died: every other thing is looked at all the same."""
    gone, here = facility.root / "gone", facility.root / "here"
    (here / "forgotten" / "frames").mkdir(parents=True)
    (here / "forgotten" / "frames" / "x.tif").touch()
    dead.add(gone)
    code, found = diagnose(watch={"roots": [str(gone), str(here)]}, session=[{"directory": str(gone / "named")}])
    assert code == 1
    directory = found["session directory"]
    assert directory["status"] == "fail"
    assert directory["found"] == f"{gone / 'named'} does not answer: nothing has come back within 0.5 s"
    assert "check the mount" in directory["hint"]
    assert found["passed over"]["found"] == f"movies but no session.json in {here / 'forgotten'}"
    assert {"home", "state", "database", "memory", "clock"} <= found.keys()


def test_a_home_that_does_not_answer(diagnose: Diagnose, facility: Facility, dead: set[Path]) -> None:
    facility.home.mkdir()
    dead.add(facility.home)
    code, found = diagnose()
    assert (code, found["home"]["status"], found["state"]["status"]) == (1, "fail", "ok")
    assert found["home"]["found"].startswith(f"{facility.home} does not answer")
    assert found["clock"]["found"] == "synchronised", "file times are not asked for"
