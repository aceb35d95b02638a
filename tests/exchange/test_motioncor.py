"""MotionCor's command and logs, in the layouts of its versions."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

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
    patch_log_names,
    shift_log_names,
    weighted_sum_path,
)
from daemon.exchange.motioncor.shifts import read_patch_shifts, read_shifts
from daemon.exchange.relion.motion import evaluate_local, local_coefficients

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


CENTRES_PX = [(x, y) for y in (300, 900, 1500) for x in (400, 1200, 2000, 2600)]
WHOLE = MotionField(3000, 2000, np.zeros((6, 2)), None)


def patch_log(columns: int, coefficients: Any, doubted: tuple[int, ...] = ()) -> str:
    """A log of MotionCor3 (six columns), or of another version, of patches that move as the model says.

    Each patch has a shift of its own in all frames; what is doubted (patch, in half of its frames) is nonsense.
    """
    lines = ["# Patch based alignment", f"# Number of patches: {len(CENTRES_PX)}", "# Shifts are listed per patch."]
    lines += ["# Movie size: 3000  2000  6", ""]
    for patch, (x_px, y_px) in enumerate(CENTRES_PX):
        lines.append(f"#Patch {patch + 1:03d} raw and fit shifts")
        x, y = x_px / 2999 - 0.5, y_px / 1999 - 0.5
        space = np.array([1, x, x * x, y, y * y, x * y])
        for frame in range(6):
            time = np.array([frame, frame**2, frame**3])
            shift = coefficients.reshape(2, 6, 3) @ time @ space + [0.3 * patch, -0.2]
            is_doubted = patch in doubted and frame % 2 == 0
            told = [*(shift + np.array([50.0, 9.0]) if is_doubted or columns == 7 else shift)]
            more: list[float] = {5: [], 6: [float(is_doubted)], 7: [*shift]}[columns]
            lines.append(" ".join(f"{value:9.4f}" for value in (frame + 1, x_px, y_px, *told, *more)))
        lines.append("")
    return "\n".join(lines)


COEFFICIENTS = np.random.default_rng(1).normal(size=36) * np.tile([1.0, 0.1, 0.01], 12)


@pytest.mark.parametrize(("columns", "doubted"), [(5, ()), (6, ()), (6, (0, 7)), (7, ())])
def test_patches_become_the_local_model(columns: int, doubted: tuple[int, ...]) -> None:
    """Whatever each patch's zero is; the shifts that a version doubts or has not applied do not count."""
    field, rms_px = read_patch_shifts(patch_log(columns, COEFFICIENTS, doubted), WHOLE)
    assert field.local_tyx2 is not None
    assert field.global_t2 is WHOLE.global_t2
    np.testing.assert_allclose(local_coefficients(field.local_tyx2), COEFFICIENTS, atol=2e-3)
    np.testing.assert_allclose(field.local_tyx2, evaluate_local(COEFFICIENTS, 6, 9, 9), atol=2e-3)
    assert rms_px < 1e-3


def test_what_the_model_cannot_follow_is_told() -> None:
    text = patch_log(6, COEFFICIENTS)
    jumped = re.sub(
        r"^( +4\.0000 +400\.0000 +300\.0000 +)(-?[\d.]+)", lambda m: f"{m[1]}99.0", text, flags=re.MULTILINE
    )
    assert jumped != text
    assert 1 < read_patch_shifts(jumped, WHOLE)[1] < 99


def test_a_movie_of_few_frames_has_a_model_of_as_many_powers() -> None:
    lines = [line for line in patch_log(6, COEFFICIENTS).splitlines() if not re.match(r" +[3-6]\.0000 ", line)]
    field, _ = read_patch_shifts("\n".join(lines), replace(WHOLE, global_t2=np.zeros((2, 2))))
    assert field.local_tyx2 is not None
    np.testing.assert_allclose(field.local_tyx2, evaluate_local(COEFFICIENTS, 2, 9, 9), atol=2e-3)


