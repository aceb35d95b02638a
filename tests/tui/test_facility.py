"""Over a real daemon: a session is found, read about, imported, browsed, titled, paused, reported, seen and closed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.rig.facility import Facility, receive
from benchmarks.rig.sessions import QUICK, prepare_session
from tests.tui.screen_text import shown, until
from tui.app import ElcanoTerminal
from tui.link import BusLink
from tui.screens.job import JobScreen
from tui.screens.sessions import SessionsScreen

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def facility(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facility]:
    """A daemon, and one movie of a session where nobody looks for sessions."""
    prepared = prepare_session(tmp_path_factory.getbasetemp(), QUICK)
    facility = Facility.build(tmp_path)
    receive(prepared, facility.gpfs / "group" / "24dec03a", [next((prepared / "frames").glob("*.tif")).name])
    with facility.running():
        yield facility


async def test_from_a_folder_to_a_closed_session(facility: Facility) -> None:
    app = ElcanoTerminal(BusLink(facility.bus))
    async with app.run_test(size=(140, 45), notifications=True) as pilot:

        async def see(words: str) -> None:
            await until(pilot, lambda: words in shown(app), words)

        await until(pilot, lambda: app.model.link.is_connected, "the daemon")
        await pilot.press("2")
        await see(f"▸ {facility.gpfs}"[-20:])
        await pilot.press("enter")
        await see("▸ group")
        await pilot.press("down", "enter")
        await see("● session.json")
        await pilot.press("down", "enter")
        await see("› session.json")
        await see("1 movie (.tif)")
        await pilot.press("enter")
        await see("IMPORT DATA: take")
        await pilot.press("y")
        await until(pilot, lambda: isinstance(app.screen, JobScreen), "the job")
        await until(pilot, lambda: shown(app).count("✓ done") == 4, "every stage to be done")

        await pilot.press("7")
        await see("▸ 24dec03a")
        await pilot.press("end")
        await see("how it was taken")
        await pilot.press("t", *"Grid_3", "enter")
        await see("Grid_3  24dec03a")
        assert (facility.home / "24dec03a").is_dir()
        await pilot.press("p")
        await see("Begin nothing new of 1 session")
        await pilot.press("y")
        await see("‖ paused")
        await pilot.press("p", "y")
        await see("○ open")
        await pilot.press("w")
        report = facility.home / "24dec03a" / "reports" / "24dec03a.html"
        await until(pilot, report.exists, "the report")
        for words in ("▸ quick_00001gr", "▸ 00001sq_v01", "▸ 00001hl", "00002ex"):
            await pilot.press("right")
            await see(words)
            await pilot.press("right")
        await pilot.press("down", "down", "down", "right")
        await until(pilot, lambda: "✓ done" in shown(app) or "» refused" in shown(app), "the exposure")
        assert isinstance(app.screen, SessionsScreen)

        await pilot.press("8")
        await see("1 raw movie")
        await pilot.press("slash", *"micrograph", "enter", "enter")
        await see("_aligned")
        await see("▀▀▀▀")
        await see("float")

        await pilot.press("7", "c")
        await see("Close Grid_3 (24dec03a)")
        await pilot.press("y")
        await see("● closed")
        statement = "SELECT cause, asked_by FROM history WHERE subject = 'control'"
        found = await app.link.ask("sql", {"statement": statement})
        by = dict(found["rows"])
        assert "(operator)" in by["title"]
        assert "(operator)" in by["pause"]
