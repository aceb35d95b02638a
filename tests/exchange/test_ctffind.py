"""CTFFIND's answers and its text, versions 4.1 and 5."""

from pathlib import Path

import pytest

from daemon.domain.ctf import Ctf
from daemon.exchange.command_template import fill_template
from daemon.exchange.ctffind.command import CTFFIND_TEMPLATE, CtffindFiles, CtffindSearch, ctffind_answers
from daemon.exchange.ctffind.text import read_ctffind_text
from daemon.exchange.relion.ctf import CtfOptics

HEAD = """# Output from CTFFind version {version}, run on 2025-02-13 21:14:21
# Input file: /w/a.mrc ; Number of micrographs: 1
# Pixel size: 0.930 Angstroms ; acceleration voltage: 300.0 keV ; spherical aberration: 2.70 mm
# Columns: #1 - micrograph number; #2 - defocus 1 [Angstroms]; #3 - defocus 2; #4 - azimuth of astigmatism; ...
"""
ROW_4 = "1.000000 10588.083984 9956.687500 -44.710212 0.000000 0.494779 4.102857\n"
ROW_5 = "1.000000 8984.742188 8709.236328 45.948771 0.000000 0.446317 3.720000 221.912292 12.251187 1619.773438\n"


def test_version_4() -> None:
    found = read_ctffind_text(HEAD.format(version="4.1.14") + ROW_4)
    expected = Ctf(10588.083984, 9956.6875, -44.710212, 0.0, 0.494779, 4.102857)
    assert vars(found.ctf) == pytest.approx(vars(expected))
    assert found.tilt_angle_deg is None
    assert found.thickness_ang is None


def test_version_5_tells_tilt_and_thickness() -> None:
    found = read_ctffind_text(HEAD.format(version="5.0.2") + ROW_5)
    assert found.ctf.defocus_u_ang == 8984.742188
    assert (found.tilt_axis_deg, found.tilt_angle_deg) == (221.912292, 12.251187)
    assert found.thickness_ang == 1619.773438
    none = read_ctffind_text(ROW_5.replace("221.912292 12.251187 1619.773438", "0.000000 0.000000 0.000000"))
    assert (none.tilt_axis_deg, none.tilt_angle_deg, none.thickness_ang) == (None, None, None)


def test_conventions_are_ours() -> None:
    """U is the larger defocus, its angle lies in (−90, 90], the phase shift is in degrees."""
    ctf = read_ctffind_text("1 9000 9500 60 1.5707963 0.2 5.0\n").ctf
    assert (ctf.defocus_u_ang, ctf.defocus_v_ang) == (9500, 9000)
    assert ctf.astigmatism_angle_deg == pytest.approx(-30)
    assert ctf.phase_shift_deg == pytest.approx(90, abs=1e-4)
    assert read_ctffind_text("1 9500 9000 -90 0 0.2 5.0\n").ctf.astigmatism_angle_deg == 90
    assert read_ctffind_text("1 9500 9000 90 0 0.2 5.0\n").ctf.astigmatism_angle_deg == 90


def test_rings_that_fit_nowhere_have_no_resolution() -> None:
    assert read_ctffind_text("1 9500 9000 10 0 0.02 inf\n").ctf.fit_resolution_ang is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD, "0 rows"),
        (ROW_4 + ROW_4, "2 rows"),
        ("1 9500 9000 10 0 0.2\n", "6 numbers"),
        ("1 9500 x 10 0 0.2 5\n", "something else"),
        ("1 nan nan 10 0 0.2 5\n", "not finite"),
    ],
)
def test_other_text_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_ctffind_text(text)


FILES = CtffindFiles(Path("/w/a.mrc"), Path("/w/a_ctf.mrc"))
OPTICS = CtfOptics(300.0, 2.7, 0.07, 0.83, 0.83)


def test_answers_of_version_4() -> None:
    assert ctffind_answers(FILES, OPTICS, CtffindSearch(), version=4).splitlines() == [
        "/w/a.mrc", "/w/a_ctf.mrc", "0.83", "300", "2.7", "0.07", "512", "30", "5", "5000", "50000", "100",
        "no", "no", "no", "no", "no",
    ]  # fmt: skip


def test_answers_of_version_5_with_phase_and_tilt() -> None:
    search = CtffindSearch(fit_phase=True, determine_tilt=True)
    answers = ctffind_answers(FILES, OPTICS, search, version=5).splitlines()
    assert answers[12:] == ["no", "no", "no", "yes", "0", "3.1416", "0.5", "yes", "no", "no"]


def test_a_path_cannot_smuggle_in_an_answer() -> None:
    with pytest.raises(ValueError, match="one answer"):
        ctffind_answers(CtffindFiles(Path("/w/a\nb.mrc"), Path("/w/b.mrc")), OPTICS, CtffindSearch(), version=4)


def test_command_and_text() -> None:
    assert fill_template(CTFFIND_TEMPLATE, {"threads": 2}) == ("ctffind", "--omp-num-threads", "2")
    assert FILES.text == Path("/w/a_ctf.txt")
