"""NATS dies, or was never there: processing goes on, and in the end every event was told."""

import os
import re
import signal
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.rig.facility import STAGES, Facility, RunningDaemon, check_completed, receive
from daemon.bus.connection_file import connection_file_path, read_connection_file
from daemon.bus.process_mark import ProcessMark
from daemon.bus.roles import Role
from tests.end_to_end.subscriber import durable_by_task, read_step_events

MOVIES = 6
TASKS = MOVIES * len(STAGES)
NOBODY_LISTENS = "nats://127.0.0.1:1"
SESSION = "night"


def test_nothing_is_lost_when_the_server_is_killed(tmp_path: Path, quick_session: Path) -> None:
    facility = Facility.build(tmp_path)
    receive(quick_session, facility.gpfs / SESSION)
    killed = []
    with facility.running() as daemon:
        for recorded in (2, TASKS // 2):
            _wait_for_records(facility, daemon, recorded)
            killed.append(_kill_server(facility, daemon))
        _wait_for_records(facility, daemon, TASKS)
        assert daemon.process.poll() is None
        events = read_step_events(facility, completed=TASKS)
        assert facility.ask("status")["bus"]["connected"] is True
        assert daemon.stop() == 0
    assert len(set(killed)) == 2
    told = {event.id: event for event in events}
    assert all(told[event.id] == event for event in events), "a repeat differs from what it repeats"
    tasks = durable_by_task(list(told.values()))
    assert len(tasks) == TASKS
    for of_task in tasks.values():
        assert [event.type for event in of_task] == ["magellon.step.started", "magellon.step.completed"]
    check_completed(facility, movies=MOVIES)
    assert all(published for _, published in facility.outbox())


def _wait_for_records(facility: Facility, daemon: RunningDaemon, wanted: int) -> None:
    daemon.wait_until(lambda: len(facility.records(SESSION)) >= wanted, f"{wanted} records")


def _kill_server(facility: Facility, daemon: RunningDaemon) -> ProcessMark:
    """Kill the embedded server and wait until another one has taken its place."""

    def server() -> ProcessMark | None:
        content = read_connection_file(connection_file_path(facility.state, Role.OPERATOR))
        return content.server if content is not None and content.server.program() is not None else None

    mark = daemon.wait_until(server, "the NATS server")
    assert mark.program() == "nats-server"
    os.kill(mark.pid, signal.SIGKILL)
    daemon.wait_until(lambda: (now := server()) is not None and now != mark, "a new NATS server")
    return mark


def test_without_nats_movies_are_processed_and_the_next_daemon_tells(tmp_path: Path, quick_session: Path) -> None:
    facility = Facility.build(tmp_path, sections={"bus": {"url": NOBODY_LISTENS}})
    names = [path.name for path in sorted((quick_session / "frames").iterdir())[:3]]
    broken = receive(quick_session, facility.gpfs / SESSION, names)[0]
    content = broken.read_bytes()
    broken.unlink()
    broken.write_bytes(content[: len(content) // 2])
    alone = facility.run_once()
    assert alone.code == 1, alone.err
    assert f"{SESSION}: 2 done, 1 quarantined" in alone.out
    assert f"NATS at {NOBODY_LISTENS} cannot be reached" in alone.err
    waiting = [envelope for envelope, published in facility.outbox() if not published]
    assert len(waiting) == len(facility.outbox())
    steps = [envelope for envelope in waiting if envelope.type.startswith("magellon.step.")]
    assert len(steps) == 2 * 2 * len(STAGES) + len(STAGES)  # started and completed; skipped
    status = facility.elcano("status")
    assert status.code == 1
    assert NOBODY_LISTENS in status.err

    facility.configure({})
    with facility.running() as daemon:
        daemon.wait_until(facility.answers, "an answer over its own NATS server")
        events = read_step_events(facility, completed=2 * len(STAGES))
        assert daemon.stop() == 0
    assert [event.id for event in events] == [envelope.id for envelope in steps]
    assert all(published for _, published in facility.outbox())


def test_a_daemon_that_cannot_be_reached_is_asked_through_its_snapshots(tmp_path: Path, quick_session: Path) -> None:
    sections = {"bus": {"url": NOBODY_LISTENS}, "store": {"snapshot_interval_s": 5}}
    facility = Facility.build(tmp_path, sections=sections)
    receive(quick_session, facility.gpfs / SESSION, [next((quick_session / "frames").glob("*.tif")).name])
    snapshot = facility.home / SESSION / "tables" / "micrographs.parquet"
    with facility.running() as daemon:
        _wait_for_records(facility, daemon, len(STAGES))
        daemon.wait_until(
            lambda: snapshot.exists() and _states(snapshot) == ["done"], "a snapshot of the finished movie"
        )
        asked = facility.elcano("query", "SELECT state FROM micrographs", "--format", "csv")
    assert (asked.code, asked.out) == (0, "state\ndone\n")
    assert re.fullmatch(r"elcano: the daemon does not answer; tables as they were \d+ s ago\.\n", asked.err)


def _states(snapshot: Path) -> list[str]:
    states: list[str] = pq.read_table(snapshot, columns=["state"])["state"].to_pylist()
    return states
