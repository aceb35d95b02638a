"""A disk that is really full: a file system of a few MiB, mounted for the test alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rig.facility import REPOSITORY
from tests.faults.small_disk import MOVIES


def run_apart(program: str, folder: Path) -> Any:
    """Run a program of small_disk in a mount namespace of its own and return its result."""
    isolate = ["unshare", "--map-root-user", "--mount"]
    try:
        probe = subprocess.run([*isolate, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("unshare is not installed")
    if probe.returncode != 0:
        pytest.skip(f"no file system may be mounted here: {probe.stderr.decode().strip()}")
    done = subprocess.run(
        [*isolate, sys.executable, "-m", "tests.faults.small_disk", program, str(folder)],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    result = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    return json.loads(result.removeprefix("RESULT "))


def test_movies_wait_for_room_and_are_done_when_there_is_some(tmp_path: Path) -> None:
    end = run_apart("home", tmp_path)
    assert end["states"] == ["done"] * len(MOVIES)
    assert end["waits"] >= 3
    assert set(end["kinds"]) <= {"", "disk_full", "upstream"}
    assert "disk_full" in end["kinds"]
    assert "No space left on device" in end["told"][0]
    assert len(end["outputs"]) == 5 * len(MOVIES)
    assert set(end["outputs"].values()) == {1024 + 4 * 64 * 64}
    assert end["leftovers"] == []


def test_a_store_on_a_full_disk_loses_nothing_it_has_acknowledged(tmp_path: Path) -> None:
    end = run_apart("store", tmp_path)
    assert end["refusal"], "the disk never got full"
    assert "Check free space" in end["refusal"]
    assert "its disk is full" in end["refused_at_start"]
    assert "damaged" not in end["refused_at_start"]
    assert end["kept"] + 1 <= end["found"] <= end["kept"] + 2
