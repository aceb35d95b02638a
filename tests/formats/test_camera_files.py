"""Darks and files of defects, from every kind of file, turned as gains are."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.acquisition import CameraReference, EerFractions
from daemon.domain.movie import MovieFormat, MovieHeader
from daemon.errors import DarkUnsuitable, DefectsUnsuitable, FileUnreadable, FormatError
from daemon.formats.dark import read_dark
from daemon.formats.defects import read_defects
from daemon.formats.mrc_writer import write_mrc
from tests.formats.dm_samples import write_dm

IMAGE = np.array([[0, 2, 4], [1, 0, 3]], np.float32)


def movie(movie_format: MovieFormat = MovieFormat.TIFF, shape_yx: tuple[int, int] = (2, 3)) -> MovieHeader:
    return MovieHeader(Path("some/movie.x"), movie_format, shape_yx[1], shape_yx[0], 10, "uint8", None, 60)


def write_image(folder: Path, suffix: str, stored_yx: npt.NDArray[Any] = IMAGE) -> Path:
    path = folder / f"image{suffix}"
    if suffix == ".mrc":
        write_mrc(path, stored_yx, pixel_size_ang=1)
    elif suffix == ".dm4":
        write_dm(path, stored_yx)
    else:
        tifffile.imwrite(path, stored_yx, photometric="minisblack")
    return path


@pytest.mark.parametrize(("suffix", "is_flipped"), [(".mrc", False), (".gain", False), (".tif", True), (".dm4", True)])
def test_rows_follow_the_rule_of_their_format(tmp_path: Path, suffix: str, is_flipped: bool) -> None:
    reference = CameraReference(write_image(tmp_path, suffix))
    expected = IMAGE[::-1] if is_flipped else IMAGE
    np.testing.assert_array_equal(read_dark(reference, movie()), expected)


@pytest.mark.parametrize(("suffix", "is_flipped"), [(".mrc", False), (".tif", True), (".dm4", True)])
def test_maps_of_defects_follow_it_too(tmp_path: Path, suffix: str, is_flipped: bool) -> None:
    stored = np.zeros((4, 5), np.float32)
    stored[0, 1] = 7
    found = read_defects(CameraReference(write_image(tmp_path, suffix, stored)), movie(shape_yx=(4, 5)))
    assert found.dtype == np.bool_
    assert np.argwhere(found).tolist() == [[3, 1] if is_flipped else [0, 1]]


def test_both_are_rotated_then_flipped(tmp_path: Path) -> None:
    reference = CameraReference(write_image(tmp_path, ".mrc"), flip="x", rotate_deg=90)
    np.testing.assert_array_equal(read_dark(reference, movie(shape_yx=(3, 2))), np.rot90(IMAGE, -1)[:, ::-1])
    (tmp_path / "defects.txt").write_text("1 0 1 1\n")  # column 1, row 0 of three columns and two rows
    turned = CameraReference(tmp_path / "defects.txt", flip="x", rotate_deg=90)
    expected = np.zeros((2, 3), bool)
    expected[0, 1] = True
    np.testing.assert_array_equal(read_defects(turned, movie(shape_yx=(3, 2))), np.rot90(expected, -1)[:, ::-1])


def test_rectangles_of_text(tmp_path: Path) -> None:
    path = tmp_path / "defects.txt"
    path.write_bytes(b"\xef\xbb\xbf# x y w h\r\n\r\n3 0 2 4  # a column\r\n 0\t5 1 1\r\n")
    found = read_defects(CameraReference(path), movie(shape_yx=(6, 8)))
    expected = np.zeros((6, 8), bool)
    expected[0:4, 3:5] = True
    expected[5, 0] = True
    np.testing.assert_array_equal(found, expected)
    fine = read_defects(CameraReference(path), movie(MovieFormat.EER, (6, 8)), eer=EerFractions(upsampling=2))
    np.testing.assert_array_equal(fine, expected.repeat(2, 0).repeat(2, 1))


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(0, 19), st.integers(0, 15)).flatmap(
            lambda corner: st.tuples(
                st.just(corner[0]), st.just(corner[1]), st.integers(1, 20 - corner[0]), st.integers(1, 16 - corner[1])
            )
        ),
        max_size=5,
    )
)
def test_rectangles_come_back(
    tmp_path_factory: pytest.TempPathFactory, rectangles: list[tuple[int, int, int, int]]
) -> None:
    path = tmp_path_factory.mktemp("defects") / "a.txt"
    path.write_text("\n".join(" ".join(map(str, rectangle)) for rectangle in rectangles))
    expected = np.zeros((16, 20), bool)
    for x, y, width, height in rectangles:
        expected[y : y + height, x : x + width] = True
    if expected.mean() > 0.5:
        with pytest.raises(DefectsUnsuitable, match="% of the pixels defective"):
            read_defects(CameraReference(path), movie(shape_yx=(16, 20)))
    else:
        np.testing.assert_array_equal(read_defects(CameraReference(path), movie(shape_yx=(16, 20))), expected)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("1 2 3\n", "line 1 .* is not four whole numbers"),
        ("0 0 1 1\n1 2 3 x\n", "line 2 .* is not four whole numbers"),
        ("-1 2 3 1\n", "not four whole numbers"),
        ("1 1 0 1\n", "not four whole numbers"),
        ("1 1 1 1 1\n", "not four whole numbers"),
        ("7 0 2 1\n", r"columns 7 to 8 and rows 0 to 0, the frames are 8 × 6 px \(width × height\)"),
        ("0 0 1 99999999999\n", "not four whole numbers"),
        ("BadColumns 17\n", "not four whole numbers"),
    ],
)
def test_lines_that_are_no_rectangles(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(DefectsUnsuitable, match=what):
        read_defects(CameraReference(tmp_path / "a.txt"), movie(shape_yx=(6, 8)))


def test_files_that_are_neither(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\xff\xfe\x00\x81" * 20)
    with pytest.raises(DefectsUnsuitable, match="neither a map"):
        read_defects(CameraReference(tmp_path / "a.bin"), movie())
    with pytest.raises(FileUnreadable):
        read_defects(CameraReference(tmp_path / "none.txt"), movie())
    (tmp_path / "a.mrc").write_bytes(b"text" * 500)
    with pytest.raises(FormatError):
        read_dark(CameraReference(tmp_path / "a.mrc"), movie())


def test_a_map_with_its_meaning_turned_round_is_told(tmp_path: Path) -> None:
    path = write_image(tmp_path, ".mrc", np.ones((4, 4), np.float32))
    with pytest.raises(DefectsUnsuitable, match=r"100% of the pixels defective; in a map, zero means a good pixel"):
        read_defects(CameraReference(path), movie(shape_yx=(4, 4)))


def test_wrong_shapes_name_both_and_what_to_do(tmp_path: Path) -> None:
    reference = CameraReference(write_image(tmp_path, ".mrc"))
    with pytest.raises(DarkUnsuitable, match=r"Dark reference .* 3 × 2 px .* movie\.x are 5 × 4 px\.") as caught:
        read_dark(reference, movie(shape_yx=(4, 5)))
    assert "acquisition.dark" in caught.value.hint
    with pytest.raises(DefectsUnsuitable, match=r"it would fit turned by 90°: set its rotate_deg"):
        read_defects(reference, movie(shape_yx=(3, 2)))
    bad = write_image(tmp_path, ".tif", np.full((2, 3), np.nan, np.float32))
    with pytest.raises(DarkUnsuitable, match="not finite"):
        read_dark(CameraReference(bad), movie())
