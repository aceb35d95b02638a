"""The panel of jobs, as a person uses it."""

from collections.abc import Callable

import pytest
from textual import events

from tests.tui.fake_link import FakeLink, connected
from tests.tui.scenes import STAGES, sessions, summary
from tests.tui.screen_text import settle, shown, until
from tui.app import ElcanoTerminal
from tui.screens.jobs import JobsScreen
from tui.tabs import TABS, Tab
from tui.widgets.filter_bar import FilterBar

pytestmark = pytest.mark.anyio
Make = Callable[[FakeLink], ElcanoTerminal]


def sessions_shown(app: ElcanoTerminal) -> list[str]:
    screen = app.screen
    assert isinstance(screen, JobsScreen)
    return [app.model.jobs.rows[row].session for row in screen.table.rows.order]


async def test_jobs_are_shown_newest_first_with_state_and_steps(link: FakeLink, terminal: Make) -> None:
    app = terminal(link)
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        assert sessions_shown(app) == ["24dec03a", "24dec02c", "24dec02b", "24dec01a"]
        text = shown(app)
        for words in ("▸ running", "✓ done", "○ open, idle", "⊘ cancelled", "1 h 00"):
            assert words in text
        for stage in STAGES:
            assert f" {stage}" in text
        assert "6 done of 10, 1 failed, 1 running, 2 waiting" in text
        await pilot.press("down")
        assert "cancelled by anna@scope1 (operator)" in shown(app)


async def test_a_session_of_which_movies_failed_says_so_in_its_row(link: FakeLink, terminal: Make) -> None:
    failed = {"motion_correction": {"failed": 3}, "fft": {"skipped": 3}}
    app = terminal(link)
    for size in ((60, 20), (100, 30)):
        async with app.run_test(size=size, notifications=True) as pilot:
            await settle(pilot)
            link.push(summary("job-5", "24dec04a", failed), summary("job-6", "24dec04b", {"fft": {"completed": 3}}))
            await settle(pilot)
            rows = [line for line in shown(app).splitlines() if "24dec04" in line]
            (failing,) = [row for row in rows if "24dec04a" in row and "%" in row]
            assert "✗ 3 failed" in failing
            assert "idle" not in failing
            (well,) = [row for row in rows if "24dec04b" in row and "%" in row]
            assert "○ open, idle" in well
        app = terminal(link)


async def test_news_change_what_is_shown_and_add_rows(link: FakeLink, terminal: Make) -> None:
    app = terminal(link)
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        link.push(summary("job-4", "24dec03a", {stage: {"completed": 10} for stage in STAGES}, state="completed"))
        link.push(summary("job-5", "24dec04a", {stage: {"pending": 3} for stage in STAGES}))
        await settle(pilot)
        assert len(sessions_shown(app)) == 5
        assert "10 done of 10" in shown(app)
        link.push(*sessions())
        await settle(pilot)
        assert len(sessions_shown(app)) == 5, "told again, not doubled"


async def test_filter_and_sort(link: FakeLink, terminal: Make) -> None:
    app = terminal(link)
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        await pilot.press("slash", *"dec02")
        await settle(pilot)
        assert sessions_shown(app) == ["24dec02c", "24dec02b"]
        await pilot.press("enter", "escape")
        await settle(pilot)
        assert len(sessions_shown(app)) == 4
        await pilot.press("s", "s")
        assert sessions_shown(app) == sorted(sessions_shown(app))
        await pilot.press("S")
        assert sessions_shown(app) == sorted(sessions_shown(app), reverse=True)


async def test_retry_says_how_many_and_asks_first(link: FakeLink, terminal: Make) -> None:
    link.answers["task.retry"] = {"tasks": 4, "movies": 1}
    app = terminal(link)
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        await pilot.press("r")
        await settle(pilot)
        assert "Run 4 failed tasks of 1 session again?" in shown(app)
        await pilot.press("n")
        await settle(pilot)
        assert link.commands() == []
        await pilot.press("r", "y")
        await settle(pilot)
        assert link.commands() == [("task.retry", {"session": "id of 24dec03a"})]
        assert "24dec03a: 4 task(s) will run again." in shown(app)


@pytest.mark.parametrize(
    ("key", "question", "command", "arguments"),
    [
        ("c", "Give up 12 tasks of 1 job?", "job.cancel", {"job": "job-4"}),
        ("m", "Declare 1 job completed", "job.complete", {"job": "job-4"}),
        ("p", "Begin nothing new of 1 session?", "session.pause", {"session": "id of 24dec03a"}),
    ],
)
async def test_what_can_be_done_to_a_job(
    link: FakeLink, terminal: Make, key: str, question: str, command: str, arguments: dict[str, str]
) -> None:
    link.answers[command] = {"tasks": 12, "movies": 3, "sessions": [], "paused": []}
    app = terminal(link)
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        await pilot.press(key)
        await settle(pilot)
        assert question in shown(app)
        await pilot.press("enter")
        await settle(pilot)
        assert link.commands() == [(command, arguments)]


