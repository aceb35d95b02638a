"""SIGKILL at random moments of a session: in the end the same bytes, and every movie done once.

The long form, with any number of kills, is `python -m benchmarks.kills`.
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.rig.facility import (
    STAGES,
    Facility,
    RunningDaemon,
    check_completed,
    fingerprint,
    read_tree,
    receive,
    temporary_files,
)
from daemon.bus.process_mark import ProcessMark

MOVIES = 6
KILLS_AT_WORK = 5


@pytest.mark.timeout(900)  # nine starts of the daemon, each of which compiles and proves
def test_killed_again_and_again_it_ends_as_if_undisturbed(tmp_path: Path, quick_session: Path) -> None:
    raw = tmp_path / "gpfs"
    receive(quick_session, raw / "night")
    before = fingerprint(raw)
    calm = Facility.build(tmp_path / "calm", gpfs=raw)
    assert calm.run_once().code == 0

    torn = Facility.build(tmp_path / "torn", gpfs=raw)
    rng = random.Random(31)
    moments = [_first_store, _connection_file, *_moments_at_work(rng)]
    for number, moment in enumerate(moments):
        with torn.running("--once") as daemon:
            moment(torn, daemon)
        assert daemon.process.returncode == -9, f"kill {number} came too late"
    last = torn.run_once()
    assert last.code == 0, last.err

    check_completed(torn, movies=MOVIES)
    interrupted = torn.rows("SELECT count(*) AS n FROM attempt WHERE outcome = 'interrupted'")
    assert interrupted[0]["n"] >= KILLS_AT_WORK // 2
    assert all(published for _, published in torn.outbox())
    assert temporary_files(torn.home) == []
    # tables/ holds times, .elcano/ the daemon's own signs; everything else is a function of the movies alone.
    wanted = read_tree(calm.home, leave_out=(".elcano",))
    got = read_tree(torn.home, leave_out=(".elcano",))
    assert {name: got[name] for name in got if "/tables/" not in name} == {
        name: wanted[name] for name in wanted if "/tables/" not in name
    }
    assert len(got) > MOVIES * (12 + len(STAGES))
    assert torn.elcano("audit", "--deep").code == 0
    assert fingerprint(raw) == before
    assert _servers_left(torn) == []


Moment = Callable[[Facility, RunningDaemon], None]


def _first_store(facility: Facility, daemon: RunningDaemon) -> None:
    """The database has just been made, perhaps not all of its tables."""
    daemon.wait_until((facility.state / "elcano.duckdb").exists, "the database")


def _connection_file(facility: Facility, daemon: RunningDaemon) -> None:
    """The embedded server has just started."""
    daemon.wait_until((facility.state / "nats.json").exists, "the NATS server")


def _moments_at_work(rng: random.Random) -> list[Moment]:
    """After so many more records; then at once, at the first unfinished file, or some files later."""
    moments: list[Moment] = []
    recorded = 0
    for number in range(KILLS_AT_WORK):
        recorded += rng.randint(1, 2) if number == 0 else rng.randint(3, 4)
        moments.append(_moment(recorded, ("at once", "unfinished", "files")[number % 3], rng.randint(1, 4)))
    return moments


def _moment(recorded: int, then: str, files: int) -> Moment:
    def wait(facility: Facility, daemon: RunningDaemon) -> None:
        home = facility.home / "night"
        daemon.wait_until(lambda: len(facility.records("night")) >= recorded, f"{recorded} records")
        if then == "unfinished":
            enough = recorded + len(STAGES)  # one is there for milliseconds, and may be overlooked
            daemon.wait_until(
                lambda: temporary_files(home) or len(facility.records("night")) >= enough, "an unfinished file"
            )
        elif then == "files":
            known = len(read_names(home))
            daemon.wait_until(lambda: len(read_names(home)) >= known + files, f"{files} more files")

    return wait


def read_names(home: Path) -> list[Path]:
    return [path for path in home.glob("*/*") if path.parent.name in {"motioncor", "ctf", "fft", "thumbnails"}]


def _servers_left(facility: Facility) -> list[int]:
    """Return embedded servers that outlived their daemon: the kernel ends each with its parent."""
    left = []
    for line in (facility.state / "nats-server.log").read_text(encoding="utf-8", errors="replace").splitlines():
        number = line.partition("[")[2].partition("]")[0]
        mark = ProcessMark.of(int(number)) if number.isdigit() else None
        if mark is not None and (mark.program() or "").startswith("nats-server"):
            left.append(mark.pid)
    return left
