"""A night in short, as a person has it: no daemon yet, then one; a session, a failure, its reason, a retry."""

import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.rig.facility import Facility, receive
from benchmarks.rig.sessions import QUICK, prepare_session
from daemon.formats.mrc_writer import write_mrc
from tests.oracles import find_program
from tests.tui.tmux import sitting

pytestmark = [pytest.mark.slow, pytest.mark.oracle]


def test_a_session_is_imported_watched_and_mended(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    program = find_program("tmux", "tmux")
    prepared = prepare_session(tmp_path_factory.getbasetemp(), QUICK)
    facility = Facility.build(tmp_path / "facility")
    elcano = shlex.join([sys.executable, "-m", "daemon"])
    raw = tmp_path / "facility" / "gpfs" / "24dec03a"
    movie = next((prepared / "frames").glob("*.tif")).name
    with sitting(program, tmp_path / "tmux", facility.root, facility.environment, columns=100, rows=30) as person:
        person.types(f"{elcano} tui --config config.toml")
        screen = person.wait_for("No elcano daemon answers")
        assert "elcano run --config" in screen  # what to do about it

        with facility.running() as daemon:
            person.wait_for("No session has been imported yet")
            receive(prepared, raw, [movie])
            gain = raw / "gains" / "gain.mrc"
            gain.unlink()
            write_mrc(gain, np.ones((64, 64), dtype=np.float32), pixel_size_ang=2.0)
            done = facility.elcano("import", str(raw))
            assert done.code == 0, done.err
            person.wait_for(["24dec03a", "1 failed"])
            person.press("Enter")
            person.wait_for(["✗ failed", "» skipped"])
            person.press("Enter")
            screen = person.wait_for("gain_unsuitable")
            assert "then retry" in screen  # the hint

            gain.unlink()
            gain.hardlink_to(prepared / "gains" / "gain.mrc")
            person.press("r")
            person.wait_for("Run 1 task of 1 image again?")
            person.press("y")
            person.wait_for(["✓ done", "total_motion_ang"])
            person.press("Escape")
            person.wait_for(["✓ done", "/ filter"])

            person.press("6")
            person.wait_for(["Notifications", "following", "session imported"])
            person.press("q")
            person.wait_for("tui --config config.toml")  # back at the shell, whose screen is as it was
            person.types("echo left with $?")
            person.wait_for("left with 0")
            assert daemon.process.poll() is None  # the daemon goes on
