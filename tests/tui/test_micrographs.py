"""The screen of micrographs and the one that shows them one by one, over a fake daemon."""

from collections.abc import Callable
from typing import Any

import pytest

from daemon.errors import CommandRefused
from daemon.messages.envelope import utc
from daemon.messages.event_data import ImageMarked
from tests.tui.fake_link import FakeLink
from tests.tui.scenes import NOW_S, heartbeat, sessions, summary
from tests.tui.screen_text import settle, shown
from tests.tui.window import ANSWERS, KINDS, micrographs, row
from tui.app import ElcanoTerminal
from tui.screens.jumps import open_micrograph
from tui.screens.micrograph import MicrographScreen
from tui.screens.micrographs import MicrographsScreen

pytestmark = pytest.mark.anyio
Make = Callable[[FakeLink], ElcanoTerminal]
ANSWERED = {
    "passes": 5,
    "refused": 2,
    "tasks_reopened": 0,
    "tasks_skipped": 3,
    "token": "t-1",
    "by_gate": {"by hand": 1, "ice_ring": 1},
    "accepted_by_hand": 0,
}


@pytest.fixture
def window() -> FakeLink:
    """A daemon with 24 micrographs."""
    return FakeLink(*sessions(), heartbeat(), answers={**ANSWERS, "image.reject": ANSWERED, "image.accept": ANSWERED})


async def press(pilot: Any, *keys: str) -> str:
    for key in keys:
        await pilot.press(key)
        await settle(pilot)
    return shown(pilot.app)


async def test_the_list_shows_numbers_verdicts_and_reasons(terminal: Make, window: FakeLink) -> None:
    async with terminal(window).run_test(size=(160, 40), notifications=True) as pilot:
        await settle(pilot)
        text = await press(pilot, "4")
        assert "24dec03a  12 pass  3 refused  3 rejected  2 accepted  2 not yet  2 set aside" in text
        assert "» refused         0.90?  3.50?      80?" in text, "a doubted fit is marked so"
        assert ("micrographs", {"session": "24dec03a", "after": None}) in window.asked
        text = await press(pilot, "slash", *"rejected", "enter")
        assert "3 of 24 micrographs  filter: rejected" in text
        text = await press(pilot, "escape", "s", "s", "s", "S")
        assert "defocus µm▾" in text
        assert "24dec03a_00023ex" in text.splitlines()[3]


async def test_only_what_changed_is_asked_for_when_something_moved(terminal: Make, window: FakeLink) -> None:
    async with terminal(window).run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        await press(pilot, "4")
        changed = row(1, passes=False, gate="by hand", reason="by hand: rejected by bo (operator)")
        window.answers["micrographs"] = {"session": "24dec03a", "seq": 101, "images": [changed]}
        screen = pilot.app.screen
        assert isinstance(screen, MicrographsScreen)
        screen._ask_again()  # the pause between two questions is over
        window.push(
            ImageMarked(
                ts=utc(NOW_S),
                session_id="id of 24dec03a",
                session="24dec03a",
                image_id="image-1",
                image_name="24dec03a_00001ex",
                passes=False,
                asked_by="bo (operator)",
            )
        )
        await settle(pilot)
        assert ("micrographs", {"session": "24dec03a", "after": 100}) in window.asked
        assert "11 pass  4 rejected" in shown(pilot.app)


async def test_one_is_rejected_at_once_with_the_reason_that_was_given(terminal: Make, window: FakeLink) -> None:
    async with terminal(window).run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        await press(pilot, "4", "down", "w")
        text = await press(pilot, *"ice", "enter")
        assert "because: ice" in text
        text = await press(pilot, "x")
        asked = {"session": "24dec03a", "images": ["24dec03a_00001ex"], "why": "ice", "token": None}
        assert window.commands() == [("image.reject", asked)]
        assert "Rejected: 24dec03a_00001ex. 3 steps skipped." in text


async def test_several_are_asked_for_with_what_follows(terminal: Make, window: FakeLink) -> None:
    async with terminal(window).run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        text = await press(pilot, "4", "asterisk", "a")
        assert "Accept 22 micrographs, whatever the gates say?" in text, "two were set aside"
        assert "5 pass then, 1 refused, 1 rejected by hand. 3 steps skipped." in text
        await press(pilot, "y")
        (preview, told), (applied, asked) = window.commands()
        assert (preview, told["preview"], applied, asked["token"]) == ("image.accept", True, "image.accept", "t-1")
        assert told["images"] == asked["images"]


async def test_a_viewer_sees_and_may_not_judge(terminal: Make) -> None:
    link = FakeLink(*sessions(), role="viewer", answers=ANSWERS)
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        text = await press(pilot, "4", "x")
        assert "You are a viewer" in text
        text = await press(pilot, "enter", "a")
        assert "Thon rings" in text
        assert link.commands() == []


