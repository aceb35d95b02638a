"""Every screen in bad company: no answer to any question, a daemon that goes and comes, hostile names, 60×20."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from daemon.errors import CommandRefused
from daemon.messages.commands import QUERIES
from tests.tui.fake_link import NOT_RUNNING, FakeLink, connected
from tests.tui.scenes import heartbeat, summary, task
from tests.tui.screen_text import settle, shown
from tui.app import ElcanoTerminal
from tui.core.link_state import LinkPhase
from tui.screens.task import TaskScreen
from tui.tabs import TABS

pytestmark = pytest.mark.anyio
Make = Callable[[FakeLink], ElcanoTerminal]
_LOST = replace(NOT_RUNNING, phase=LinkPhase.LOST, message="The connection was lost: \x1b[2Jgone", was_connected=True)
_HOSTILE = "[bold red]x[/] [link=evil]y\x1b]0;title\x07\nz"


def check(app: ElcanoTerminal, columns: int) -> str:
    """Return the screen, which steers no terminal and keeps to its width."""
    text = shown(app)
    assert not [character for character in text if not (character.isprintable() or character == "\n")]
    assert max(map(len, text.splitlines())) <= columns
    return text


@pytest.mark.parametrize("size", [(60, 20), (100, 30)], ids=["60x20", "100x30"])
@pytest.mark.parametrize("tab", TABS, ids=lambda tab: tab.name)
async def test_no_screen_breaks(terminal: Make, tab: object, size: tuple[int, int]) -> None:
    refused = CommandRefused(f"The daemon cannot say: {_HOSTILE}")
    link = FakeLink(
        summary("job-1", _HOSTILE), heartbeat(_HOSTILE), answers={name: refused for name in QUERIES if name != "queues"}
    )
    app = terminal(link)
    async with app.run_test(size=size, notifications=True) as pilot:
        await settle(pilot)
        await pilot.press(getattr(tab, "key", ""))
        await settle(pilot)
        assert app.current_mode == getattr(tab, "name", "")
        check(app, size[0])
        link.push(_LOST)
        await settle(pilot)
        assert "connection lost" in check(app, size[0])
        await pilot.press("question_mark")
        await settle(pilot)
        check(app, size[0])
        await pilot.press("escape")
        link.push(connected(connections=2))
        await settle(pilot)
        assert "connection lost" not in check(app, size[0])
        link.push(connected(role="viewer", connections=3))
        await settle(pilot)
        assert "look only" in check(app, size[0])


async def test_an_answer_that_comes_too_late_for_its_screen_breaks_nothing(link: FakeLink, terminal: Make) -> None:
    link.answers["task"] = task()
    app = terminal(link)
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        screen = app.screen
        assert isinstance(screen, TaskScreen)
        told: list[object] = []
        leaving = screen.remove()  # its widgets go first, one by one
        screen.ask_then("task", {"task_id": "task-3-0"}, told.append)
        await settle(pilot)
        await leaving
        assert told == []
