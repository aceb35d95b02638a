"""Curate: what is shown, limits that move by keys and mouse, and that nothing holds before it was confirmed."""

from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from daemon.errors import CommandRefused
from tests.tui.fake_link import FakeLink
from tests.tui.figures_scene import curation, preview
from tests.tui.scenes import NOW_S, heartbeat, matrix, sessions, summary
from tests.tui.screen_text import settle, shown, until
from tui.app import ElcanoTerminal
from tui.core.gate_words import share_words
from tui.screens.curate import CurateScreen
from tui.widgets.plot import Plot

pytestmark = pytest.mark.anyio
Make = Callable[[FakeLink], ElcanoTerminal]
MOVED = [
    {"limits": {"ctf_resolution_ang": 6.0}, "at_s": NOW_S - 600, "asked_by": "ben (operator)", "why": "too bad"},
    {"limits": {"ctf_resolution_ang": 8.0}, "at_s": NOW_S - 900, "asked_by": "ada (operator)", "why": ""},
]


@pytest.fixture
def link() -> FakeLink:
    """A daemon with figures of four sessions."""
    answers = {"matrix": matrix(), "curation": lambda asked: curation(asked["session"]), "gates": preview()}
    return FakeLink(*sessions(), heartbeat(), answers=answers)


async def open_curate(pilot: Pilot[Any]) -> CurateScreen:
    await settle(pilot)
    await pilot.press("5")
    await settle(pilot)
    screen = pilot.app.screen
    assert isinstance(screen, CurateScreen)
    return screen


async def rest(pilot: Pilot[Any], screen: CurateScreen) -> None:
    """Return when the daemon has said what the moved limits mean."""
    await until(pilot, lambda: screen.desk.exact is not None, "the daemon's word")


async def test_figures_limits_and_the_distribution_are_shown(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30)) as pilot:
        await open_curate(pilot)
        text = shown(pilot.app)
        assert "24dec03a  240 micrographs   196 pass (82 %), 24 refused, 20 not known yet" in text
        assert "CTF fit resolution [Å] over time" in text
        assert "× 3 refused here" in text
        assert "≤10│━" in text
        assert "how many" in text
        await pilot.press("end", "down", "down", "down", "down", "down", "down")
        await settle(pilot)
        assert "No micrograph has a number for phase shift yet: ctf_estimation gives it." in shown(pilot.app)


@pytest.mark.parametrize("size", [(60, 20), (160, 50)])
async def test_it_has_room_in_small_and_large_terminals(link: FakeLink, terminal: Make, size: tuple[int, int]) -> None:
    async with terminal(link).run_test(size=size) as pilot:
        screen = await open_curate(pilot)
        assert screen.plot.cells[1] >= 5
        assert "196 pass" in shown(pilot.app)
        assert "measure" in shown(pilot.app)


