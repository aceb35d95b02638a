"""Import as a person does it: walking to a session, reading what it is, importing it, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from daemon.errors import CommandRefused
from tests.tui.facility_scenes import ANSWERS, GPFS, IMPORTED, folder, preview
from tests.tui.fake_link import NOT_RUNNING, FakeLink, connected
from tests.tui.scenes import matrix, sessions, summary
from tests.tui.screen_text import settle, shown, until
from tui.app import ElcanoTerminal
from tui.core.link_state import LinkPhase
from tui.screens.imports import ImportScreen
from tui.screens.job import JobScreen

pytestmark = pytest.mark.anyio
Make = Callable[[FakeLink], ElcanoTerminal]


@pytest.fixture
def link() -> FakeLink:
    return FakeLink(*sessions(), answers={"matrix": matrix(), **ANSWERS})


async def walk(pilot: Any, *keys: str) -> None:
    await settle(pilot)
    for key in keys:
        await pilot.press(key)
        await settle(pilot)


async def rested(pilot: Any, words: str) -> None:
    """Wait until the cursor has rested and its answer came."""
    await until(pilot, lambda: words in shown(pilot.app), words)


async def test_one_walks_to_a_session_json_and_reads_what_it_is(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "2")
        assert "✗ is not there" in shown(pilot.app)
        await walk(pilot, "enter", "down", "down")
        assert "● session.json" in shown(pilot.app)
        await rested(pilot, "1200 exposures")
        assert "⚠ dose, gain reference" in shown(pilot.app)
        await walk(pilot, "enter")
        assert f"{GPFS}/24dec05b" in shown(pilot.app)
        assert "› session.json" in shown(pilot.app)
        await walk(pilot, "backspace")
        assert "›" in next(line for line in shown(pilot.app).splitlines() if "24dec05b" in line)
        await walk(pilot, "escape")
        assert "the daemon's roots" in shown(pilot.app)


async def test_importing_asks_then_imports_then_goes_to_the_job(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "2", "enter", "down", "down", "enter", "enter")
        assert f"IMPORT DATA: take {GPFS}/24dec05b as 24dec05b?" in shown(pilot.app)
        assert link.commands() == []
        await walk(pilot, "y")
        assert link.commands() == [("session.import", {"directory": f"{GPFS}/24dec05b", "name": None})]
        assert "✓ imported; its job comes" in shown(pilot.app)
        link.push(summary("job-9", "24dec05b"))
        await settle(pilot)
        assert isinstance(pilot.app.screen, JobScreen)
        assert pilot.app.screen.job_id == "job-9"
        assert "Not known: dose" in shown(pilot.app)


async def test_another_name_is_asked_for(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "2", "enter", "down", "down", "I", "end", *"_2", "enter", "y")
        assert link.commands() == [("session.import", {"directory": f"{GPFS}/24dec05b", "name": "24dec05b_2"})]


async def test_what_would_be_refused_is_not_asked_for(link: FakeLink, terminal: Make) -> None:
    refusal = "Session name '24dec05b' belongs to /gpfs/other already. Give it another one."
    link.answers["session.preview"] = lambda asked: {**preview(asked), "refusal": refusal}
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "2", "enter", "down", "down")
        await rested(pilot, "✗ Session name")
        await walk(pilot, "i")
        assert isinstance(pilot.app.screen, ImportScreen)
        assert "belongs to /gpfs/other" in shown(pilot.app)
        assert link.commands() == []


async def test_movies_that_nobody_processes_are_named_in_the_list(link: FakeLink, terminal: Make) -> None:
    def listed(asked: Any) -> dict[str, Any]:
        told = folder(asked)
        for entry in told["entries"]:
            entry["passed_over"] = entry["name"] in {"24dec05b", "new\x1b[31mred"}
        return told

    link.answers["folder"] = listed
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "2", "enter")
        row = next(line for line in shown(pilot.app).splitlines() if "[31mred" in line)
        assert "⚠ movies, no session.json: passed over" in row
        assert shown(pilot.app).count("passed over") == 1, "a session.json has come meanwhile"
        await walk(pilot, "end", "up")
        assert "It holds movies that nobody processes." in shown(pilot.app)


async def test_nothing_is_said_of_roots_before_they_are_told(terminal: Make) -> None:
    link = FakeLink(state=replace(NOT_RUNNING, phase=LinkPhase.CONNECTING, message=""))
    link.answers |= ANSWERS
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "2")
        assert "names no root" not in shown(pilot.app)
        assert "asked for once there is one" in shown(pilot.app)
        link.push(connected())
        await settle(pilot)
        assert GPFS in shown(pilot.app)
        await walk(pilot, "slash", *"nosuch", "enter")
        assert "No folder passes the filter" in shown(pilot.app)


async def test_where_sessions_lie_is_no_session(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "2")
        assert "sessions lie in it: Enter opens it" in shown(pilot.app)
        await walk(pilot, "i")
        assert "Move to a folder first" in shown(pilot.app)
        await walk(pilot, "enter")
        assert "this folder" not in shown(pilot.app)
        assert link.commands() == []


async def test_a_refusal_is_one_sentence(link: FakeLink, terminal: Make) -> None:
    link.answers["session.import"] = CommandRefused("The disk is full.", hint="Make room.")
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "2", "enter", "down", "down", "i", "y")
        assert "The disk is full. Make room." in shown(pilot.app)
        assert "importing" not in shown(pilot.app)
        assert isinstance(pilot.app.screen, ImportScreen)


async def test_what_cannot_be_opened_is_told_and_never_asked(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "2", "down", "enter")
        assert "/mnt/old: is not there." in shown(pilot.app)
        assert [asked["directory"] for name, asked in link.asked if name == "folder"] == [None]


async def test_a_folder_that_does_not_answer_is_said(link: FakeLink, terminal: Make) -> None:
    def hang(asked: Any) -> Any:
        return folder(asked) if asked.get("directory") is None else CommandRefused("/gpfs has not answered for 5 s.")

    link.answers["folder"] = hang
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "2", "enter")
        assert "/gpfs has not answered for 5 s." in shown(pilot.app)
        await walk(pilot, "backspace")
        assert "▸ /gpfs/krios1" in shown(pilot.app)


async def test_names_are_shown_never_obeyed_and_filtered(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "2", "enter")
        assert "new␛[31mred" in shown(pilot.app)
        await walk(pilot, "slash", *"dec0", "enter")
        assert "atlas" not in shown(pilot.app)
        assert "24dec05b" in shown(pilot.app)


async def test_more_folders_are_read_when_asked_for(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "2", "enter", "end", "enter")
        assert ("folder", {"directory": GPFS, "offset": 6}) in link.asked


async def test_a_viewer_looks_and_does_not_import(terminal: Make) -> None:
    link = FakeLink(*sessions(), role="viewer", answers=ANSWERS)
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "2", "enter", "down", "down")
        await rested(pilot, "1200 exposures")
        assert "viewers may look, not import" in shown(pilot.app)
        await walk(pilot, "i")
        assert "You are a viewer" in shown(pilot.app)
        await pilot.click("#import-button")
        await settle(pilot)
        assert link.commands() == []


async def test_the_button_does_what_the_key_does(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(160, 50), notifications=True) as pilot:
        await walk(pilot, "2", "enter", "down", "down")
        await pilot.click("#import-button")
        await settle(pilot)
        await walk(pilot, "y")
        assert [name for name, _ in link.commands()] == ["session.import"]


async def test_it_works_in_sixty_columns(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(60, 20), notifications=True) as pilot:
        await walk(pilot, "2", "enter", "down", "down")
        await rested(pilot, "24dec05b  session.json")
        assert "IMPORT DATA" in shown(pilot.app)


async def test_without_a_daemon_nothing_is_asked_and_afterwards_it_is(terminal: Make) -> None:
    link = FakeLink(state=NOT_RUNNING, answers={**ANSWERS, "session.import": IMPORTED})
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        link.push(connected())
        await walk(pilot, "2")
        assert "▸ /gpfs/krios1" in shown(pilot.app)
