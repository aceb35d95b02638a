"""The terminal over a real daemon: a session is imported, fails for its gain, is read about, mended and retried."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.rig.facility import Facility, receive
from benchmarks.rig.sessions import QUICK, prepare_session
from daemon.formats.mrc_writer import write_mrc
from tests.tui.screen_text import shown, until
from tui.app import ElcanoTerminal
from tui.link import BusLink
from tui.screens.job import JobScreen
from tui.screens.task import TaskScreen

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def facility(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facility]:
    """A daemon with a session of one movie whose gain reference is another camera's."""
    prepared = prepare_session(tmp_path_factory.getbasetemp(), QUICK)
    facility = Facility.build(tmp_path)
    raw = facility.gpfs / "24dec03a"
    receive(prepared, raw, [next((prepared / "frames").glob("*.tif")).name])
    gain = raw / "gains" / "gain.mrc"
    gain.unlink()
    write_mrc(gain, np.ones((64, 64), dtype=np.float32), pixel_size_ang=2.0)
    with facility.running():
        yield facility


async def test_a_failed_task_is_found_read_and_retried(facility: Facility, tmp_path_factory: Any) -> None:
    app = ElcanoTerminal(BusLink(facility.bus))
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: "1 failed" in shown(app), "the failure in the panel of jobs")
        assert "24dec03a" in shown(app)
        await pilot.press("enter")
        await until(pilot, lambda: "✗ failed" in shown(app) and "» skipped" in shown(app), "the matrix")
        assert isinstance(app.screen, JobScreen)
        await pilot.press("enter")
        await until(pilot, lambda: "gain_unsuitable" in shown(app), "the error")
        screen = app.screen
        assert isinstance(screen, TaskScreen)
        assert "then retry" in shown(app)
        assert screen.task_answer is not None
        assert screen.task_answer.parameters["patch_ang"] == 300.0
        assert screen.task_answer.ran_with_these

        gains = facility.gpfs / "24dec03a" / "gains" / "gain.mrc"
        gains.unlink()
        gains.hardlink_to(prepare_session(tmp_path_factory.getbasetemp(), QUICK) / "gains" / "gain.mrc")
        await pilot.press("r", "y")
        await until(pilot, lambda: "✓ done" in "".join(shown(app).splitlines()[:3]), "the task to succeed")
        await until(pilot, lambda: "_aligned.mrc" in shown(app), "its files")
        assert any(move.asked_by and "(operator)" in move.asked_by for move in screen.task_answer.history)
        assert [run.outcome for run in screen.task_answer.runs] == ["failed", "completed"]
        await pilot.press("escape")
        await until(pilot, lambda: shown(app).count("✓ done") == 4, "every stage in the matrix")

        daemon_files = [Path(file.path) for file in screen.task_answer.files]
        assert daemon_files
        assert all(path.is_file() for path in daemon_files)
