"""One session is chosen for all screens of one session: by a person, and by nobody and nothing else."""

from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.tui.facility_scenes import ANSWERS as FACILITY
from tests.tui.fake_link import FakeLink
from tests.tui.figures_scene import curation, preview
from tests.tui.scenes import NOW_S, heartbeat, matrix, sessions, summary
from tests.tui.screen_text import settle, shown
from tests.tui.window import ANSWERS as WINDOW
from tests.tui.window import micrographs
from tui.app import ElcanoTerminal
from tui.core.model import Model
from tui.screens.micrograph import MicrographScreen

pytestmark = pytest.mark.anyio
Make = Callable[[FakeLink], ElcanoTerminal]
SCREENS = ("4", "5", "8")


@pytest.fixture
def link() -> FakeLink:
    answers = {
        **FACILITY,
        **WINDOW,
        "micrographs": lambda asked: micrographs() | {"session": asked["session"]},
        "curation": lambda asked: curation(asked["session"]),
        "gates": preview(),
    }
    return FakeLink(*sessions(), heartbeat(), answers=answers)


async def press(pilot: Pilot[Any], *keys: str) -> str:
    for key in keys:
        await pilot.press(key)
        await settle(pilot)
    return shown(pilot.app)


async def about(pilot: Pilot[Any], key: str) -> str:
    """Which session a screen says that it is about."""
    return (await press(pilot, key)).splitlines()[1].split()[0]


async def test_an_arrival_changes_no_screen(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        assert [await about(pilot, key) for key in SCREENS] == ["24dec03a"] * 3
        await pilot.press("5")
        link.push(summary("job-9", "25jan01a", started_s=NOW_S - 1))
        await settle(pilot)
        assert pilot.app.model.session_names()[0] == "25jan01a"  # type: ignore[attr-defined]
        assert [await about(pilot, key) for key in ("8", "5", "4")] == ["24dec03a"] * 3


@pytest.mark.parametrize("where", SCREENS)
async def test_what_is_chosen_on_one_is_chosen_for_all(link: FakeLink, terminal: Make, where: str) -> None:
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        await press(pilot, *SCREENS, where, "o", *"02b", "enter")
        assert [await about(pilot, key) for key in SCREENS] == ["24dec02b"] * 3
        asked = [arguments["session"] for name, arguments in link.asked if name == "curation"]
        assert asked[-1] == "24dec02b"


async def test_one_micrograph_of_the_former_session_gives_way_to_the_list(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        await press(pilot, "4", "enter")
        assert isinstance(pilot.app.screen, MicrographScreen)
        await press(pilot, "5", "4")
        assert isinstance(pilot.app.screen, MicrographScreen), "of the same session it stays"
        await press(pilot, "5", "o", *"02b", "enter")
        assert await about(pilot, "4") == "24dec02b"
        assert not isinstance(pilot.app.screen, MicrographScreen)


async def test_limits_that_were_moved_are_not_carried_over(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        assert "not applied" in await press(pilot, "5", "minus")
        text = await press(pilot, "4", "o", *"02b", "enter", "5")
        told = [note.message for note in pilot.app._notifications]
        assert told == ["The limits of 24dec03a that were moved and not applied stay as they were."]
        assert "✎" not in text


async def test_a_title_stands_wherever_the_session_is_named(link: FakeLink, terminal: Make) -> None:
    titled = summary("job-4", "24dec03a", title="Grid [3] of Anna")
    async with terminal(link).run_test(size=(120, 30), notifications=True) as pilot:
        await settle(pilot)
        link.push(titled)
        await settle(pilot)
        assert "Grid [3] of Anna (24dec03a)" in shown(pilot.app)
        for key in SCREENS:
            assert (await press(pilot, key)).splitlines()[1].startswith(" Grid [3] of Anna (24dec03a)  "), key
        assert "Grid [3] of Anna (24dec03a)" in await press(pilot, "o"), "among those to choose from"
        link.answers["matrix"] = matrix()
        assert (await press(pilot, "escape", "1", "enter")).splitlines()[1].startswith(" Grid [3] of Anna (24dec03a)  ")
        assert "motion_correction of Grid [3] of Anna (24dec03a)?" in await press(pilot, "p")


def test_the_newest_that_was_there_is_chosen_first_whatever_the_order_it_was_told_in() -> None:
    model = Model()
    assert model.chosen_session() is None
    model.take([summary("new", "new", started_s=NOW_S - 10), summary("old", "old", started_s=NOW_S - 1000)])
    assert model.session_names() == ["new", "old"]
    assert model.chosen_session() == "new"
    model.take([summary("newer", "newer", started_s=NOW_S)])
    assert model.chosen_session() == "new"
    model.choose("old")
    assert model.chosen_session() == "old"
