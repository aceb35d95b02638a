"""Micrographs over a real daemon: looked at, rejected, accepted and left to the gates again by keys."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.rig.facility import Facility, receive
from benchmarks.rig.sessions import QUICK, prepare_session
from tests.tui.screen_text import shown, until
from tui.app import ElcanoTerminal
from tui.link import BusLink
from tui.screens.micrograph import MicrographScreen
from tui.screens.micrographs import MicrographsScreen

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def facility(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facility]:
    """A daemon with a session of two movies."""
    prepared = prepare_session(tmp_path_factory.getbasetemp(), QUICK)
    facility = Facility.build(tmp_path)
    names = sorted(path.name for path in (prepared / "frames").glob("*.tif"))[:2]
    receive(prepared, facility.gpfs / "24dec03a", names)
    with facility.running():
        yield facility


async def test_micrographs_are_looked_at_and_judged_by_hand(facility: Facility) -> None:
    app = ElcanoTerminal(BusLink(facility.bus))
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: "100%" in shown(app), "both movies to be processed")
        await pilot.press("4")
        await until(pilot, lambda: "2 micrographs" in shown(app), "the list")
        listed = app.screen
        assert isinstance(listed, MicrographsScreen)
        await until(pilot, lambda: all(row.passes is not None for row in listed.micrographs.rows), "verdicts")
        await pilot.press("w", *"ice", "enter", "enter")
        await until(pilot, lambda: shown(app).count("▀▀▀") > 10, "a picture")
        await until(pilot, lambda: "motion ○ first frame ● last" in shown(app), "the path of the motion")
        screen = app.screen
        assert isinstance(screen, MicrographScreen)
        assert screen._told is not None
        assert len(screen._told.path_ang) == QUICK.frames
        assert {info.kind for info in screen._told.pictures} == {
            "thumbnail",
            "ctf_plot",
            "ctf_spectrum",
            "fft_picture",
            "motion_plot",
        }
        assert screen._told.troubles == []

        await pilot.press("x")
        await until(pilot, lambda: "✗ rejected by" in shown(app), "the rejection, with who said so")
        assert "(operator)" in shown(app)
        assert ": ice" in shown(app)
        await pilot.press("a")
        await until(pilot, lambda: "✓ accepted by" in shown(app), "the acceptance")
        await pilot.press("escape")
        await until(pilot, lambda: "1 accepted" in shown(app), "it in the list")
        await pilot.press("asterisk", "u")
        await until(pilot, lambda: "Leave 2 micrographs to the gates again?" in shown(app), "the question")
        await pilot.press("y")
        await until(pilot, lambda: "accepted  " not in shown(app).splitlines()[1], "the gates to judge")
    said = facility.elcano("query", "SELECT to_state, reason FROM history WHERE cause = 'by hand' ORDER BY seq").out
    assert said.index("rejected") < said.index("accepted") < said.index("unmarked")
