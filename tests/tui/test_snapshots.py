"""How the screens look, at two sizes; `pytest tests/tui/test_snapshots.py --snapshot-update` renews the pictures."""

from collections.abc import Callable
from typing import Any

import pytest

from daemon.messages.envelope import utc
from daemon.messages.event_data import LogLine
from tests.tui.fake_link import NOT_RUNNING, FakeLink
from tests.tui.scenes import NOW_S, log_lines, notifications, task
from tests.tui.screen_text import settle
from tui.app import ElcanoTerminal

Make = Callable[[FakeLink], ElcanoTerminal]
SIZES = [(100, 30), (160, 50)]
NAMES = ["100x30", "160x50"]


def pressing(*keys: str, push: tuple[Any, ...] = ()) -> Callable[[Any], Any]:
    async def press(pilot: Any) -> None:
        await settle(pilot)
        for key in keys:
            await pilot.press(key)
            await settle(pilot)
        if push:
            pilot.app.link.push(*push)
            await settle(pilot)

    return press


@pytest.mark.parametrize("size", SIZES, ids=NAMES)
def test_jobs(snap_compare: Any, link: FakeLink, terminal: Make, size: tuple[int, int]) -> None:
    assert snap_compare(terminal(link), terminal_size=size, run_before=pressing("down"))


@pytest.mark.parametrize("size", SIZES, ids=NAMES)
def test_job(snap_compare: Any, link: FakeLink, terminal: Make, size: tuple[int, int]) -> None:
    assert snap_compare(terminal(link), terminal_size=size, run_before=pressing("enter", "right", "space", "space"))


@pytest.mark.parametrize("size", SIZES, ids=NAMES)
def test_task(snap_compare: Any, link: FakeLink, terminal: Make, size: tuple[int, int]) -> None:
    link.answers["task"] = task()
    line = LogLine(ts=utc(NOW_S), job_id="job-4", task_id="task-0-0", level="warning", message="the dose is not known")
    before = pressing("enter", "enter", push=(line,))
    assert snap_compare(terminal(link), terminal_size=size, run_before=before)


def test_no_daemon(snap_compare: Any, terminal: Make) -> None:
    link = FakeLink(state=NOT_RUNNING)
    assert snap_compare(terminal(link), terminal_size=(100, 30), run_before=pressing())


def test_light_and_a_question(snap_compare: Any, link: FakeLink, terminal: Make) -> None:
    assert snap_compare(terminal(link), terminal_size=(100, 30), run_before=pressing("ctrl+t", "r"))


@pytest.mark.parametrize("size", SIZES, ids=NAMES)
def test_logs(snap_compare: Any, link: FakeLink, terminal: Make, size: tuple[int, int]) -> None:
    logs = {"run": "r", "first": 1, "last": 5, "lines": log_lines()}
    link.answers |= {"logs": logs, "notifications": notifications()}
    assert snap_compare(terminal(link), terminal_size=size, run_before=pressing("6", "up"))
