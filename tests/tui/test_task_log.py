"""The log of one task: what was said before the terminal was opened, and what is told since, each line once."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from daemon.errors import CommandRefused
from daemon.messages.event_data import LogLine
from daemon.messages.news import LogEntry
from tests.tui.fake_link import FakeLink
from tests.tui.scenes import NOW_S, matrix, task
from tests.tui.screen_text import settle, shown
from tui.app import ElcanoTerminal
from tui.core.task_log import merge_logs
from tui.screens.task import TaskScreen

Make = Callable[[FakeLink], ElcanoTerminal]


def entry(at_s: float, message: str, *, reason: str = "", level: str = "info") -> LogEntry:
    return LogEntry(
        seq=1,
        at_s=at_s,
        level=level,
        message=message,
        source="task",
        session="s",
        stage="fft",
        image="x",
        task_id="t1",
        facts={"reason": reason} if reason else {},
    )


def line(at_s: float, message: str, task_id: str = "t1") -> LogLine:
    ts = datetime.fromtimestamp(at_s, UTC)
    return LogLine(ts=ts, job_id="job-1", task_id=task_id, level="info", message=message)


def test_a_line_that_comes_both_ways_is_shown_once() -> None:
    kept = [entry(10.0, "begun"), entry(12.0, "task failed", reason="no gain", level="error"), entry(40.0, "begun")]
    live = [line(10.002, "begun"), line(30.0, "between"), line(40.001, "begun"), line(55.0, "begun")]
    assert [(said.at_s, said.message) for said in merge_logs(kept, live)] == [
        (10.0, "begun"),
        (12.0, "task failed: no gain"),
        (30.0, "between"),
        (40.0, "begun"),
        (55.0, "begun"),
    ]


@pytest.mark.anyio
async def test_a_task_that_failed_before_shows_what_was_said_of_it(terminal: Make, link: FakeLink) -> None:
    def logs(arguments: Any) -> Any:
        failed = [
            1,
            NOW_S - 60,
            "error",
            "task failed",
            "e",
            "s",
            "fft",
            "x",
            arguments["task_id"],
            {"reason": "no gain"},
        ]
        return {"run": "r", "first": 1, "last": 1, "lines": [failed]}

    link.answers |= {"matrix": matrix(), "task": task(), "logs": logs}
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        await pilot.press("enter", "enter")
        await settle(pilot)
        assert "task failed: no gain" in shown(pilot.app)
        screen = pilot.app.screen
        assert isinstance(screen, TaskScreen)
        assert ("logs", {"task_id": screen.task_id, "limit": 200}) in link.asked
        link.push(line(NOW_S, "tried again", screen.task_id))
        await settle(pilot)
        text = shown(pilot.app)
        assert text.index("task failed: no gain") < text.index("tried again")


@pytest.mark.anyio
async def test_without_it_the_pane_says_why(terminal: Make, link: FakeLink) -> None:
    link.answers |= {"matrix": matrix(), "task": task(), "logs": CommandRefused("There is no log.")}
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        await pilot.press("enter", "enter")
        await settle(pilot)
        assert "log, from now on only: There is no log." in shown(pilot.app)
