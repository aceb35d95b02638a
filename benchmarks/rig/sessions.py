"""Simulated sessions that tests and benchmarks share: made once, then linked into each facility."""

import os
from dataclasses import replace
from pathlib import Path

from benchmarks.rig.facility import REPOSITORY
from benchmarks.rig.microscope import Exposures, expose

QUICK = Exposures("", "quick", 6, width_px=128, frames=5, pixel_size_ang=2.0, electrons_per_px=2.0)
"""Enough to go through every step, too little to measure anything."""

TELLING = Exposures(
    "", "telling", 3, width_px=512, frames=16, pixel_size_ang=2.0, electrons_per_px=5.0, defocus_range_ang=(15e3, 22e3)
)
"""Enough for motion and defocus to be compared with the truth."""


def prepare_session(basis: Path, exposures: Exposures) -> Path:
    """Return the raw directory of a session under `basis`, made on the first call."""
    directory = basis / "prepared" / exposures.name
    if not directory.exists():
        draft = basis / "drafts"
        draft.mkdir(exist_ok=True)
        # One thread: where other work fills the cores, more of them mostly wait for each other.
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        with expose([replace(exposures, root=str(draft))], draft / "request.json", environment) as microscope:
            microscope.communicate()
        assert microscope.returncode == 0
        directory.parent.mkdir(exist_ok=True)
        (draft / exposures.name).rename(directory)
    return directory
