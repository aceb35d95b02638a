"""A gain that lies otherwise than its file has it, found by `elcano run --once`, also after a movie went on without."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.rig.facility import Facility
from daemon.formats.mrc import read_mrc
from daemon.formats.mrc_writer import write_mrc
from daemon.numerics.gain_orientation import gain_pattern
from tests.numerics.gain_cases import draw_camera, turn

CAMERA = draw_camera((256, 256), 1)


def write_movie(raw: Path, name: str, counts_per_px: float, seed: int) -> None:
    frames = [CAMERA.expose(counts_per_px / 4, 10 * seed + part) for part in range(4)]
    write_mrc(raw / "frames" / name, np.stack(frames).astype(np.int16), pixel_size_ang=0.83)


def gain_used(facility: Facility, name: str) -> dict[str, Any]:
    record = facility.home / "s" / ".elcano" / "tasks" / "motion_correction" / f"{name}.json"
    gain: dict[str, Any] = json.loads(record.read_text())["acquisition"]["gain"]
    return gain


def pattern_left(facility: Facility, name: str) -> float:
    """How much of the gain's pattern stands in the sum, 1 = all of it, as without a gain."""
    sum_yx = read_mrc(facility.home / "s" / "motioncor" / f"{name}_aligned.mrc")
    left_yx, pattern_yx = gain_pattern(sum_yx - sum_yx.min() + 1), gain_pattern(CAMERA.gain_yx)
    return abs(float((left_yx * pattern_yx).sum() / (pattern_yx * pattern_yx).sum()))


@pytest.mark.slow
def test_a_movie_that_went_on_as_configured_is_made_again_when_the_next_one_shows_how_the_gain_lies(
    tmp_path: Path,
) -> None:
    raw = tmp_path / "raw" / "s"
    (raw / "frames").mkdir(parents=True)
    write_mrc(raw / "gain.mrc", turn(CAMERA.gain_yx, "mirrored").astype(np.float32), pixel_size_ang=1.0)
    acquisition = {"voltage_kv": 300, "spherical_aberration_mm": 2.7, "pixel_size_ang": 0.83}
    gain = {"path": "gain.mrc", "orientation": "auto"}
    entry = {
        "directory": str(raw),
        "name": "s",
        "pipeline": ["motion_correction"],
        "acquisition": {**acquisition, "gain": gain},
    }
    facility = Facility.build(tmp_path / "site", sections={"session": [entry]})
    write_movie(raw, "few.mrc", 2.0, 1)
    run = facility.run_once()
    assert run.code == 0, run.err
    assert gain_used(facility, "few")["flip"] == "none"
    write_movie(raw, "many.mrc", 400.0, 2)
    run = facility.run_once()
    assert run.code == 0, run.err
    for name in ("few", "many"):
        used = gain_used(facility, name)
        assert (used["flip"], used["rotate_deg"], used["operation"]) == ("x", 0, "multiply")
    assert pattern_left(facility, "many") < 0.1
    kinds = facility.rows("SELECT kind FROM notification ORDER BY kind")
    assert [row["kind"] for row in kinds] == ["acquisition_changed", "gain_orientation"]
