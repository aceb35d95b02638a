"""MotionCor's command and logs, in the layouts of its versions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from daemon.domain.acquisition import Acquisition, EerFractions
from daemon.domain.motion import MotionField
from daemon.domain.movie import MovieFormat
from daemon.exchange.command_template import fill_template
from daemon.exchange.motioncor.command import (
    MOTIONCOR3_TEMPLATE,
    MOTIONCOR_PLACEHOLDERS,
    MotionCorFiles,
    fraction_file_text,
    half_sum_paths,
    motioncor_values,
    shift_log_names,
    weighted_sum_path,
)
from daemon.exchange.motioncor.shifts import read_shifts

FULL_LOG = """# full frame alignment
   1      0.00      0.00
   2     -1.50      0.75
   3     -2.25      1.00
"""

PATCH_FULL_LOG = """# Patch based alignment
# Initial alignment based upon full frames

   1      0.50     -0.25
   2     -1.00      0.50
   3     -1.75      0.75
"""

PRINTED = """Iteration  3  Error:     0.412
Total Iterations:  3   Final error:     0.412

Full-frame alignment shift
...... Frame (  1) shift:     0.000      0.000
...... Frame (  2) shift:    -1.500      0.750
...... Frame (  3) shift:    -2.250      1.000

Create aligned sum based upon full frame alignment.
"""

TABLE = """Full-frame alignment shift
Frame   x Shift   y Shift
   1      0.00      0.00
   2     -1.50      0.75
   3     -2.25      1.00
Global shifts are corrected: 1.2 sec
   4     9.00      9.00
"""

ALN = """setting
   stackSize: 4096 4096 3 1
   patches: 5 5 0
   throw: 0 0
#    Global Shift
#---------------------
globalShift
   stackID 0
     0    +0.000    +0.000
     1    -1.500    +0.750
     2    -2.250    +1.000
#    Local Shift
#---------------------
localShift
   patchID: 0
   Converge: 1
     0    409.60    409.60    +0.100    -0.100
"""

MOTION_T2 = np.array([[0.0, 0.0], [1.5, -0.75], [2.25, -1.0]])


def read(text: str, frame_count: int = 3) -> MotionField:
    return read_shifts(text, width_px=4096, height_px=4096, frame_count=frame_count)


@pytest.mark.parametrize(
    "text", [FULL_LOG, PATCH_FULL_LOG, PRINTED, TABLE, ALN], ids=["full", "patch", "out", "1.6", "aln"]
)
def test_every_layout_tells_the_same_motion(text: str) -> None:
    """The log holds the correction; motion is the other way, from the first frame."""
    field = read(text)
    np.testing.assert_allclose(field.global_t2, MOTION_T2)
    assert not np.signbit(field.global_t2[0]).any()
    assert field.local_tyx2 is None
    assert (field.width_px, field.height_px) == (4096, 4096)


def test_the_last_table_counts() -> None:
    np.testing.assert_allclose(read(PRINTED.replace("-1.500", "9.000") + PRINTED).global_t2, MOTION_T2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no full-frame shifts"),
        ("   1   0.0   0.0\n   2   1.0  1.0\n   3   1.0  1.0\n", "no full-frame shifts"),
        (FULL_LOG.replace("   3     -2.25      1.00\n", ""), "2 frames"),
        (FULL_LOG.replace("   2     ", "   5     "), "out of order"),
        (FULL_LOG.replace("-1.50", "nan"), "frames"),
    ],
)
def test_incomplete_logs_are_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read(text)


FILES = MotionCorFiles(Path("/raw/a b.tiff"), Path("/tmp/w/sum.mrc"), Path("/tmp/w"), Path("/tmp/w/fractions.txt"))
WITH_CAMERA = replace(FILES, gain=Path("/w/g.mrc"), dark=Path("/w/d.mrc"), defect_map=Path("/w/m.mrc"))
ACQUISITION = Acquisition(voltage_kv=300.0, pixel_size_ang=0.83)


def test_command_of_a_tiff_movie() -> None:
    values = motioncor_values(WITH_CAMERA, MovieFormat.TIFF, ACQUISITION, 1.25)
    assert tuple(values) == MOTIONCOR_PLACEHOLDERS
    command = fill_template(MOTIONCOR3_TEMPLATE, values)
    assert command[:5] == ("MotionCor3", "-InTiff", "/raw/a b.tiff", "-OutMrc", "/tmp/w/sum.mrc")
    text = " ".join(command)
    for part in (
        "-LogDir /tmp/w/ ",
        "-Gain /w/g.mrc -Dark /w/d.mrc -DefectMap /w/m.mrc",
        "-Patch 5 5 -PixSize 0.83",
        "-FmDose 1.25",
        "-SplitSum 0",
    ):
        assert part in text
    assert "-FmIntFile" not in text
    assert "-EerSampling" not in text


def test_what_is_unknown_is_not_passed() -> None:
    values = motioncor_values(FILES, MovieFormat.MRC, Acquisition(pixel_size_ang=1.0), 1.25)
    text = " ".join(fill_template(MOTIONCOR3_TEMPLATE, values))
    for option in ("-Gain", "-Dark", "-DefectMap", "-kV", "-FmDose", "-InitDose"):
        assert option not in text


def test_command_of_an_eer_movie() -> None:
    acquisition = Acquisition(eer=EerFractions(upsampling=4))
    values = motioncor_values(FILES, MovieFormat.EER, acquisition, None, local=False, split_sum=True)
    text = " ".join(fill_template(MOTIONCOR3_TEMPLATE, values))
    assert "-InEer" in text
    assert "-FmIntFile /tmp/w/fractions.txt -EerSampling 3" in text
    assert "-Patch 0 0" in text
    assert "-SplitSum 1" in text
    assert fraction_file_text(245, 24, 0.0525) == "245 24 0.0525\n"
    with pytest.raises(ValueError, match="groups of 24"):
        fraction_file_text(10, 24, None)


def test_files_that_come_of_it() -> None:
    assert weighted_sum_path(Path("/w/a.sum.mrc")) == Path("/w/a.sum_DW.mrc")
    assert half_sum_paths(Path("/w/sum.mrc")) == (Path("/w/sum_EVN.mrc"), Path("/w/sum_ODD.mrc"))
    assert shift_log_names(Path("/raw/x.tiff"))[:2] == ("x-Patch-Full.log", "x-Full.log")
    assert shift_log_names(Path("/raw/x.mrc.tif"))[1] == "x-Full.log"
