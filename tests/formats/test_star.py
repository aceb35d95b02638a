from pathlib import Path

import numpy as np
import pytest
import starfile
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.errors import FileUnreadable, FormatError, FormatUnsupported
from daemon.formats.star import StarBlock, StarValue, find_block, format_star, parse_star, read_star, write_star
from tests.formats.samples import SHARED_DATA

SOME = Path("some.star")
LABELS = st.from_regex(r"[A-Za-z][A-Za-z0-9_.]{0,12}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12).filter(
    lambda text: not ('"' in text and "'" in text)
)
VALUES = st.one_of(st.integers(-(2**60), 2**60), st.floats(allow_nan=False, width=32), TEXTS)


def optics() -> StarBlock:
    return StarBlock(
        "optics",
        {
            "rlnOpticsGroupName": ["opticsGroup1", "optics group 2"],
            "rlnOpticsGroup": np.array([1, 2]),
            "rlnVoltage": np.array([300.0, 200.0]),
            "rlnAmplitudeContrast": np.array([0.1, 0.07], np.float32),
        },
    )


@st.composite
def blocks(draw: st.DrawFn) -> StarBlock:
    name = draw(LABELS)
    labels = draw(st.lists(LABELS, unique=True, min_size=1, max_size=4))
    if draw(st.booleans()):
        return StarBlock.pairs(name, {label: draw(VALUES) for label in labels})
    rows = draw(st.integers(0, 4))
    return StarBlock(name, {label: draw(st.lists(VALUES, min_size=rows, max_size=rows)) for label in labels})


def as_text(value: StarValue) -> str:
    return value if isinstance(value, str) else f"{value:.12g}" if isinstance(value, float) else str(value)


@settings(deadline=None, max_examples=200)
@given(st.lists(blocks(), max_size=4))
def test_round_trip(written: list[StarBlock]) -> None:
    text = format_star(written)
    if not written:
        assert text == ""
        return
    found = parse_star(text, SOME)
    assert [block.name for block in found] == [block.name for block in written]
    for ours, theirs in zip(found, written, strict=True):
        assert ours.is_loop == theirs.is_loop
        assert list(ours.columns) == list(theirs.columns), "order is kept"
        for label, column in theirs.columns.items():
            assert ours.strings(label) == [as_text(value) for value in column]
    assert format_star(found) == text


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1))
def test_float32_survives_exactly(values: list[float]) -> None:
    column = np.array(values, np.float32)
    (block,) = parse_star(format_star([StarBlock("a", {"x": column})]), SOME)
    np.testing.assert_array_equal(block.floats("x").astype(np.float32), column)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_float64_keeps_twelve_digits(values: list[float]) -> None:
    (block,) = parse_star(format_star([StarBlock("a", {"x": np.array(values)})]), SOME)
    np.testing.assert_allclose(block.floats("x"), values, rtol=1e-11)


def test_exact_text() -> None:
    general = StarBlock.pairs(
        "general", {"rlnImageSizeX": 5760, "rlnMicrographName": "a b.mrc", "rlnVoltage": 0.1 + 0.2}
    )
    assert format_star([general, optics()]) == (
        "\ndata_general\n\n"
        "_rlnImageSizeX     5760\n"
        '_rlnMicrographName "a b.mrc"\n'
        "_rlnVoltage        0.3\n"
        "\n"
        "\ndata_optics\n\nloop_\n"
        "_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\n_rlnVoltage #3\n_rlnAmplitudeContrast #4\n"
        "    opticsGroup1 1 300  0.1\n"
        '"optics group 2" 2 200 0.07\n'
        "\n"
    )


def test_values_by_type() -> None:
    columns: dict[str, list[StarValue]] = {
        "a": [True, np.bool_(False), 7, np.int32(-3), 1e-7, np.float32(0.25), np.str_("x"), ""]
    }
    (block,) = parse_star(format_star([StarBlock("b", columns)]), SOME)
    assert block.strings("a") == ["1", "0", "7", "-3", "1e-07", "0.25", "x", ""]


def test_typed_columns_and_lookup() -> None:
    found = parse_star(format_star([optics(), StarBlock.pairs("general", {"rlnPixelSize": 0.83})]), SOME)
    block = find_block(found, "optics")
    assert block is not None
    assert block.integers("rlnOpticsGroup").tolist() == [1, 2]
    assert block.floats("rlnVoltage").tolist() == [300.0, 200.0]
    assert block.strings("rlnOpticsGroupName") == ["opticsGroup1", "optics group 2"]
    general = find_block(found, "general")
    assert general is not None
    assert general.value("rlnPixelSize") == "0.83"
    assert find_block(found, "absent") is None


