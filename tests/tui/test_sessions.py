"""Sessions as a tree: opened level by level, with what is known of each, and what can be done to one."""

from collections.abc import Callable
from typing import Any

import pytest

from daemon.errors import CommandRefused
from daemon.messages.envelope import utc
from daemon.messages.event_data import SessionClosed
from tests.tui.facility_scenes import ANSWERS, session_info
from tests.tui.fake_link import FakeLink
from tests.tui.scenes import NOW_S, matrix, sessions
from tests.tui.screen_text import settle, shown, until
from tests.tui.test_imports import rested, walk
from tui.app import ElcanoTerminal
from tui.screens.job import JobScreen

pytestmark = pytest.mark.anyio
Make = Callable[[FakeLink], ElcanoTerminal]
SESSION = "id of 24dec03a"


@pytest.fixture
def link() -> FakeLink:
    done = {
        "session.rename": {},
        "session.close": {"closed": False, "unfinished": "3 step(s) of 1 movie(s) have not ended (fft)"},
        "session.pause": {"paused": []},
        "session.resume": {"paused": []},
        "session.report": {"path": "/home/24dec03a/reports/24dec03a.html", "size_bytes": 1},
    }
    return FakeLink(*sessions(), answers={"matrix": matrix(), **ANSWERS, **done})


async def test_branches_are_read_when_they_are_opened(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 36), notifications=True) as pilot:
        await walk(pilot, "7", "down", "enter")
        assert "▾ 24dec03a" in shown(pilot.app)
        assert "00001gr" in shown(pilot.app)
        await walk(pilot, "right", "right", "right", "right", "right", "right", "right")
        assert "00000ex" in shown(pilot.app)
        assert "✓ done" in shown(pilot.app)
        assert "✗ failed" in shown(pilot.app)
        assert "» refused" in shown(pilot.app), "the sign that the list of micrographs has"
        parents = [asked["parent"] for name, asked in link.asked if name == "tree"]
        assert parents == [None, "24dec03a_00000gr", "24dec03a_00000gr_00000sq", "24dec03a_00000gr_00000sq_00000hl"]
        await walk(pilot, "left", "left")
        assert "00000ex" not in shown(pilot.app)


async def test_more_of_a_branch_is_read_when_asked_for(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 36), notifications=True) as pilot:
        await walk(pilot, "7", "down", "enter")
        await walk(pilot, "end", "up", "up", "up")
        assert "… 100 more (Enter)" in shown(pilot.app)
        await walk(pilot, "enter")
        offsets = [asked["offset"] for name, asked in link.asked if name == "tree"]
        assert offsets == [0, 200]


async def test_a_session_tells_all_of_itself(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(160, 50), notifications=True) as pilot:
        await walk(pilot, "7", "down")
        await rested(pilot, "2 tilt series left alone")
        screen = shown(pilot.app)
        for words in ("fit resolution 30", "half in 21 s", "300 kV", "group 2", "Optics group 2 began", "w writes it"):
            assert words in screen, words


async def test_titles_stand_before_names_and_projects_above(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "7")
        assert "Grid 3, good ice  24dec01a" in shown(pilot.app)
        assert "(no project)" in shown(pilot.app)
        assert "2400: 1280 done" in shown(pilot.app)
        await walk(pilot, "slash", *"good", "enter")
        assert "24dec02b" not in shown(pilot.app)


async def test_a_title_is_given(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "7", "down", "t", *"Best", "space", *"grid", "enter")
        assert link.commands() == [("session.rename", {"session": SESSION, "title": "Best grid"})]
        assert "is titled 'Best grid'" in shown(pilot.app)
        await walk(pilot, "t", "escape")
        assert len(link.commands()) == 1


async def test_a_session_is_closed_once_that_is_confirmed(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "7", "down", "c")
        assert "Close 24dec03a: expect no more movies of 1 session?" in shown(pilot.app)
        await walk(pilot, "n", "c", "y")
        assert link.commands() == [("session.close", {"session": SESSION})]
        assert "24dec03a will be closed." in shown(pilot.app)
        await walk(pilot, "down", "c")
        assert "closed already" in shown(pilot.app)


async def test_a_session_is_paused_and_goes_on(link: FakeLink, terminal: Make) -> None:
    from tui.core.model import Queues

    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "7", "down", "p", "y")
        pause = {"session_id": SESSION, "stage": None, "asked_by": "anna (operator)", "session": "24dec03a", "why": ""}
        link.push(Queues({"paused": [pause]}))
        await settle(pilot)
        assert "‖ paused by anna" in shown(pilot.app)
        await walk(pilot, "p", "y")
        assert link.commands() == [("session.pause", {"session": SESSION}), ("session.resume", {"session": SESSION})]


async def test_its_job_its_report_and_its_paths(link: FakeLink, terminal: Make, monkeypatch: Any) -> None:
    copied: list[str] = []
    monkeypatch.setattr(ElcanoTerminal, "copy_to_clipboard", lambda _, text: copied.append(text))
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "7", "down", "w")
        assert link.commands() == [("session.report", {"session": SESSION})]
        assert "Report written" in shown(pilot.app)
        await walk(pilot, "y")
        assert copied == ["/gpfs/krios1/24dec03a\n/home/24dec03a"]
        await walk(pilot, "o")
        assert isinstance(pilot.app.screen, JobScreen)
        assert pilot.app.screen.job_id == "job-4"


async def test_what_moves_is_asked_for_again(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "7", "down", "enter")
        link.answers["sessions"] = {"sessions": [session_info("24dec03a", state="closed")]}
        before = len(link.asked)
        fact = SessionClosed(ts=utc(NOW_S), session_id=SESSION, session="24dec03a", reason="closed by command")
        link.push(fact)
        await rested(pilot, "● closed")
        await until(pilot, lambda: {"sessions", "tree"} <= {name for name, _ in link.asked[before:]}, "both questions")


async def test_nothing_there_and_what_is_refused(terminal: Make) -> None:
    link = FakeLink(answers={"sessions": {"sessions": []}})
    async with terminal(link).run_test(size=(60, 20), notifications=True) as pilot:
        await walk(pilot, "7")
        assert "No session has been imported yet" in shown(pilot.app)
        await walk(pilot, "c")
        assert "Move to a session first." in shown(pilot.app)
        link.answers["sessions"] = CommandRefused("The store is closed.")
        await walk(pilot, "1", "7")
        await rested(pilot, "The store is closed.")


async def test_a_viewer_looks_and_does_not_act(terminal: Make) -> None:
    link = FakeLink(*sessions(), role="viewer", answers=ANSWERS)
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "7", "down", "enter")
        assert "00001gr" in shown(pilot.app)
        for key in ("c", "t", "p", "w"):
            await walk(pilot, key)
            assert "You are a viewer" in shown(pilot.app)
        assert link.commands() == []
