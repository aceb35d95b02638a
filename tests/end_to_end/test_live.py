"""A daemon that stays: sessions appear under its root, grow slowly, are found, processed and told to subscribers."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.rig.facility import STAGES, Facility, RunningDaemon, receive
from benchmarks.rig.microscope import expose, read_lines
from benchmarks.rig.sessions import QUICK
from daemon.formats.mrc_writer import write_mrc
from daemon.messages.envelope import Envelope
from daemon.simulator.plan import FormatChoice
from tests.end_to_end.subscriber import durable_by_task, read_step_events

FORMATS: dict[str, FormatChoice] = {"arriving_mrc": "mrc", "arriving_tiff": "tiff", "arriving_eer": "eer"}
MOVIES = 2
"""In each session."""
LIMIT_S = 180.0
"""From a movie's last write to the start of its first task: forgotten, not slow (benchmarks/watching.py measures)."""


@dataclass(frozen=True)
class Live:
    """A running daemon that has processed what a microscope wrote; `written` gives when each movie was whole."""

    facility: Facility
    daemon: RunningDaemon
    written: dict[str, float]
    sessions_before: list[str]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("live")
    facility = Facility.build(root, sections={"watch": None})  # with the waits that users have
    exposures = [
        replace(QUICK, root=str(facility.gpfs), name=name, movies=MOVIES, movie_format=movie_format, **_SLOW)
        for name, movie_format in FORMATS.items()
    ]
    with facility.running() as daemon:
        daemon.wait_until(facility.answers, "an answer")
        before = [session["name"] for session in facility.ask("status")["sessions"]]
        with expose(exposures, root / "request.json", facility.environment) as microscope:
            assert microscope.stdout is not None
            written = {line["movie"]: line["at_s"] for line in read_lines(microscope.stdout)}
        assert microscope.returncode == 0
        owed = MOVIES * len(STAGES)
        daemon.wait_until(lambda: all(len(facility.records(name)) == owed for name in FORMATS), "every movie")
        daemon.wait_until(lambda: _is_at_rest(facility), "the ends of their visits")
        yield Live(facility, daemon, written, before)
        assert daemon.stop() == 0


def _is_at_rest(facility: Facility) -> bool:
    """Whether it tells of every movie that it is done: their last records are written a moment before that."""
    status = facility.ask("status")
    done = {session["name"]: session["movies"].get("done") for session in status["sessions"]}
    return all(done.get(name) == MOVIES for name in FORMATS) and status["queues"]["scheduler"]["in_flight"] == 0


_SLOW: dict[str, Any] = {"write_s": 3.0, "interval_s": 4.0}


def test_sessions_are_found_by_themselves(live: Live) -> None:
    assert live.sessions_before == []
    answer = live.facility.elcano("status", "--json")
    assert (answer.code, answer.err) == (0, "")
    status = json.loads(answer.out)
    found = {session["name"]: session for session in status["sessions"]}
    assert set(FORMATS) <= set(found)
    for name in FORMATS:
        assert found[name]["state"] == "open"
        assert found[name]["movies"]["done"] == MOVIES
        assert found[name]["latency"]["p95_s"] > 0
    jobs = {job["session"]: job for job in status["jobs"]}
    for name in FORMATS:
        # The session is open: more may come.
        assert jobs[name]["state"] == "running"
        assert jobs[name]["steps"] == {stage: {"completed": MOVIES} for stage in STAGES}
    assert status["bus"]["connected"] is True
    assert status["queues"]["scheduler"]["in_flight"] == 0


def test_no_task_starts_early_and_none_is_late(live: Live, record_property: Any) -> None:
    tasks = durable_by_task(read_step_events(live.facility, completed=len(FORMATS) * MOVIES * len(STAGES)))
    starts: dict[str, float] = {}
    for events in tasks.values():
        name, at_s = events[0].data["image_name"], events[0].time.timestamp()
        starts[name] = min(at_s, starts.get(name, at_s))
    waits: dict[str, list[float]] = {}
    for name, at_s in starts.items():
        if name in live.written:
            (path,) = live.facility.gpfs.glob(f"*/frames/{name}.*")
            last_write_s = path.stat().st_mtime
            assert last_write_s <= live.written[name] < at_s, f"{path.name} was started before it was whole"
            waits[path.suffix] = [*waits.get(path.suffix, []), at_s - last_write_s]
    assert {suffix: len(values) for suffix, values in waits.items()} == dict.fromkeys((".mrc", ".tif", ".eer"), MOVIES)
    ordered = sorted(wait for values in waits.values() for wait in values)
    told = {suffix: [round(wait, 2) for wait in values] for suffix, values in waits.items()}
    print("last write to start, s:", told)  # noqa: T201 - the figures of this machine, shown by -s
    record_property("last_write_to_start_s", str(told))
    assert ordered[-1] <= LIMIT_S