GOOD_LOG = patch_log(6, COEFFICIENTS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "None patches are announced, 0 are told"),
        (GOOD_LOG[: len(GOOD_LOG) // 2], "12 patches are announced, 6 are told"),
        ("\n".join(GOOD_LOG.splitlines()[:-3]), "patch 12 does not tell a shift for each of 6 frames"),
        (GOOD_LOG.replace("3000  2000", "1500  1000"), "a movie of 1500 × 1000 px"),
        (GOOD_LOG.replace(" 0.0000", " 0.0000 1 2 3"), "another layout"),
        (re.sub(r"^( +4\.0000.*) \S+( +0\.0000)$", r"\1 nan\2", GOOD_LOG, flags=re.MULTILINE), "no number"),
        (re.sub(r"^( +\d\.0000.*) 0\.0000$", r"\1 1.0000", GOOD_LOG, flags=re.MULTILINE), "0 patch.* do not determine"),
        (re.sub(r"( (?:900|1500)\.0000 .*) 0\.0000\n", r"\1 1.0000\n", GOOD_LOG), "4 patch.* do not determine"),
    ],
    ids=range(8),
)
def test_patches_that_do_not_tell_the_motion_are_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_patch_shifts(text, WHOLE)


def doubt(log: str, doubted: Callable[[int, float, float], bool]) -> str:
    """Let the program doubt the rows of which `doubted` says so, by frame (from 0) and centre, and tell them wildly."""

    def told(line: str) -> str:
        words = line.split()
        is_row = len(words) == 6 and not line.startswith("#")
        if is_row and doubted(int(float(words[0])) - 1, float(words[1]), float(words[2])):
            return " ".join([*words[:3], "400", "-400", "1"])
        return line

    return "\n".join(told(line) for line in log.splitlines())


@pytest.mark.parametrize(
    ("doubted", "words"),
    [
        (lambda frame, x, y: frame == 0, "0 of its 3 shifts at the left edge in the first frame"),
        (lambda frame, x, y: frame == 5, "0 of its 3 shifts at the left edge in the last frame"),
        (lambda frame, x, y: frame >= 4, "0 of its 3 shifts at the left edge in the last frame"),
        (lambda frame, x, y: x > 2000, "0 of its 3 shifts at the right edge in the first frame"),
        (lambda frame, x, y: x > 2000 and 0 < frame < 5, "6 of its 18 shifts at the right edge$"),
        (lambda frame, x, y: y < 500 and x <= 2000 and frame == 5, "1 of its 4 shifts at the top edge in the last"),
        (
            lambda frame, x, y: y > 1000 and x <= 2000 and frame == 0,
            "1 of its 4 shifts at the bottom edge in the f",
        ),
    ],
    ids=range(7),
)
def test_the_model_is_not_drawn_on_where_the_program_doubts(
    doubted: Callable[[int, float, float], bool], words: str
) -> None:
    """What is left would determine a polynomial; what that says in the frames and places left out is made up."""
    with pytest.raises(ValueError, match=words):
        read_patch_shifts(doubt(GOOD_LOG, doubted), WHOLE)


def test_doubts_in_the_middle_and_single_ones_at_the_ends_do_no_harm() -> None:
    def doubted(frame: int, x: float, y: float) -> bool:
        return (frame in {0, 5} and x < 500 and y < 500) or (500 < x < 2000 and 500 < y < 1500 and frame != 2)

    field, _ = read_patch_shifts(doubt(GOOD_LOG, doubted), WHOLE)
    assert field.local_tyx2 is not None
    np.testing.assert_allclose(field.local_tyx2, evaluate_local(COEFFICIENTS, 6, 9, 9), atol=5e-3)


def test_patches_of_the_middle_alone_say_nothing_of_the_edges() -> None:
    inward = re.sub(
        r"^( +\d\.0000) +([\d.]+)", lambda m: f"{m[1]} {800 + float(m[2]) / 3:.4f}", GOOD_LOG, flags=re.MULTILINE
    )
    with pytest.raises(ValueError, match="no patch lies near the left edge"):
        read_patch_shifts(inward, WHOLE)


@pytest.mark.parametrize(
    ("shift", "words"), [("1e300", "larger than the image"), ("oops", "'oops' stands where"), ("inf", "no n")]
)
def test_shifts_that_are_no_shifts(shift: str, words: str) -> None:
    log = re.sub(r"^( +4\.0000 +\S+ +\S+) +\S+", rf"\g<1> {shift}", GOOD_LOG, flags=re.MULTILINE)
    with pytest.raises(ValueError, match=words):
        read_patch_shifts(log, WHOLE)


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
    assert patch_log_names(Path("/raw/x.tiff")) == ("x-Patch-Patch.log", "x0-Patch-Patch.log")
