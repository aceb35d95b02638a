"""The first line names every screen where there is room for it, else the open one and the keys of the others."""

from collections.abc import Callable

import pytest

from tests.tui.fake_link import FakeLink
from tests.tui.scenes import heartbeat, matrix, sessions
from tests.tui.screen_text import settle, shown
from tui.app import ElcanoTerminal
from tui.tabs import TABS

pytestmark = pytest.mark.anyio
Make = Callable[[FakeLink], ElcanoTerminal]
ALL = " ".join(f"{tab.key} {tab.title}" for tab in TABS)


def plain(line: str) -> str:
    return " ".join(line.replace("[", "").replace("]", "").split())


async def first_line(app: ElcanoTerminal, width: int, key: str) -> str:
    async with app.run_test(size=(width, 30)) as pilot:
        await settle(pilot)
        await pilot.press(key)
        await settle(pilot)
        return shown(app).splitlines()[0]


@pytest.mark.parametrize("role", ["operator", "viewer"])
@pytest.mark.parametrize("key", ["1", "9"])
async def test_every_title_is_there_at_100_columns(terminal: Make, role: str, key: str) -> None:
    link = FakeLink(*sessions(), heartbeat(), role=role, answers={"matrix": matrix()})
    line = await first_line(terminal(link), 100, key)
    assert ALL in plain(line)
    assert f"[{key} {TABS[int(key) - 1].title}]" in line
    assert ("look only" in line) == (role == "viewer")


@pytest.mark.parametrize("width", [60, 80])
async def test_the_open_screen_is_named_where_there_is_little_room(terminal: Make, width: int) -> None:
    link = FakeLink(*sessions(), heartbeat(), role="viewer", answers={"matrix": matrix()})
    line = await first_line(terminal(link), width, "9")
    assert "1 2 3 4 5 6 7 8 [9 Nodes]" in line
    assert "viewer: look only" in line


async def test_hosts_and_the_whole_role_come_with_more_room(terminal: Make) -> None:
    link = FakeLink(*sessions(), heartbeat(), role="viewer", answers={"matrix": matrix()})
    line = await first_line(terminal(link), 160, "1")
    assert ALL in plain(line)
    assert line.rstrip().endswith("gpu01  viewer: look only")
