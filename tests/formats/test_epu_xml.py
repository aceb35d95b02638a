"""Where the stage stood, as EPU notes it."""

from pathlib import Path

import pytest

from daemon.domain.stage_position import StagePosition
from daemon.errors import FileUnreadable
from daemon.formats.epu_xml import read_stage_position
from tests.formats.cpu_limit import cpu_limit

DATA = Path(__file__).parents[3] / "shared" / "data" / "epu"


def write(folder: Path, position: str) -> Path:
    path = folder / "x.xml"
    path.write_text(f'<?xml version="1.0"?><MicroscopeImage><A>9</A><stage><Holder>H</Holder>{position}</stage></M>')
    return path


def test_radians_and_metres_become_degrees_and_micrometres(tmp_path: Path) -> None:
    stage = read_stage_position(
        write(tmp_path, "<Position><A>0.5235987756</A><B>0</B><X>-1E-05</X><Y>2e-6</Y></Position>")
    )
    assert stage is not None
    assert stage.alpha_deg == pytest.approx(30.0)
    assert stage.place_um == pytest.approx((-10.0, 2.0))


def test_without_a_place(tmp_path: Path) -> None:
    assert read_stage_position(write(tmp_path, "<Position><A>0</A><X>1</X></Position>")) == StagePosition(0.0, None)


@pytest.mark.parametrize(
    "position",
    [
        "",
        "<Position></Position>",
        "<Position><A>--</A></Position>",
        "<Position><A>1e999</A></Position>",
        "<Position><A>1",
    ],
)
def test_what_says_nothing(tmp_path: Path, position: str) -> None:
    assert read_stage_position(write(tmp_path, position)) is None


def test_names_with_prefix_and_attributes(tmp_path: Path) -> None:
    path = tmp_path / "x.xml"
    path.write_text('<a:stage><b:Position xmlns="u">\n<b:A> 0 </b:A><b:X>1</b:X><b:Y>2</b:Y>\n</b:Position></a:stage>')
    assert read_stage_position(path) == StagePosition(0.0, (1e6, 2e6))


@pytest.mark.parametrize("flood", ["<stage><Position>", "<stage>", "<", "<w:", "w", "<stage><Position><A> "])
def test_a_flood_of_beginnings_takes_a_moment(tmp_path: Path, flood: str) -> None:
    path = tmp_path / "x.xml"
    path.write_text(flood * (2**20 // len(flood)))
    with cpu_limit():
        assert read_stage_position(path) is None


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadable):
        read_stage_position(tmp_path / "none.xml")


@pytest.mark.skipif(not DATA.is_dir(), reason="shared data are absent")
def test_every_real_exposure_says_so_and_none_is_tilted() -> None:
    files = [path for path in DATA.rglob("Data/*.xml") if not path.stem.endswith("_Fractions")]
    stages = [read_stage_position(path) for path in files]
    assert len(stages) > 180
    for stage in stages:
        assert stage is not None
        assert stage.place_um is not None
        assert abs(stage.alpha_deg) < 0.1
