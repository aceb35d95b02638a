"""A movie made of a real micrograph, with a known drift, real counts and a gain, gives back drift and defocus."""

from pathlib import Path

import pytest

from benchmarks.rig.facility import Facility, check_completed
from daemon.exchange.relion.motion import read_motion
from daemon.formats.mrc import read_mrc
from daemon.formats.star import read_star
from daemon.simulator.comparison import drift_ang, motion_error_px
from daemon.simulator.truth import read_truth
from tests.simulator.micrograph_session import session_from_micrograph

MICROGRAPH = Path(__file__).parents[2] / ".." / "shared" / "data" / "micrographs" / "fei-extended.mrc"
PIXEL_ANG = 0.85378
DEFOCUS_U_ANG, DEFOCUS_V_ANG, TOLERANCE_ANG = 10591.0, 10469.0, 300.0
"""What an independent program finds in the micrograph itself, and how far to trust it."""


@pytest.mark.slow
def test_a_real_micrograph_gives_back_its_drift_and_defocus(tmp_path: Path) -> None:
    if not MICROGRAPH.exists():
        pytest.skip(f"the real micrograph {MICROGRAPH} is not on this machine")
    image_yx = read_mrc(MICROGRAPH)
    facility = Facility.build(tmp_path, sections={"compute": {"threads": 2}})
    written = session_from_micrograph(
        facility.gpfs,
        "real",
        [image_yx.reshape(image_yx.shape[-2:])],
        pixel_size_ang=PIXEL_ANG,
        frames=10,
        # The micrograph's own noise is specimen here: counting it anew must add little.
        electrons_per_px=8.0,
        drift_px=9.0,
        amplitude_contrast=0.07,
    )
    run = facility.run_once()
    assert run.code == 0, run.err
    check_completed(facility, movies=1)
    _, movies = read_truth(written.directory / "truth.json")
    ((name, truth),) = movies.items()
    field = read_motion(read_star(facility.home / "real" / "motioncor" / f"{name}_motion.star"))
    assert motion_error_px(field, truth) < 0.05
    (row,) = facility.rows("SELECT * FROM micrographs")
    assert row["drift_ang"] == pytest.approx(drift_ang(truth, PIXEL_ANG), abs=0.2)
    assert row["defocus_u_ang"] == pytest.approx(DEFOCUS_U_ANG, abs=TOLERANCE_ANG)
    assert row["defocus_v_ang"] == pytest.approx(DEFOCUS_V_ANG, abs=TOLERANCE_ANG)
    (fit,) = facility.rows("SELECT confident FROM metrics_ctf_estimation")
    assert fit["confident"]