def test_starfile_reads_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.star"
    general = StarBlock.pairs("general", {"rlnImageSizeX": 5760, "rlnMicrographMovieName": "a b.tif"})
    write_star(path, [general, optics()])
    found = starfile.read(path, always_dict=True)
    assert found["general"] == {"rlnImageSizeX": 5760, "rlnMicrographMovieName": "a b.tif"}
    assert found["optics"]["rlnOpticsGroupName"].tolist() == ["opticsGroup1", "optics group 2"]
    assert found["optics"]["rlnVoltage"].tolist() == [300, 200]
    assert found["optics"]["rlnAmplitudeContrast"].astype(np.float32).tolist() == [np.float32(0.1), np.float32(0.07)]


def test_what_starfile_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.star"
    write_star(path, [optics()])
    frames = starfile.read(path, always_dict=True)
    starfile.write({**frames, "general": {"rlnImageSizeX": 5760}}, tmp_path / "b.star")
    found = read_star(tmp_path / "b.star")
    assert [block.name for block in found] == ["optics", "general"]
    assert found[0].strings("rlnOpticsGroupName") == ["opticsGroup1", "optics group 2"]
    assert found[1].value("rlnImageSizeX") == "5760"


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the shared real data are not here")
def test_real_file() -> None:
    found = read_star(SHARED_DATA / "star" / "relion31.star")
    assert [block.name for block in found] == ["optics", "micrographs"]
    assert found[0].floats("rlnMicrographPixelSize").tolist() == [0.832]
    assert found[1].strings("rlnMicrographName")[2] == "micrographs/session_003.mrc"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_reader_is_tolerant(newline: str) -> None:
    lines = [
        "# version 30001", "", "data_", "", "loop_ ", "_rlnName #1 ", "_rlnX #2", "_rlnNote",
        "# between", "a#b.mrc  1.5   'it''s fine'", "", '  "c d" 2 x # trailing', "",
        "_rlnAlone  'a value' # why", "data_next", "_rlnK  v", "loop_", "_rlnM", " loop_2",
    ]  # fmt: skip
    found = parse_star(newline.join(lines), SOME)
    assert [(block.name, block.is_loop) for block in found] == [
        ("", True),
        ("", False),
        ("next", False),
        ("next", True),
    ]
    assert found[0].strings("rlnName") == ["a#b.mrc", "c d"]
    assert found[0].floats("rlnX").tolist() == [1.5, 2.0]
    assert found[0].strings("rlnNote") == ["it''s fine", "x"]
    assert found[1].value("rlnAlone") == "a value"
    assert found[2].value("rlnK") == "v"
    assert found[3].strings("rlnM") == ["loop_2"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "holds no data_ block"),
        ("# only a comment\n", "holds no data_ block"),
        ("hello world\n", "line 1: 'hello' stands before"),
        ("data_a\nloop_\n_x\n_y\n1\n", r"line 5: 1 value\(s\) where 2"),
        ("data_a\nloop_\n_x\n1 2\n", r"2 value\(s\) where 1"),
        ("data_a\n_x\n", "label _x needs one value, has 0"),
        ("data_a\n_x 1 2\n", "needs one value, has 2"),
        ("data_a\n_x 1\n_x 2\n", "stands twice"),
        ("data_a\nloop_\n_x 5\n", "a value follows the loop label _x"),
        ("data_a\n5\n", "line 2"),
    ],
)
def test_malformed_files_name_the_line(text: str, what: str) -> None:
    with pytest.raises(FormatError, match=what):
        parse_star(text, SOME)


def test_text_over_lines_is_refused() -> None:
    with pytest.raises(FormatUnsupported, match="line 3"):
        parse_star("data_a\n_x\n;\nlong\n;\n".replace("_x\n", "_x 1\n"), SOME)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadable):
        read_star(tmp_path / "absent.star")
    (tmp_path / "a.star").write_bytes(b"data_\xff\xfe")
    with pytest.raises(FormatError, match="not UTF-8"):
        read_star(tmp_path / "a.star")


@pytest.mark.parametrize(
    "block",
    [
        StarBlock("a", {"x": [1, 2], "y": [1]}),
        StarBlock("a", {"x y": [1]}),
        StarBlock("a", {"_x": [1]}),
        StarBlock("a b", {"x": [1]}),
        StarBlock("a", {"x": ["two\nlines"]}),
        StarBlock("a", {"x": ["both \" and ' here' "]}),
        StarBlock("a", {"x": [None]}),  # type: ignore[list-item]
    ],
)
def test_what_a_star_file_cannot_hold_is_refused(block: StarBlock) -> None:
    with pytest.raises(ValueError, match="STAR"):
        format_star([block])
