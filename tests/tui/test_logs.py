"""The log and the notifications on the screen."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from daemon.errors import CommandRefused
from daemon.messages.envelope import utc
from daemon.messages.event_data import Notification
from tests.tui.fake_link import FakeLink, connected
from tests.tui.scenes import NOW_S, log_lines, notifications, task
from tests.tui.screen_text import settle, shown
from tui.app import ElcanoTerminal
from tui.screens.logs import LogsScreen
from tui.screens.task import TaskScreen

pytestmark = pytest.mark.anyio
Make = Callable[[FakeLink], ElcanoTerminal]


class Log:
    """A daemon's log that grows, answered as the daemon does."""

    def __init__(self) -> None:
        self.run = "one"
        self.lines: list[list[Any]] = list(log_lines())

    def write(self, message: str, level: str = "info") -> None:
        self.lines.append([len(self.lines) + 1, NOW_S, level, message, "daemon", "", "", "", "", {}])

    def __call__(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        task_id = arguments.get("task_id", "")
        if task_id:
            lines = [line for line in self.lines if line[8] == task_id]
            return {"run": self.run, "first": 1, "last": len(self.lines), "lines": lines}
        after = arguments["after"] if arguments["run"] == self.run else 0
        return {"run": self.run, "first": 1, "last": len(self.lines), "lines": self.lines[after:]}


@pytest.fixture
def log(link: FakeLink) -> Log:
    log = Log()
    link.answers |= {"logs": log, "notifications": notifications(), "task": task()}
    return log


def body(app: ElcanoTerminal) -> list[str]:
    """The lines of the log's pane."""
    lines = shown(app).splitlines()
    return lines[next(at for at, line in enumerate(lines) if " Log " in line) :]


async def test_lines_come_and_nothing_is_doubled(link: FakeLink, terminal: Make, log: Log) -> None:
    app = terminal(link)
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await pilot.press("6")
        await settle(pilot)
        assert "5 lines  ▸ following" in body(app)[0]
        assert "session imported" in shown(app)
        log.write("all is well")
        link.push(connected(connections=2))  # connected anew: everything is asked for again
        await settle(pilot)
        assert "6 lines" in body(app)[0]
        assert shown(app).count("session imported") == 1
        assert body(app)[7].lstrip().startswith("›")
        assert "all is well" in body(app)[7]


@pytest.mark.parametrize("size", [(60, 20), (100, 30)], ids=["60x20", "100x30"])
async def test_what_a_line_says_is_read_in_its_row_and_whole_below(
    link: FakeLink, terminal: Make, log: Log, size: tuple[int, int]
) -> None:
    name = "wronggain_00001gr_00001sq_v01_00001hl_00002ex"
    reason = "The gain reference /gpfs/wronggain/gains/gain.mrc has 400 x 300 pixels, the movie 512 x 512."
    facts = {"reason": reason, "hint": "Put the right file there, then retry."}
    log.lines.append(
        [6, NOW_S, "error", "task failed", "task", "wronggain", "motion_correction", name, "task-9-0", facts]
    )
    app = terminal(link)
    async with app.run_test(size=size) as pilot:
        await pilot.press("6")
        await settle(pilot)
        lines = body(app)
        row = next(line for line in lines if "✗ error" in line and "task failed" in line)
        assert "task failed  …" in row, "the message, then the name, cut where all names are alike"
        below = " ".join(line.strip() for line in lines[-5:-1])
        assert f"task failed  {reason}" in below
        assert "Enter: its task" in below


async def test_going_up_holds_and_the_end_follows(link: FakeLink, terminal: Make, log: Log) -> None:
    app = terminal(link)
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await pilot.press("6")
        await settle(pilot)
        await pilot.press("up", "up")
        await settle(pilot)
        log.write("unseen")
        screen = app.screen
        assert isinstance(screen, LogsScreen)
        screen.draw_all()
        await settle(pilot)
        assert "held" in body(app)[0]
        assert "1 new" in body(app)[0]
        assert screen.table.rows.place == 2
        await pilot.press("G")
        await settle(pilot)
        assert "following" in body(app)[0]
        await pilot.press("f")
        log.write("held back")
        screen.draw_all()
        await settle(pilot)
        assert "held: f or G follows, 1 new" in body(app)[0]
        assert screen.table.rows.place == 5
        await pilot.press("f")
        await settle(pilot)
        assert screen.table.rows.place == 6


async def test_levels_and_words_filter_and_say_so(link: FakeLink, terminal: Make, log: Log) -> None:
    app = terminal(link)
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await pilot.press("6")
        await settle(pilot)
        await pilot.press("w")
        await settle(pilot)
        assert "warnings and errors  2 of 5 lines" in body(app)[0]
        await pilot.press("w")
        await settle(pilot)
        assert "errors only  1 of 5 lines" in body(app)[0]
        await pilot.press("w", "slash", *"stage:ctf", "enter")
        await settle(pilot)
        assert "every level  1 of 5 lines" in body(app)[0]
        await pilot.press("escape")
        await settle(pilot)
        assert "5 lines" in body(app)[0]
        await pilot.press("slash", *"nowhere", "enter")
        await settle(pilot)
        assert "Esc drops the filter" in shown(app)


async def test_a_line_leads_to_its_task_or_is_read_to_its_end(link: FakeLink, terminal: Make, log: Log) -> None:
    app = terminal(link)
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await pilot.press("6")
        await settle(pilot)
        await pilot.press("i")
        await settle(pilot)
        text = shown(app)
        assert "[bold red]x[/] ␛[31mred␇ long long" in text  # shown, neither obeyed nor read as markup
        assert "\x1b" not in text
        await pilot.press("end")
        await settle(pilot)
        assert "the end" in shown(app)  # of 10,000 characters
        await pilot.press("escape", "enter")
        await settle(pilot)
        assert isinstance(app.screen, TaskScreen)
        assert ("task", {"task_id": "task-4-1"}) in link.asked
        await pilot.press("escape", "g", "enter")
        await settle(pilot)
        assert "elcano started" in shown(app)
        assert "4242" in shown(app)


async def test_what_nobody_has_read_is_marked_on_every_screen(link: FakeLink, terminal: Make, log: Log) -> None:
    app = terminal(link)
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        told = Notification(
            ts=utc(NOW_S - 300),
            session_id="id of 24dec03a",
            session="24dec03a",
            notification_id="n1",
            severity="warning",
            message="24dec03a has no gain reference",
        )
        link.push(told)
        await settle(pilot)
        assert "6 Logs ●1" in shown(app)
        await pilot.press("6")
        await settle(pilot)
        assert shown(app).count("● new ") == 2  # that one and an older one, each once
        await pilot.press("tab", "i")
        await settle(pilot)
        assert "what to do" in shown(app)
        assert "Put it into gains/." in shown(app)
        await pilot.press("escape", "1")
        await settle(pilot)
        assert "●" not in shown(app).splitlines()[0]
        await pilot.press("6")
        await settle(pilot)
        assert "● new" not in shown(app)


async def test_without_an_answer_it_is_said_why(link: FakeLink, terminal: Make, log: Log) -> None:
    link.answers["logs"] = CommandRefused("There is no query 'logs'.")
    link.answers["notifications"] = CommandRefused("The store is closed.")
    app = terminal(link)
    async with app.run_test(size=(60, 20), notifications=True) as pilot:
        await pilot.press("6")
        await settle(pilot)
        assert "There is no query 'logs'." in shown(app)
        assert "⚠ The store is closed." in shown(app)
        link.answers |= {"logs": log, "notifications": notifications()}
        screen = app.screen
        assert isinstance(screen, LogsScreen)
        screen.draw_all()
        await settle(pilot)
        assert "⚠ The" not in shown(app)
        assert "+2 →" in shown(app)  # session and stage are aside at this width
        assert "session imported" in shown(app)
