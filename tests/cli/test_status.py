"""What `elcano status` prints of a daemon's answer, and that `--json` is the answer itself."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from daemon.cli import status as status_command

FAILURE = {
    "session": "24dec03a",
    "name": "x_0007",
    "stage": "ctf_estimation",
    "reason": "voltage_kv of x_0007 is unknown.",
    "hint": "Set acquisition.voltage_kv.",
    "id": "t1",
}
MOVIE = {"session": "24dec03a", "name": "", "stage": "", "reason": "100 bytes are missing", "hint": "", "id": "m9"}


def answer(**changes: Any) -> dict[str, Any]:
    calm = {
        "version": "0.1.0",
        "host": "krios1",
        "pid": 4711,
        "device": "cuda:0",
        "uptime_s": 93784.0,
        "bus": {"connected": True, "url": "nats://127.0.0.1:4222", "problem": None},
        "sessions": [
            {
                "name": "24dec03a",
                "state": "open",
                "movies": {"done": 3, "failed": 1},
                "latency": None,
                "gates": {"passes": 3, "refused": 0, "by_gate": {}, "failed": {}},
                "notes": [],
            }
        ],
        "jobs": [{"kind": "import", "session": "24dec03a", "state": "running", "steps": {"fft": {"completed": 3}}}],
        "queues": {"scheduler": {"waiting": 1, "in_flight": 2, "delayed": 3}, "paused": []},
        "watching": [],
        "passed_over": [],
        "not_imported": [],
        "failures": {"total": 0, "latest": []},
        "troubles": [],
    }
    return calm | changes


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command against an answer."""
    app = typer.Typer()
    app.command()(status_command.status)

    def invoke(data: dict[str, Any], *arguments: str) -> str:
        monkeypatch.setattr(status_command, "read_settings_to_ask", lambda config: None)
        monkeypatch.setattr(status_command, "answer_of", lambda settings, name, asked: data)
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    return invoke


def test_done_without_cancelled_steps_is_not_called_done_alone(run: Any) -> None:
    data = answer()
    data["sessions"][0]["partly_cancelled"] = 2
    assert (
        "24dec03a (open): 3 done, 2 of them with cancelled steps (retry --cancelled takes them up again); 1 failed\n"
    ) in run(data)


def test_a_daemon_that_still_compiles_says_why_nothing_is_done(run: Any) -> None:
    compiling = "preparing what computes (compiling, about a minute the first time)"
    assert f"\nno movie is begun yet: {compiling}\n" in run(answer(preparing=compiling))
    assert "no movie is begun yet" not in run(answer(preparing=""))


def test_a_calm_daemon(run: Any) -> None:
    out = run(answer())
    assert out.startswith("elcano 0.1.0 on krios1 (process 4711, cuda:0), up 1 d 2 h; NATS nats://127.0.0.1:4222 conn")
    assert "24dec03a (open): 3 done, 1 failed" in out
    assert "movies in the queue: 1 waiting, 2 in work, 3 to be retried" in out
    assert "failed or quarantined" not in out
    assert "passed over" not in out


def test_names_that_would_steer_the_terminal_are_spelled_out(run: Any) -> None:
    nasty = "/gpfs/a\x1b[31m\nb.mrc"
    out = run(answer(watching=[{"path": nasty, "reason": "it grows"}], passed_over=[nasty]))
    assert r"/gpfs/a\x1b[31m\nb.mrc: it grows" in out
    assert "\x1b" not in out