async def test_a_selection_is_meant_whole(link: FakeLink, terminal: Make) -> None:
    link.answers["job.complete"] = {"jobs": [], "sessions": []}
    app = terminal(link)
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        await pilot.press("asterisk", "m")
        await settle(pilot)
        assert "Declare 2 jobs completed" in shown(app), "two of the four are over"
        await pilot.press("y")
        await settle(pilot)
        assert {arguments["job"] for _, arguments in link.commands()} == {"job-2", "job-4"}


async def test_a_pause_is_shown_with_who_and_ended_by_the_same_key(link: FakeLink, terminal: Make) -> None:
    pause = {
        "session_id": "id of 24dec03a",
        "session": "24dec03a",
        "stage": None,
        "asked_by": "anna@scope1 (operator)",
        "why": "beam lost",
        "since_s": 0.0,
    }
    link.answers |= {"queues": {"paused": [pause]}, "session.resume": {"paused": []}}
    app = terminal(link)
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        from tui.core.model import Queues

        link.push(Queues({"paused": [pause]}))
        await settle(pilot)
        assert "paused: 24dec03a, by anna@scope1 (operator): beam lost" in shown(app)
        assert "‖ paused" in shown(app)
        await pilot.press("p", "y")
        await settle(pilot)
        assert link.commands() == [("session.resume", {"session": "id of 24dec03a"})]


async def test_a_viewer_may_look_but_not_act(terminal: Make) -> None:
    link = FakeLink(*sessions(), role="viewer")
    app = terminal(link)
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        assert "look only" in shown(app)
        await pilot.press("c")
        await settle(pilot)
        assert "You are a viewer: to cancel takes" in shown(app)
        assert link.commands() == []
        await pilot.press("question_mark")
        await settle(pilot)
        assert "You are a viewer" in shown(app)


async def test_a_refusal_of_the_daemon_is_told(link: FakeLink, terminal: Make) -> None:
    from daemon.errors import CommandRefused

    link.answers["job.complete"] = CommandRefused("Job job-4 was cancelled by [red]anna[/red].", hint="Look again.")
    app = terminal(link)
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        await pilot.press("m", "y")
        await settle(pilot)
        assert "was cancelled by [red]anna[/red]" in shown(app)


async def test_names_from_outside_are_shown_not_obeyed(terminal: Make) -> None:
    evil = "[red]x[/]\x1b[2J\nend"
    app = terminal(FakeLink(summary("job-9", evil)))
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        assert "[red]x[/]␛[2J␊end" in shown(app)


@pytest.mark.parametrize("size", [(60, 20), (100, 30), (220, 70)])
async def test_every_size_shows_the_keys_and_what_is_hidden(
    link: FakeLink, terminal: Make, size: tuple[int, int]
) -> None:
    app = terminal(link)
    async with app.run_test(size=size, notifications=True) as pilot:
        await settle(pilot)
        lines = shown(app).splitlines()
        assert "? help  q quit" in lines[-1]
        assert "24dec03a" in shown(app)
        assert ("→" in lines[1]) is (size[0] < 160)


async def test_light_and_dark(link: FakeLink, terminal: Make) -> None:
    app = terminal(link)
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        was_dark = app.current_theme.dark
        await pilot.press("ctrl+t")
        await settle(pilot)
        assert app.current_theme.dark is not was_dark


async def test_the_palette_finds_what_can_be_done(link: FakeLink, terminal: Make) -> None:
    app = terminal(link)
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        await pilot.press("ctrl+p", *"mark done")
        await until(pilot, lambda: "mark done (m)" in shown(app), "the palette")


async def test_keys_are_named_dim_while_nobody_can_be_asked(link: FakeLink, terminal: Make) -> None:
    app = terminal(link)
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        from dataclasses import replace

        from tui.core.link_state import LinkPhase

        link.push(replace(connected(), phase=LinkPhase.LOST, message="The connection was lost."))
        await settle(pilot)
        assert "connection lost, trying again" in shown(app)
        assert "what is shown stood then" in shown(app)
        await pilot.press("c")
        await settle(pilot)
        assert "There is no connection to the daemon" in shown(app)
        link.push(connected(connections=2))
        await settle(pilot)
        assert "connection lost" not in shown(app)


@pytest.mark.parametrize("tab", TABS, ids=lambda tab: tab.name)
async def test_a_key_pressed_as_a_screen_comes_up_filters_nothing(link: FakeLink, terminal: Make, tab: Tab) -> None:
    """Textual gives the keys to some widget at first: never to the line of the filter, which is not to be seen."""
    app = terminal(link)
    async with app.run_test(size=(60, 20)) as pilot:
        await settle(pilot)
        await pilot.press(tab.key)
        await settle(pilot)
        app.screen.set_focus(None)
        app.screen.post_message(events.ScreenResume())
        await settle(pilot)
        assert not isinstance(app.focused, FilterBar)
        await pilot.press("1")
        await settle(pilot)
        assert app.current_mode == "jobs"
        assert len(sessions_shown(app)) == 4


async def test_a_filter_that_hides_every_job_is_named_as_the_cause(link: FakeLink, terminal: Make) -> None:
    app = terminal(link)
    async with app.run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        await pilot.press("slash", *"nosuch", "enter")
        await settle(pilot)
        assert "No job passes the filter: Esc drops it." in shown(app)
        assert "has been imported yet" not in shown(app)
        await pilot.press("escape")
        await settle(pilot)
        assert len(sessions_shown(app)) == 4