async def test_one_by_one_with_pictures_curves_and_path(terminal: Make, window: FakeLink) -> None:
    async with terminal(window).run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        text = await press(pilot, "4", "down", "down", "down", "enter")
        assert "24dec03a_00003ex  4 of 24  ✗ rejected by anna@scope1 (operator)" in text
        assert ": crack in the ice" in text
        assert "▀▀▀▀" in text
        assert "rings ─ measured  ─ fitted" in text
        assert "motion ○ first frame ● last" in text
        asked = [arguments["kind"] for name, arguments in window.asked if name == "picture"]
        assert asked == ["thumbnail", "ctf_spectrum"]
        text = await press(pilot, "right")
        assert "24dec03a_00004ex  5 of 24" in text
        text = await press(pilot, "left", "left")
        assert "24dec03a_00002ex  3 of 24" in text
        before = len([name for name, _ in window.asked if name == "picture"])
        await press(pilot, "right")
        after = len([name for name, _ in window.asked if name == "picture"])
        assert after == before, "a picture that was seen is kept"


async def test_every_picture_can_be_seen_alone(terminal: Make, window: FakeLink) -> None:
    async with terminal(window).run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        await press(pilot, "4", "enter")
        seen = []
        for _ in range(len(KINDS) + 2):
            text = await press(pilot, "z")
            seen.append(text.splitlines()[-2].split("[")[1].split("]")[0])
        assert seen == ["micrograph", "Thon rings", "CTF fit", "spectrum", "motion", "curves", "path"]
        assert "[all]" in await press(pilot, "z")
        assert "[path]" in await press(pilot, "Z")


async def test_a_small_terminal_says_what_it_hides(terminal: Make, window: FakeLink) -> None:
    async with terminal(window).run_test(size=(60, 20), notifications=True) as pilot:
        await settle(pilot)
        text = await press(pilot, "4")
        assert "+4" in text, "columns beyond the edge"
        text = await press(pilot, "enter")
        assert "▀▀▀" in text
        assert "rings ─ measured" not in text
        assert "hidden" in text


async def test_rejecting_one_by_one_goes_on_in_the_list_of_what_passes(terminal: Make, window: FakeLink) -> None:
    async with terminal(window).run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        await press(pilot, "4", "slash", *"passes", "enter")
        text = await press(pilot, "enter")
        assert "24dec03a_00001ex  1 of 12" in text
        changed = row(1, passes=False, gate="by hand", reason="by hand: rejected by anna")
        window.answers["micrographs"] = {"session": "24dec03a", "seq": 101, "images": [changed]}
        screen = pilot.app.screen
        assert isinstance(screen, MicrographScreen)
        assert isinstance(screen.desk, MicrographsScreen)
        screen.desk._ask_again()
        text = await press(pilot, "x")
        assert "24dec03a_00002ex  1 of 11" in text


async def test_what_is_wrong_is_said_in_one_sentence(terminal: Make, window: FakeLink) -> None:
    window.answers["picture"] = CommandRefused("The picture cannot be read: no such file.")
    async with terminal(window).run_test(size=(120, 30), notifications=True) as pilot:
        await settle(pilot)
        text = await press(pilot, "4", "enter")
        assert "The picture cannot be read" in text
    broken = FakeLink(*sessions(), answers={"micrographs": CommandRefused("There is no session '24dec03a'.")})
    async with terminal(broken).run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        assert "There is no session '24dec03a'." in await press(pilot, "4")


async def test_empty_states_say_what_would_be_here(terminal: Make) -> None:
    async with terminal(FakeLink()).run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        assert "No session has been imported yet" in await press(pilot, "4")
    link = FakeLink(*sessions(), answers={"micrographs": micrographs(0)})
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        assert "No micrograph yet: the first movie" in await press(pilot, "4")
        assert "There is no micrograph to open" in await press(pilot, "enter")


async def test_another_session_is_chosen_by_a_part_of_its_name(terminal: Make, window: FakeLink) -> None:
    async with terminal(window).run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        await press(pilot, "4", "o", *"01a", "enter")
        assert ("micrographs", {"session": "24dec01a", "after": None}) in window.asked
        assert " 24dec01a  " in shown(pilot.app)


async def test_names_from_outside_are_shown_and_never_obeyed(terminal: Make) -> None:
    evil = "x\x1b[31m[bold]y"
    link = FakeLink(
        summary("job-1", evil), answers={**ANSWERS, "micrographs": {**micrographs(0), "images": [row(1, name=evil)]}}
    )
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        assert shown(pilot.app).count("\x1b") == 0
        text = await press(pilot, "4")
        assert text.count("x␛[31m[bold]y") == 2
        assert "x␛[31m[bold]y" in await press(pilot, "o")


async def test_other_screens_go_to_a_micrograph(terminal: Make, window: FakeLink) -> None:
    async with terminal(window).run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        await press(pilot, "4", "slash", *"rejected", "enter", "1")
        open_micrograph(pilot.app.screen, "24dec03a", "24dec03a_00005ex")  # type: ignore[arg-type]
        await settle(pilot)
        screen = pilot.app.screen
        assert isinstance(screen, MicrographsScreen)
        told = screen.row_at(screen.table.rows.place)
        assert told is not None
        assert told.name == "24dec03a_00005ex"
        assert screen.typed == ""
