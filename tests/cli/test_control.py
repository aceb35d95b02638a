"""What the commands that control a daemon ask it, and what they say of its answer."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from daemon.cli import control, tune
from daemon.cli.app import application
from daemon.messages.commands import COMMANDS, QUERIES, Command, read_arguments

REDONE = {
    "movies": 2,
    "tasks": 4,
    "stages": {"ctf_estimation": 2, "picking": 2},
    "left_out": {"motion_correction did not succeed": 1},
    "token": "abc",
    "preview": True,
}
MOVED = {
    "limits": {"ctf_resolution_ang": 6.0, "ctf_score": None},
    "passes": 7,
    "refused": 3,
    "undecided": 1,
    "by_gate": {"ctf_resolution_ang": 3},
    "failed": {},
    "tasks_reopened": 2,
    "tasks_skipped": 1,
    "token": "abc",
    "preview": True,
}
PAUSE = {"stage": "fft", "session": None, "session_id": None, "asked_by": "ada", "why": "no ink", "since_s": 1.7e9}
PARAMETERS = {
    "stage": "fft",
    "parameters": {"height_px": 512, "colour": None},
    "set_for_all": {"height_px": 512},
    "set_for_session": {},
}
ANSWERS: dict[str, Any] = {
    "task.retry": {"tasks": 2, "movies": 1, "open": 2, "cancelled": 0, "looked_at": 0},
    "task.cancel": {"tasks": 2, "movies": 1},
    "job.cancel": {"tasks": 9, "movies": 3, "jobs": 1},
    "job.complete": {"jobs": ["j1"], "sessions": ["s"]},
    "stage.reprocess": REDONE,
    "stage.parameters": {},
    "parameters": [PARAMETERS],
    "gates": MOVED,
    "session.thresholds": MOVED,
    **{f"{what}.pause": {"paused": [PAUSE]} for what in ("stage", "session", "node")},
    **{f"{what}.resume": {"paused": []} for what in ("stage", "session", "node")},
    "session.close": {"session_id": "s1", "closed": True, "unfinished": ""},
    "session.rename": {"session_id": "s1", "session": "s", "title": "apoferritin, grid 3"},
}
Run = Callable[..., Result]


@pytest.fixture
def asked() -> list[tuple[str, dict[str, Any]]]:
    return []


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, asked: list[tuple[str, dict[str, Any]]]) -> Run:
    """Run a command line; every question must be one that the daemon understands."""

    def answer(settings: object, name: str, arguments: dict[str, Any], *, timeout_s: float = 30.0) -> Any:
        del settings, timeout_s
        read_arguments(Command(name=name, arguments=arguments), {**COMMANDS, **QUERIES}[name])
        asked.append((name, {key: value for key, value in arguments.items() if value not in (None, "", [], False)}))
        return ANSWERS[name]

    for module in (control, tune):
        monkeypatch.setattr(module, "read_settings_to_ask", lambda config: None)
        monkeypatch.setattr(module, "answer_of", answer)
    return lambda *arguments: CliRunner().invoke(application, arguments)


def test_a_cancel_says_what_becomes_of_movies_that_come_later(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ANSWERS, "job.cancel", {"tasks": 0, "movies": 0, "jobs": 0})
    out = run("cancel", "--session", "rg").stdout
    assert "nothing was cancelled; movies that come later are processed" in out
    assert "come later" not in run("cancel", "--stage", "fft").stdout


def test_a_title_has_words_and_an_empty_one_takes_it_away(
    run: Run, asked: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("rename", "s", "apoferritin, grid 3").stdout == "s is titled apoferritin, grid 3\n"
    monkeypatch.setitem(ANSWERS, "session.rename", {"session_id": "s1", "session": "s", "title": ""})
    assert run("rename", "s", "").stdout == "s has no title\n"
    assert asked == [
        ("session.rename", {"session": "s", "title": "apoferritin, grid 3"}),
        ("session.rename", {"session": "s"}),
    ]


def test_a_retry_with_nothing_to_do_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = {"tasks": 0, "movies": 0, "open": 2, "cancelled": 0, "looked_at": 0}
    monkeypatch.setitem(ANSWERS, "task.retry", nothing)
    assert run("retry", "--session", "badgain").stdout == "nothing in badgain has failed (2 wait or run)\n"
    monkeypatch.setitem(ANSWERS, "task.retry", nothing | {"cancelled": 4})
    out = run("retry", "--session", "badgain").stdout
    assert "4 task(s) were cancelled: the same with --cancelled takes them up again" in out
    monkeypatch.setitem(ANSWERS, "task.retry", nothing | {"looked_at": 3})
    assert "; 3 quarantined movie(s) are looked at anew\n" in run("retry", "--session", "badgain").stdout


@pytest.mark.parametrize(
    ("line", "name", "arguments", "said"),
    [
        ("retry t1 t2", "task.retry", {"task_ids": ["t1", "t2"]}, "2 task(s) of 1 movie(s) will run again"),
        ("retry --session s --cancelled", "task.retry", {"session": "s", "cancelled": True}, "2 task(s) of 1 movie(s)"),
        ("cancel t1 --reason no", "task.cancel", {"task_ids": ["t1"], "why": "no"}, "cancelled 2 task(s)"),
        ("cancel --stage fft --image a --image b", "task.cancel", {"stage": "fft", "images": ["a", "b"]}, "cancelled"),
        ("cancel --session s", "job.cancel", {"job": "s"}, "cancelled 9 task(s) of 3 movie(s)"),
        ("cancel --job j1", "job.cancel", {"job": "j1"}, "cancelled 9 task(s)"),
        ("complete s", "job.complete", {"job": "s"}, "marked completed: s"),
        ("pause", "node.pause", {}, "paused: fft, by ada since 2023-11-1"),
        ("pause --session s", "session.pause", {"session": "s"}, ": no ink"),
        ("pause --stage fft --session s", "stage.pause", {"stage": "fft", "session": "s"}, "paused: fft"),
        ("resume --stage fft", "stage.resume", {"stage": "fft"}, "nothing is paused"),
        ("resume", "node.resume", {}, "nothing is paused"),
        (
            "rename s apo --reason named",
            "session.rename",
            {"session": "s", "title": "apo", "why": "named"},
            "s is titled",
        ),
        ("close s --reason done", "session.close", {"session": "s", "reason": "done"}, "closed s"),
        (
            "reprocess ctf_estimation --session s --set a=1.5 --set b=true --set c=word --preview",
            "stage.reprocess",
            {"stage": "ctf_estimation", "session": "s", "values": {"a": 1.5, "b": True, "c": "word"}, "preview": True},
            (
                "2 micrograph(s): would run again 2 ctf_estimation, 2 picking\n"
                "  left out 1: motion_correction did not succeed\n  to do exactly this: the same with --token abc"
            ),
        ),
        (
            "gates s --set ctf_resolution_ang=6 --set ctf_score=off --preview",
            "session.thresholds",
            {"session": "s", "limits": {"ctf_resolution_ang": 6, "ctf_score": None}, "preview": True},
            (
                "ctf_resolution_ang = 6  refuses 3\nctf_score = off\n7 pass, 3 refused, 1 not known yet\n"
                "2 task(s) would be taken up again, 1 would be skipped\nto do exactly this"
            ),
        ),
        ("gates s", "gates", {"session": "s"}, "7 pass, 3 refused"),
        ("parameters", "parameters", {}, "fft\n  height_px = 512  (set)\n  colour = unset\n"),
    ],
)
def test_a_line_becomes_a_question_and_the_answer_a_sentence(
    run: Run, asked: list[tuple[str, dict[str, Any]]], line: str, name: str, arguments: dict[str, Any], said: str
) -> None:
    result = run(*line.split())
    assert result.exit_code == 0, result.output
    sent = dict(asked[-1][1])
    sent.pop("values", None) if not sent.get("values") else None
    assert (asked[-1][0], sent) == (name, arguments)
    assert said in result.stdout


@pytest.mark.parametrize("given", ["ctf_score=good", "ctf_score=true"])
def test_a_limit_is_a_number_or_off(run: Run, asked: list[tuple[str, dict[str, Any]]], given: str) -> None:
    refused = run("gates", "s", "--set", given)
    assert refused.exit_code == 2
    assert "a limit is a number, or off" in refused.stderr
    assert asked == []


def test_parameters_are_set_and_then_shown(run: Run, asked: list[tuple[str, dict[str, Any]]]) -> None:
    assert run("parameters", "fft", "--set", "height_px=512").exit_code == 0
    assert asked == [
        ("stage.parameters", {"stage": "fft", "values": {"height_px": 512}}),
        ("parameters", {"stage": "fft"}),
    ]


def test_images_that_no_gate_could_judge_are_told_by_stage(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    by_gate = {"ctf_resolution_ang": 1, "ctf_estimation": 2}
    monkeypatch.setitem(ANSWERS, "gates", {**MOVED, "by_gate": by_gate, "failed": {"motion_correction": 4}})
    said = run("gates", "s").stdout
    assert "ctf_resolution_ang = 6  refuses 1\n" in said
    assert "ctf_estimation gave no numbers to trust: refuses 2\n7 pass, 3 refused, 1 not known yet, 4 without " in said
    assert said.endswith("without motion_correction, which did not succeed\n")


def test_images_that_people_judged_are_told_apart_from_gates(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ANSWERS, "gates", {**MOVED, "by_gate": {"by hand": 2}, "accepted_by_hand": 3})
    said = run("gates", "s").stdout
    assert "by hand, over the gates: accepted 3, rejected 2\n" in said
    assert "numbers to trust" not in said


def test_a_session_that_still_has_work_is_closed_later(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    left = {"session_id": "s1", "closed": False, "unfinished": "4 step(s) of 1 movie(s) have not ended (fft)"}
    monkeypatch.setitem(ANSWERS, "session.close", left)
    assert run("close", "s").stdout == f"s is closed when this is over: {left['unfinished']}\n"


def test_json_is_the_answer_itself(run: Run) -> None:
    assert json.loads(run("gates", "s", "--json").stdout) == MOVED
    assert json.loads(run("reprocess", "fft", "--session", "s", "--json").stdout) == REDONE


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("retry", "retry needs task ids, --session or --stage."),
        ("cancel", "cancel needs task ids, --job, --session, --stage or --image."),
        ("cancel t1 --job j", "--job stands alone."),
        ("reprocess fft", "reprocess needs --session, --image or --where."),
        ("reprocess fft --session s --set height", "--set height: write KEY=VALUE."),
        ("parameters --set a=1", "--set needs the stage."),
        *(
            (f"{command} --set limit={value}", f"--set limit={value}: nan and infinities are no values.")
            for command, value in (
                ("gates s", "nan"),
                ("gates s --preview", "-inf"),
                ("parameters fft", "1e999"),
                ("reprocess fft --session s", "[1.0,{a=nan}]"),
            )
        ),
    ],
)
def test_wrong_use_is_told_in_a_sentence_and_asks_nothing(
    run: Run, asked: list[tuple[str, dict[str, Any]]], line: str, said: str
) -> None:
    result = run(*line.split())
    assert (result.exit_code, asked) == (2, [])
    assert result.stderr == f"elcano: {said}\n"
