"""Where the stage stood, as SerialEM notes it."""

from pathlib import Path

import pytest

from daemon.domain.stage_position import StagePosition
from daemon.errors import FileUnreadable
from daemon.formats.mdoc import MdocSection, read_mdoc
from tests.formats.cpu_limit import cpu_limit

DATA = Path(__file__).parents[3] / "shared" / "data" / "mdoc"


def write(folder: Path, text: str) -> Path:
    path = folder / "x.mdoc"
    path.write_bytes(text.encode())
    return path


def test_sections_with_movie_tilt_and_place(tmp_path: Path) -> None:
    text = (
        "T = SerialEM\r\nTiltAngle = 7\r\n\r\n"
        "[FrameSet = 0]\r\nTiltAngle = -30.01\r\nStagePosition = 1.5 -2\r\nSubFramePath = D:\\f\\a_1.tif \r\n"
        "[ZValue = 1]\nTiltAngle = 3\nSubFramePath = /f/b_2.tif\n"
        "[ZValue = 2]\nStagePosition = 1 2\n[ZValue = 3]\nTiltAngle = much\n[ZValue = 4]\nTiltAngle = 400\n"
    )
    assert read_mdoc(write(tmp_path, text)) == [
        MdocSection("a_1.tif", StagePosition(-30.01, (1.5, -2.0))),
        MdocSection("b_2.tif", StagePosition(3.0, None)),
    ]


@pytest.mark.parametrize("text", ["", "TiltAngle = 3", "[ZValue = 0]", "\0" * 5000])
def test_what_says_nothing(tmp_path: Path, text: str) -> None:
    assert read_mdoc(write(tmp_path, text)) == []


@pytest.mark.parametrize("angle", ["nan", "1e999", "-91", "3 4", "much"])
def test_what_is_no_tilt(tmp_path: Path, angle: str) -> None:
    assert read_mdoc(write(tmp_path, f"[ZValue = 0]\nTiltAngle = {angle}\n")) == []


@pytest.mark.parametrize("before", ["", "TiltAngle", "TiltAngle = 3", "[ZValue = 1"])
def test_a_flood_of_blanks_takes_a_moment(tmp_path: Path, before: str) -> None:
    flooded = write(tmp_path, f"[ZValue = 0]\nTiltAngle = 7\n{before}" + " " * (8 * 2**20 - 100) + "x")
    with cpu_limit():
        assert read_mdoc(flooded) == [MdocSection(None, StagePosition(7.0, None))]


def test_lines_without_end_hold_no_field(tmp_path: Path) -> None:
    text = f"[ZValue = 0]\nNote = {'x' * 9000} TiltAngle = 5\nTiltAngle = 7\nStagePosition = {'1 ' * 9000}\n"
    assert read_mdoc(write(tmp_path, text)) == [MdocSection(None, StagePosition(7.0, None))]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadable):
        read_mdoc(tmp_path / "none.mdoc")


@pytest.mark.skipif(not DATA.is_dir(), reason="shared data are absent")
def test_real_files() -> None:
    series = read_mdoc(DATA / "tilt_series.mdoc")
    assert [section.movie_name for section in series[:2]] == ["TS_01_000_0.0.mrc", "TS_01_001_3.0.mrc"]
    assert series[1].stage == StagePosition(3.00113, (20.7926, 155.267))
    (single,) = read_mdoc(DATA / "frame_set_single.mdoc")
    assert (single.movie_name, single.stage.alpha_deg) == ("s_mmm_00993_33.0_Oct08_07.39.05.tif", 32.984)
    assert {section.movie_name for section in read_mdoc(DATA / "montage_section_multiple.mdoc")} == {None}
