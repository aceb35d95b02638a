"""CTF STAR for RELION: what a foreign reader sees, and what we read back."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.ctf import Ctf
from daemon.exchange.relion.ctf import CtfOptics, ctf_blocks
from daemon.formats.star import find_block, read_star, write_star
from tests.exchange.relion_ctf import read_ctf

CTF = Ctf(22474.25, 21482.5, -53.75, 90.5, 0.195, 3.84)
OPTICS = CtfOptics(300.0, 2.7, 0.07, 0.83, 0.83)


def test_a_foreign_reader_finds_relions_columns(tmp_path: Path) -> None:
    starfile = pytest.importorskip("starfile", reason="starfile is not installed")
    path = tmp_path / "image.star"
    write_star(path, ctf_blocks("motioncor/image_aligned.mrc", "ctf/image_ctf.mrc", CTF, OPTICS))
    tables = starfile.read(path, always_dict=True)
    (optics,) = tables["optics"].to_dict("records")
    assert optics == {
        "rlnOpticsGroupName": "opticsGroup1",
        "rlnOpticsGroup": 1,
        "rlnMicrographOriginalPixelSize": 0.83,
        "rlnVoltage": 300.0,
        "rlnSphericalAberration": 2.7,
        "rlnAmplitudeContrast": 0.07,
        "rlnMicrographPixelSize": 0.83,
    }
    (row,) = tables["micrographs"].to_dict("records")
    assert row == {
        "rlnMicrographName": "motioncor/image_aligned.mrc",
        "rlnOpticsGroup": 1,
        "rlnCtfImage": "ctf/image_ctf.mrc:mrc",
        "rlnDefocusU": 22474.25,
        "rlnDefocusV": 21482.5,
        "rlnCtfAstigmatism": 991.75,
        "rlnDefocusAngle": -53.75,
        "rlnCtfFigureOfMerit": 0.195,
        "rlnCtfMaxResolution": 3.84,
        "rlnPhaseShift": 90.5,
    }


finite = st.floats(-1e5, 1e5)


@settings(deadline=None, max_examples=40)
@given(finite, finite, st.floats(-90, 90), st.floats(0, 180), st.floats(-1, 1), st.floats(1, 100))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, u: float, v: float, angle: float, shift: float, score: float, end: float
) -> None:
    ctf = Ctf(u, v, angle, shift, score, end)
    path = tmp_path_factory.mktemp("star") / "image.star"
    write_star(path, ctf_blocks("a.mrc", "b.mrc", ctf, OPTICS))
    found = read_ctf(read_star(path))
    assert found is not None
    for name, value in vars(ctf).items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-10, abs=1e-30)


def test_a_fit_that_agrees_nowhere_is_999_angstrom_to_relion_and_none_to_us(tmp_path: Path) -> None:
    path = tmp_path / "image.star"
    write_star(path, ctf_blocks("a.mrc", "b.mrc", replace(CTF, fit_resolution_ang=None), OPTICS))
    table = find_block(read_star(path), "micrographs")
    assert table is not None
    assert table.floats("rlnCtfMaxResolution")[0] == 999
    found = read_ctf(read_star(path))
    assert found is not None
    assert found.fit_resolution_ang is None


def test_without_a_ctf_the_table_has_no_row(tmp_path: Path) -> None:
    path = tmp_path / "image.star"
    write_star(path, ctf_blocks("a.mrc", "b.mrc", None, OPTICS))
    assert read_ctf(read_star(path)) is None
