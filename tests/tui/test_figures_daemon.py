"""Curate, Live and Nodes over a real daemon: gates are moved and moved back, the node is paused and goes on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.rig.facility import Facility, receive
from benchmarks.rig.sessions import QUICK, prepare_session
from tests.tui.screen_text import shown, until
from tui.app import ElcanoTerminal
from tui.link import BusLink
from tui.screens.curate import CurateScreen

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def facility(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facility]:
    """A daemon with a session of two movies."""
    prepared = prepare_session(tmp_path_factory.getbasetemp(), QUICK)
    # Movies so small are never trusted by their fits: they pass as long as no gate asks for those.
    off = dict.fromkeys(("ctf_resolution_ang", "astigmatism_ang", "defocus_least_ang", "defocus_most_ang"), "off")
    facility = Facility.build(tmp_path, sections={"gates": off})
    names = sorted(path.name for path in (prepared / "frames").glob("*.tif"))[:2]
    receive(prepared, facility.gpfs / "24dec03a", names)
    with facility.running():
        yield facility


async def test_gates_are_moved_and_moved_back_and_the_node_is_paused(facility: Facility) -> None:
    app = ElcanoTerminal(BusLink(facility.bus))
    async with app.run_test(size=(120, 45), notifications=True) as pilot:
        await until(pilot, lambda: "24dec03a" in shown(app), "the session")
        await pilot.press("5")
        await until(pilot, lambda: isinstance(app.screen, CurateScreen), "the screen")
        screen = app.screen
        assert isinstance(screen, CurateScreen)

        def passing() -> int:
            return screen.view.passes if screen.view else 0

        await until(pilot, lambda: passing() == 2, "images that pass")
        await pilot.press("e", *"5", "enter")
        await until(pilot, lambda: screen.desk.exact is not None, "the daemon's word")
        assert screen.desk.exact is not None
        await until(pilot, lambda: screen.view is not None and screen.view.passes == 0, "this terminal's own count")
        assert screen.desk.exact["passes"] == 0
        await pilot.press("a")
        await until(pilot, lambda: "ctf_resolution_ang: off → 5" in shown(app), "the question")
        await pilot.press(*"test", "enter")
        await until(pilot, lambda: "by" in shown(app) and "(operator): test" in shown(app), "who moved them and why")
        assert screen.desk.moved == {}
        told = await screen.terminal.link.ask("gates", {"session": "24dec03a"})
        assert told["limits"]["ctf_resolution_ang"] == 5
        assert told["passes"] == 0
        await pilot.press("u")
        await until(pilot, lambda: "ctf_resolution_ang: 5 → off" in shown(app), "the question")
        await pilot.press("enter")
        await until(pilot, lambda: screen.view is not None and passing() == 2, "what held before")

        await pilot.press("3")
        await until(pilot, lambda: "motion_correction" in shown(app) and "p95" in shown(app), "how it keeps up")
        await pilot.press("9")
        await until(pilot, lambda: "✓ alive" in shown(app) and "load and mounts" in shown(app), "the node")
        await pilot.press("p")
        await until(pilot, lambda: "Pause the node?" in shown(app), "the question")
        await pilot.press(*"maintenance", "enter")
        await until(pilot, lambda: "‖ paused: the node" in shown(app), "the banner")
        await until(pilot, lambda: "maintenance" in shown(app), "the reason")
        await pilot.press("p")
        await until(pilot, lambda: "Go on with everything?" in shown(app), "the question")
        await pilot.press("enter")
        await until(pilot, lambda: "‖ paused: the node" not in shown(app), "the banner to go")