async def test_a_limit_moves_by_keys_and_holds_only_once_it_was_confirmed(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        screen = await open_curate(pilot)
        await pilot.press("minus", "minus", "greater_than_sign")
        await settle(pilot)
        assert list(screen.desk.moved) == ["ctf_resolution_ang"]
        assert "✎" in shown(pilot.app)
        await rest(pilot, screen)
        await settle(pilot)
        assert "150 pass, 60 refused, 5 steps skipped" in shown(pilot.app)
        assert link.commands() == []
        limit = screen.desk.moved["ctf_resolution_ang"]
        link.answers["session.thresholds"] = preview(preview=False)
        await pilot.press("a")
        await settle(pilot)
        assert "Move the gates of 24dec03a?" in shown(pilot.app)
        assert "24dec03a: 150 pass (+0), 60 refused, 5 steps skipped" in shown(pilot.app)
        await pilot.press(*"ice", "enter")
        await settle(pilot)
        asked = {"session": "24dec03a", "limits": {"ctf_resolution_ang": limit}, "why": "ice"}
        assert link.commands() == [("session.thresholds", asked)]
        assert "Moved: 150 pass, 60 are refused" in shown(pilot.app)
        assert screen.desk.moved == {}


async def test_escape_drops_what_was_moved_and_leaves_the_question_undone(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        screen = await open_curate(pilot)
        await pilot.press("plus", "a")
        await settle(pilot)
        await pilot.press("escape")
        await settle(pilot)
        assert link.commands() == []
        assert screen.desk.moved
        await pilot.press("escape")
        await settle(pilot)
        assert screen.desk.moved == {}
        await pilot.press("a")
        await settle(pilot)
        assert "No limit is moved" in shown(pilot.app)


async def test_a_limit_is_dragged_with_the_mouse(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30)) as pilot:
        screen = await open_curate(pilot)
        plot = screen.query_one(Plot)
        assert screen.view is not None
        row = screen.view.curve.grid.row(10.0)
        await pilot.mouse_down(Plot, offset=(30, row))
        await pilot.hover(Plot, offset=(30, row + 4))
        assert plot.is_dragging
        await pilot.mouse_up(Plot, offset=(30, row + 4))
        await settle(pilot)
        assert not screen.plot.is_dragging
        moved = screen.desk.moved["ctf_resolution_ang"]
        assert moved is not None
        assert 6 < moved < 9
        assert screen.view.passes < 196
        await rest(pilot, screen)
        assert ("gates", {"session": "24dec03a", "limits": {"ctf_resolution_ang": moved}}) in link.asked


async def test_a_limit_is_typed_switched_off_and_set_back(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        screen = await open_curate(pilot)
        await pilot.press("e")
        await settle(pilot)
        await pilot.press("x", "enter")
        await settle(pilot)
        assert "'x' is no number." in shown(pilot.app)
        await pilot.press("backspace", *"4.5", "enter")
        await settle(pilot)
        assert screen.desk.moved == {"ctf_resolution_ang": 4.5}
        await pilot.press("0")
        assert screen.desk.moved == {"ctf_resolution_ang": None}
        await pilot.press("d")
        assert screen.desk.moved == {}
        await pilot.press("down", "0")
        await settle(pilot)
        assert "No gate limits CTF score on that side." in shown(pilot.app)


async def test_the_upper_and_the_lower_limit_of_a_measure_move_apart(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30)) as pilot:
        screen = await open_curate(pilot)
        await pilot.press("down", "down", "down")
        await settle(pilot)
        await pilot.press("plus")
        assert list(screen.desk.moved) == ["defocus_least_ang"]
        await pilot.press("right", "minus")
        assert list(screen.desk.moved) == ["defocus_least_ang", "defocus_most_ang"]


async def test_points_are_walked_through_and_lead_to_their_micrographs(link: FakeLink, terminal: Make) -> None:
    link.answers["micrographs"] = {"session": "24dec03a", "seq": 1, "images": []}
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        screen = await open_curate(pilot)
        await pilot.press("enter")
        await settle(pilot)
        assert "Choose a point first" in shown(pilot.app)
        await pilot.press("n", "n")
        await settle(pilot)
        assert screen.point is not None
        assert screen.point.name in shown(pilot.app)
        assert "refused" in shown(pilot.app)
        first = screen.point
        await pilot.press("n", "N")
        assert screen.point == first
        await pilot.press("enter")
        await settle(pilot)
        assert pilot.app.current_mode == "micrographs"


async def test_a_click_goes_to_the_nearest_point(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30)) as pilot:
        screen = await open_curate(pilot)
        assert screen.view is not None
        curve = screen.view.curve
        column, row = curve.cell_of(curve.points[100])
        await pilot.click(Plot, offset=(9 + column, row))
        await settle(pilot)
        assert screen.point is not None
        assert curve.cell_of(screen.point) == (column, row)


async def test_the_gates_of_all_sessions_are_moved_together(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        screen = await open_curate(pilot)
        await pilot.press("w")
        await settle(pilot)
        assert "all 4 sessions  960 micrographs" in shown(pilot.app)
        await pilot.press("minus")
        await settle(pilot)
        link.answers["session.thresholds"] = lambda asked: (
            preview(preview=False) if asked["session"] != "24dec01a" else CommandRefused("It was archived.")
        )
        await pilot.press("a")
        await settle(pilot)
        assert "Move the gates of 4 sessions?" in shown(pilot.app)
        await pilot.press("enter")
        await settle(pilot)
        assert {asked["session"] for _, asked in link.commands()} == set(screen.names())
        assert "24dec01a: It was archived." in shown(pilot.app)
        assert "Moved: 450 pass" in shown(pilot.app)


async def test_the_last_move_is_shown_and_undone_to_what_held_before(link: FakeLink, terminal: Make) -> None:
    limits: dict[str, float | None] = {"ctf_resolution_ang": 6.0}
    link.answers["curation"] = curation(limits=limits, moves=MOVED)
    link.answers["session.thresholds"] = preview(preview=False)
    async with terminal(link).run_test(size=(120, 30), notifications=True) as pilot:
        await open_curate(pilot)
        assert "by ben (operator): too bad" in shown(pilot.app)
        await pilot.press("u")
        await settle(pilot)
        assert "Undo the last move of the gates of 24dec03a?" in shown(pilot.app)
        await pilot.press("enter")
        await settle(pilot)
        (command,) = link.commands()
        assert command == (
            "session.thresholds",
            {
                "session": "24dec03a",
                "limits": {"ctf_resolution_ang": 8.0},
                "reset": True,
                "why": "undo",
            },
        )


async def test_measures_are_set_against_each_other(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30)) as pilot:
        await open_curate(pilot)
        await pilot.press("down", "x")
        await settle(pilot)
        assert "CTF score over CTF fit resolution [Å]" in shown(pilot.app)


