"""A daemon that must not start says who or what is in its way, and changes nothing."""

import os
from pathlib import Path

from benchmarks.rig.facility import Facility, receive
from daemon.engine.claim import HomeClaim


def test_a_home_that_another_daemon_works_in(tmp_path: Path) -> None:
    facility = Facility.build(tmp_path)
    first = HomeClaim(facility.home, tmp_path / "other-state")
    first.take()
    refused = facility.run_once()
    assert refused.code == 1
    last = refused.err.splitlines()[-1]
    assert last.startswith(f"elcano: {facility.home}: the daemon with process {os.getpid()} on ")
    assert "other-state" in last
    assert last.endswith("Stop it first, or give this one a [paths] home of its own.")
    first.release()


def test_a_damaged_store_is_named_and_left_alone(tmp_path: Path) -> None:
    facility = Facility.build(tmp_path)
    facility.state.mkdir()
    store = facility.state / "elcano.duckdb"
    store.write_bytes(b"what a failing disk left of it" * 1000)
    before = store.read_bytes()
    refused = facility.run_once()
    assert refused.code == 1
    assert f"elcano: The database {store}: it is damaged or not a store" in refused.err
    assert "Put back the copy kept beside it" in refused.err
    assert "Traceback" not in refused.err
    assert store.read_bytes() == before


def test_libraries_that_cannot_be_loaded_are_told_at_the_start_though_nothing_is_to_be_computed(tmp_path: Path) -> None:
    facility = Facility.build(tmp_path / "facility")
    (tmp_path / "torch.py").write_text('raise ImportError("libcudart.so.12: cannot open shared object file")\n')
    facility.environment["PYTHONPATH"] = f"{tmp_path}:{facility.environment['PYTHONPATH']}"
    refused = facility.run_once()
    assert refused.code == 1
    assert refused.err.splitlines()[-1] == (
        "elcano: PyTorch cannot be loaded: ImportError: libcudart.so.12: cannot open shared object file. "
        "Install Elcano again, then start it."
    )
    assert "Traceback" not in refused.err
    doctor = facility.elcano("doctor")
    assert doctor.code == 1
    assert "fail  compute device: not loaded: ImportError: libcudart.so.12" in doctor.out


def test_a_library_that_kills_who_loads_it_is_told_and_costs_waiting_movies_no_attempt(
    tmp_path: Path, quick_session: Path
) -> None:
    facility = Facility.build(tmp_path / "facility")
    movies = receive(quick_session, facility.gpfs / "night")
    facility.configure({"limits": {"disk_reserve_gib": 10**6}})  # nothing is taken up
    complete = "SELECT count(*) AS movies FROM movie WHERE state = 'complete'"
    with facility.running() as daemon:
        daemon.wait_until(facility.answers, "an answer")
        daemon.wait_until(lambda: facility.ask_rows(complete) == [{"movies": len(movies)}], "movies to wait")
    facility.configure({})
    (tmp_path / "torch.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    facility.environment["PYTHONPATH"] = f"{tmp_path}:{facility.environment['PYTHONPATH']}"
    refused = facility.run_once()
    assert refused.code == 1
    assert refused.err.splitlines()[-1] == (
        "elcano: PyTorch cannot be loaded: loading it was ended by SIGILL (Illegal instruction). "
        "Install Elcano again, then start it."
    )
    assert facility.rows("SELECT DISTINCT state, attempts FROM task") == [{"state": "pending", "attempts": 0}]