def test_troubles_are_shown_first_with_their_time_and_what_to_do(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        trouble = {
            "kind": "not_watched",
            "path": "/gpfs/night/frames",
            "since": "2026-11-21T19:32:55+00:00",
            "text": "/gpfs/night/frames cannot be watched: Permission denied.",
            "hint": "Let the user that runs elcano read it.",
        }
        out = run(answer(troubles=[trouble]))
        assert (
            "TROUBLE since 21 Nov 20:32: /gpfs/night/frames cannot be watched: Permission denied. "
            "Let the user that runs elcano read it.\n"
        ) in out
        assert out.index("TROUBLE") < out.index("24dec03a (open)")
        many = run(answer(troubles=[trouble] * 25))
        assert many.count("TROUBLE since") == 20
        assert "TROUBLE: and 5 more; --json lists them all" in many
    finally:
        monkeypatch.undo()
        time.tzset()


def test_series_that_were_left_alone_are_counted_for_their_session(run: Any) -> None:
    (session,) = answer()["sessions"]
    said = "12 movies of 1 tilt series left alone, first frames/TS_01_000_0.0.tif"
    left = {"kind": "tilt_series", "movies": 12, "series": 1, "first": "frames/TS_01_000_0.0.tif", "said": said}
    assert f"  {said}\n" in run(answer(sessions=[{**session, "left_alone": [left]}]))


def test_gates_are_shown_where_they_refuse(run: Any) -> None:
    assert "gates" not in run(answer())
    (session,) = answer()["sessions"]
    gates = {"passes": 5, "refused": 3, "by_gate": {"motion_total_ang": 1, "ctf_resolution_ang": 2}, "failed": {}}
    out = run(answer(sessions=[{**session, "gates": gates}]))
    assert "  gates: 5 pass, 3 refused (2 by ctf_resolution_ang, 1 by motion_total_ang)\n" in out
    gates = {"passes": 4, "refused": 2, "by_gate": {"by hand": 2}, "failed": {}, "accepted_by_hand": 1}
    out = run(answer(sessions=[{**session, "gates": gates}]))
    assert "  gates: 4 pass (1 by hand), 0 refused, 2 rejected by hand\n" in out
    gates = {"passes": 1, "refused": 0, "by_gate": {}, "failed": {"motion_correction": 2}}
    out = run(answer(sessions=[{**session, "gates": gates}]))
    assert "  gates: 1 pass, 0 refused, 2 without motion_correction, which did not succeed\n" in out


def test_what_waits_to_be_judged_has_not_failed(run: Any) -> None:
    (session,) = answer()["sessions"]
    gates = {"passes": 2, "refused": 0, "by_gate": {}, "failed": {}, "waiting": {"ctf_estimation": 3}}
    out = run(answer(sessions=[{**session, "gates": gates}]))
    assert "  gates: 2 pass, 0 refused, 3 wait for ctf_estimation\n" in out


def test_the_latest_notifications_stand_with_their_number(run: Any) -> None:
    assert "notifications" not in run(answer(notifications={"total": 0, "latest": []}))
    told = {"severity": "warning", "message": "No gain.", "hint": "Set it.", "raised_at_s": 1e9, "session": "24dec03a"}
    out = run(answer(notifications={"total": 12, "latest": [told]}))
    assert "\nnotifications: 12, the latest 1\n" in out
    assert " 24dec03a warning: No gain. Set it.\n" in out
    assert 'all: elcano query "SELECT * FROM notification ORDER BY raised_at DESC"' in out


def test_files_that_are_no_movies_are_counted_apart(run: Any) -> None:
    (session,) = answer()["sessions"]
    counted = {**session, "movies": {"done": 3, "ignored": 2}, "other_files": 2}
    assert "24dec03a (open): 3 done; 2 other files\n" in run(answer(sessions=[counted]))
    counted["movies"] = {"done": 3, "ignored": 5}
    assert "24dec03a (open): 3 done, 3 ignored; 2 other files\n" in run(answer(sessions=[counted]))


def test_what_was_cancelled_has_a_column_and_a_way_back(run: Any) -> None:
    assert "cancelled" not in run(answer())
    steps = {"fft": {"completed": 3, "cancelled": 7}}
    out = run(answer(jobs=[{"kind": "import", "session": "24dec03a", "state": "cancelled", "steps": steps}]))
    assert "skipped  cancelled\n" in out
    assert "cancelled ones run again with: elcano retry --session 24dec03a --cancelled" in out


def test_failures_stand_with_reason_hint_and_how_to_go_on(run: Any) -> None:
    out = run(answer(failures={"total": 12, "latest": [FAILURE, MOVIE]}))
    assert "failed or quarantined: 12, the latest 2\n" in out
    assert (
        "  24dec03a x_0007 ctf_estimation: voltage_kv of x_0007 is unknown. Set acquisition.voltage_kv.\n"
        "  24dec03a m9 quarantined: 100 bytes are missing\n"
    ) in out
    assert 'elcano query "SELECT * FROM failures"' in out


def test_one_cause_stands_once(run: Any) -> None:
    struck = [
        {**FAILURE, "name": name, "reason": f"voltage_kv of {name} is unknown."} for name in ("x_0007", "x_1", "x_2")
    ]
    other = {**FAILURE, "name": "x_3", "reason": "The disk is full."}
    out = run(answer(failures={"total": 4, "latest": [*struck[:2], other, struck[2]]}))
    assert (
        "failed or quarantined: 4\n"
        "  24dec03a 3 movies ctf_estimation: voltage_kv of x_0007 is unknown. Set acquisition.voltage_kv.\n"
        "    x_0007, x_1, x_2\n"
        "  24dec03a x_3 ctf_estimation: The disk is full. Set acquisition.voltage_kv.\n"
    ) in out


def test_an_empty_session_has_nothing_to_do(run: Any) -> None:
    out = run(answer(jobs=[{"kind": "import", "session": "24dec03a", "state": "running", "steps": {}}]))
    assert "job import of 24dec03a: open, nothing to do\n" in out
    assert "skipped" not in out
    steps = {"fft": {"completed": 3, "pending": 1}}
    out = run(answer(jobs=[{"kind": "import", "session": "24dec03a", "state": "running", "steps": steps}]))
    assert "job import of 24dec03a: running\n" in out


def test_tasks_of_files_that_were_left_alone_stand_apart(run: Any) -> None:
    job = {"kind": "import", "session": "24dec03a", "state": "running", "steps": {"fft": {"completed": 3}}}
    assert "not counted" not in run(answer(jobs=[job | {"left_alone": 0}]))
    out = run(answer(jobs=[job | {"left_alone": 8}]))
    assert "  not counted: 8 task(s) of files that were superseded, vanished or ignored\n" in out


def test_files_that_are_not_whole_stand_apart_from_the_queue(run: Any) -> None:
    files = [{"session": "a", "path": f"/gpfs/a/{number}.tif", "reason": "still growing"} for number in range(21)]
    lines = run(answer(watching=files)).splitlines()
    assert lines[lines.index("not whole yet: 21 file(s)") + 1] == "  /gpfs/a/0.tif: still growing"
    assert lines[-1] == "  and 1 more"


def test_what_could_not_be_imported_is_named_once(run: Any) -> None:
    wrong = [
        {"directory": "/gpfs/a", "reason": "/gpfs/a/session.json: not a usable session.json: it is no JSON."},
        {"directory": "/gpfs/b", "reason": "The name is taken."},
    ]
    out = run(answer(not_imported=wrong))
    assert out.endswith(
        "could not be imported: 2 session(s)\n"
        "  /gpfs/a/session.json: not a usable session.json: it is no JSON.\n"
        "  /gpfs/b: The name is taken.\n"
    )


def test_what_results_lack_stands_under_the_session(run: Any) -> None:
    (session,) = answer()["sessions"]
    out = run(answer(sessions=[{**session, "notes": ["no gain reference is known"]}]))
    assert "24dec03a (open): 3 done, 1 failed\n  no gain reference is known\n" in out


def test_what_is_paused_is_said(run: Any) -> None:
    queues = answer()["queues"]
    by_ada = {
        "asked_by": "ada",
        "why": "new gain",
        "session": None,
        "session_id": None,
        "stage": None,
        "since_s": 1.7e9,
    }
    queues["paused"] = [by_ada, {**by_ada, "session": "24dec03a", "stage": "fft", "why": ""}]
    out = run(answer(queues=queues))
    told = [line for line in out.splitlines() if line.startswith("  paused: ")]
    assert len(told) == 2
    assert all(word in told[0] for word in ("node", "ada", "new gain"))
    assert all(word in told[1] for word in ("fft", "24dec03a", "ada"))


def test_folders_passed_over_stand_with_what_to_do(run: Any) -> None:
    folders = [f"/gpfs/s{number:02d}" for number in range(25)]
    out = run(answer(passed_over=folders))
    assert "passed over: 25 folder(s) with movies and no session.json" in out
    assert "  /gpfs/s00: elcano import /gpfs/s00, or a [[session]] entry" in out
    assert "/gpfs/s20" not in out
    assert out.endswith("and 5 more\n")


def test_json_is_the_whole_answer(run: Any) -> None:
    data = answer(failures={"total": 1, "latest": [FAILURE]}, passed_over=["/gpfs/forgotten"])
    assert json.loads(run(data, "--json")) == data


@pytest.mark.parametrize(("seconds", "words"), [(59, "0 min"), (3600, "1 h 0 min"), (7300, "2 h 1 min")])
def test_time_in_words(run: Any, seconds: float, words: str) -> None:
    assert f"up {words};" in run(answer(uptime_s=seconds))


def test_unknown_quantities_are_named_after_an_import(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from daemon.cli import session as session_commands

    app = typer.Typer()
    app.command()(session_commands.import_session)
    data = {"session": "a", "home": "/home/a", "unknown": ["voltage_kv", "dose"]}
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "a.tif").touch()
    monkeypatch.setattr(session_commands, "read_settings_to_ask", lambda config: None)
    monkeypatch.setattr(session_commands, "answer_of", lambda *arguments, **more: data)
    out = CliRunner().invoke(app, [str(tmp_path)]).stdout
    assert out.splitlines() == [
        "imported a; results go to /home/a",
        (
            "Nobody has said: voltage_kv, dose. What the movies' own headers do not say either is missing: "
            "name it under acquisition in session.json or in a [[session]] entry, and import again."
        ),
    ]
    data["unknown"] = []
    assert CliRunner().invoke(app, [str(tmp_path)]).stdout == "imported a; results go to /home/a\n"
    (tmp_path / "frames" / "a.tif").rename(tmp_path / "frames" / "truth.json")
    out = CliRunner().invoke(app, [str(tmp_path)]).stdout
    assert out.splitlines()[1:] == ["There is no movie in it yet; movies are taken up as they come."]
    (tmp_path / "linked").symlink_to(tmp_path / "frames")
    assert CliRunner().invoke(app, [str(tmp_path)]).stdout == "imported a; results go to /home/a\n"


def test_what_holds_everything_up_stands_on_top(run: Any) -> None:
    message = "No new movie is started: the disk of /home is full."
    since = "2026-11-21T19:32:55+00:00"
    trouble = {"kind": "disk_full", "path": "/home", "since": since, "text": message, "hint": "Make room."}
    lines = run(answer(troubles=[trouble])).splitlines()
    assert lines[2].startswith("TROUBLE since ")
    assert lines[2].endswith(": No new movie is started: the disk of /home is full. Make room.")