async def test_a_viewer_looks_and_may_not_apply(link: FakeLink, terminal: Make) -> None:
    link = FakeLink(*sessions(), role="viewer", answers=link.answers)
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        screen = await open_curate(pilot)
        await pilot.press("minus")
        await rest(pilot, screen)
        await pilot.press("a", "u")
        await settle(pilot)
        assert "You are a viewer" in shown(pilot.app)
        assert link.commands() == []


async def test_other_figures_come_when_tasks_move_and_moved_limits_stay(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30)) as pilot:
        screen = await open_curate(pilot)
        await pilot.press("minus")
        await settle(pilot)
        moved = dict(screen.desk.moved)
        link.answers["curation"] = curation(images=300)
        link.push(summary("job-4", "24dec03a", {"ctf_estimation": {"completed": 9}}))
        await settle(pilot)
        screen.ask_if_outdated()
        await settle(pilot)
        assert "300 micrographs" in shown(pilot.app)
        assert screen.desk.moved == moved


async def test_what_the_daemon_refuses_is_said(link: FakeLink, terminal: Make) -> None:
    link.answers["curation"] = CommandRefused("There is no session 24dec03a.")
    async with terminal(link).run_test(size=(100, 30)) as pilot:
        await open_curate(pilot)
        assert "There is no session 24dec03a." in shown(pilot.app)


async def test_without_a_session_it_says_how_to_get_one(terminal: Make) -> None:
    async with terminal(FakeLink()).run_test(size=(100, 30)) as pilot:
        await open_curate(pilot)
        assert "elcano import DIR" in shown(pilot.app)


async def test_names_from_outside_are_shown_and_not_obeyed(link: FakeLink, terminal: Make) -> None:
    told = curation()
    for image in told["images"]:
        image[0] = "[red]x\x1b[31m"
    link.answers["curation"] = told
    async with terminal(link).run_test(size=(100, 30)) as pilot:
        await open_curate(pilot)
        await pilot.press("n")
        await settle(pilot)
        assert "[red]x␛[31m" in shown(pilot.app)


async def test_a_limit_stops_at_its_bound(link: FakeLink, terminal: Make) -> None:
    bounded = [{**told, "least": 0.0, "most": 1000.0} for told in curation()["gates"]]
    link.answers["curation"] = lambda asked: curation(asked["session"], gates=bounded)
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        screen = await open_curate(pilot)
        await pilot.press(*["less_than_sign"] * 8)
        await settle(pilot)
        assert screen.desk.moved == {"ctf_resolution_ang": 0.0}
        await pilot.press("e", *["backspace"] * 4, *"-3", "enter")
        await settle(pilot)
        assert "It is at least 0 Å." in shown(pilot.app)
        await pilot.press("escape")
        screen.desk.move("ctf_resolution_ang", 1e9)
        assert screen.desk.moved == {"ctf_resolution_ang": 1000.0}


async def test_what_cannot_be_asked_is_not_being_asked(link: FakeLink, terminal: Make) -> None:
    link.answers["gates"] = CommandRefused("ctf_resolution_ang cannot be 9: it is odd.")
    async with terminal(link).run_test(size=(120, 30), notifications=True) as pilot:
        screen = await open_curate(pilot)
        await pilot.press("minus")
        await until(pilot, lambda: bool(screen.trouble), "the refusal")
        await settle(pilot)
        text = shown(pilot.app)
        assert "not applied: the daemon cannot be asked" in text
        assert "asking the daemon" not in text
        assert "cannot be 9: it is odd" in text
        link.answers["gates"] = preview()
        await pilot.press("minus")
        assert "cannot be 9" not in shown(pilot.app), "it was about other limits"
        await rest(pilot, screen)
        await settle(pilot)
        assert "not applied: 150 pass, 60 refused" in shown(pilot.app)


async def test_who_was_rejected_by_hand_was_not_refused(link: FakeLink, terminal: Make) -> None:
    told = curation(images=50)
    for number in (1, 2, 3):
        told["images"][number][4] = False
    link.answers["curation"] = lambda asked: told
    link.answers["gates"] = preview(refused=60, by_gate={"by hand": 3, "ctf_resolution_ang": 57})
    async with terminal(link).run_test(size=(120, 30), notifications=True) as pilot:
        screen = await open_curate(pilot)
        refused = screen.view.refused_by([gate.name for gate in screen.desk.lead.answer.gates])  # type: ignore[union-attr]
        distrusted = screen.view.refused_by(["ctf_estimation"])  # type: ignore[union-attr]
        assert f"{refused + distrusted} refused, 3 rejected by hand" in shown(pilot.app)
        await pilot.press("minus")
        await rest(pilot, screen)
        await settle(pilot)
        assert "57 refused, 3 rejected by hand" in shown(pilot.app)


def test_shares_are_rounded_and_all_is_said_of_all_only() -> None:
    shares = {(46, 48): "96 %", (24, 25): "96 %", (999, 1000): "99 %", (1, 1000): "1 %", (0, 9): "0 %", (9, 9): "100 %"}
    assert {pair: share_words(*pair) for pair in shares} == shares