def test_subscribers_hear_of_every_task_in_order(live: Live) -> None:
    events = read_step_events(live.facility, completed=len(FORMATS) * MOVIES * len(STAGES))
    ids = [event.id for event in events]
    assert len(ids) == len(set(ids))
    tasks = durable_by_task(events)
    of_written = {key: told for key, told in tasks.items() if told[0].data["image_name"] in live.written}
    assert len(of_written) == len(FORMATS) * MOVIES * len(STAGES)
    for told in of_written.values():
        assert [event.type for event in told] == ["magellon.step.started", "magellon.step.completed"]
        started, completed = told
        assert started.subject == completed.subject == f"magellon.job.{started.data['job_id']}.step.{_slug(started)}"
        assert started.time <= completed.time
        home = live.facility.home / completed.data["image_name"].partition("_000")[0]
        assert completed.data["output_files"]
        assert all((home / path).is_file() for path in completed.data["output_files"])
        assert completed.data["metrics"]


def _slug(event: Envelope) -> str:
    slug = event.data["step"]
    assert slug in {"motioncor", "ctf", "fft", "thumbnail"}
    return str(slug)


def test_what_cannot_be_imported_is_refused_with_a_sentence(live: Live, tmp_path: Path) -> None:
    refused = live.facility.elcano("import", tmp_path)
    assert refused.code == 1
    assert "lies outside the allowed roots" in refused.err
    assert "[watch] roots" in refused.err
    assert live.facility.elcano("import", tmp_path / "nothing").code == 2


def test_a_failed_task_is_retried_once_its_cause_is_mended(live: Live, quick_session: Path) -> None:
    """A session below a folder of the root is not looked for; its gain has another camera's shape."""
    facility = live.facility
    raw = facility.gpfs / "group" / "imported"
    (movie,) = receive(quick_session, raw, [next((quick_session / "frames").glob("*.tif")).name])
    gain = raw / "gains" / "gain.mrc"
    gain.unlink()
    write_mrc(gain, np.ones((64, 64), dtype=np.float32), pixel_size_ang=2.0)
    imported = facility.elcano("import", raw, "--json")
    assert imported.code == 0, imported.err
    answer = json.loads(imported.out)
    assert (answer["session"], answer["home"]) == ("imported", str(facility.home / "imported"))
    (record,) = live.daemon.wait_until(lambda: facility.records("imported"), "the failure")
    failed = json.loads(record.read_text(encoding="utf-8"))
    assert failed["state"] == "failed"
    assert failed["error"]["kind"] == "gain_unsuitable"
    assert str(gain) in failed["error"]["message"]
    states = "SELECT stage, task.state, hint FROM task JOIN session USING (session_id) WHERE session.name = 'imported'"
    live.daemon.wait_until(lambda: _ask(facility, states)["thumbnail"]["state"] == "skipped", "what depends on it")
    assert "then retry" in _ask(facility, states)["motion_correction"]["hint"]

    gain.unlink()
    gain.hardlink_to(quick_session / "gains" / "gain.mrc")
    retried = facility.elcano("retry", "--session", "imported")
    assert (retried.code, retried.out) == (0, "1 task(s) of 1 movie(s) will run again\n")
    live.daemon.wait_until(
        lambda: {row["state"] for row in _ask(facility, states).values()} == {"completed"}, "the retried tasks"
    )
    assert len(facility.records("imported")) == len(STAGES)
    completed = (len(FORMATS) * MOVIES + 1) * len(STAGES)
    tasks = durable_by_task(read_step_events(facility, completed=completed))
    told = [
        [event.type.removeprefix("magellon.step.") for event in events]
        for events in tasks.values()
        if events[0].data["image_name"] == movie.stem
    ]
    assert sorted(told) == [
        *[["skipped", "started", "completed"]] * 3,
        ["started", "failed", "started", "completed"],
    ]


def _ask(facility: Facility, sql: str) -> dict[str, dict[str, Any]]:
    return {row["stage"]: row for row in facility.ask_rows(sql)}


def test_query_is_answered_by_the_running_daemon(live: Live) -> None:
    sql = "SELECT session, count(*) AS movies FROM micrographs WHERE session LIKE 'arriving%' GROUP BY 1 ORDER BY 1"
    asked = live.facility.elcano("query", sql, "--format", "csv")
    assert (asked.code, asked.err) == (0, "")
    assert asked.out == "session,movies\n" + "".join(f"{name},{MOVIES}\n" for name in sorted(FORMATS))


def test_audit_of_a_running_daemon_finds_no_gap(live: Live) -> None:
    audit = live.facility.elcano("audit", "arriving_eer")
    assert (audit.code, audit.err) == (0, "")
    assert "0 gap(s)" in audit.out


def test_a_second_daemon_on_the_same_state_is_refused(live: Live) -> None:
    second = live.facility.elcano("run", "--once")
    assert second.code == 1
    sentence = second.err.strip()
    assert "\n" not in sentence
    assert f"process {live.daemon.process.pid} on " in sentence
    assert "Only one daemon may use a store" in sentence
    assert live.daemon.process.poll() is None
