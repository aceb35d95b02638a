import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from daemon.domain.acquisition import EerFractions
from daemon.errors import FormatError, FormatUnsupported, MovieIncomplete
from daemon.formats.movie import read_movie, read_movie_header
from daemon.formats.tiff import read_tiff_image
from daemon.formats.tiff_writer import TiffMovieWriter
from tests.formats.samples import counts, write_tiff_movie

MOVIE_DTYPES = ("uint8", "int8", "uint16", "int16", "float32")


def read(path: Path) -> npt.NDArray[Any]:
    return read_movie(read_movie_header(path), eer=EerFractions())


@settings(deadline=None, max_examples=60)
@given(
    data=st.data(),
    dtype=st.sampled_from(MOVIE_DTYPES),
    compression=st.sampled_from(["none", "lzw", "deflate"]),
    rows_per_strip=st.one_of(st.none(), st.integers(1, 12)),
    is_big=st.booleans(),
)
def test_what_is_written_is_read_here_and_by_tifffile(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    dtype: str,
    compression: Any,
    rows_per_strip: int | None,
    is_big: bool,
) -> None:
    movie = data.draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=3, max_dims=3, max_side=11)))
    path = write_tiff_movie(
        tmp_path_factory.mktemp("tiff") / "a.tif", movie, compression, rows_per_strip=rows_per_strip, is_big=is_big
    )
    ours = read(path)
    assert ours.dtype == dtype
    np.testing.assert_array_equal(ours, movie)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_bigtiff is is_big
        theirs = np.stack([page.asarray().reshape(movie.shape[1:]) for page in tiff.pages])
    np.testing.assert_array_equal(theirs[:, ::-1], movie)


KINDS = [
    (compression, dtype, predictor)
    for compression in (None, "lzw", "adobe_deflate", 32946)
    for dtype in MOVIE_DTYPES
    for predictor in (False, True)
    if not predictor or (compression is not None and dtype != "float32")
]


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(("compression", "dtype", "predictor"), KINDS)
@pytest.mark.parametrize("bigtiff", [False, True])
def test_files_of_tifffile(
    tmp_path: Path, byteorder: Any, compression: Any, dtype: str, predictor: bool, bigtiff: bool
) -> None:
    movie = counts((3, 20, 30), mean=90).astype(dtype)
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, byteorder=byteorder, bigtiff=bigtiff) as writer:
        for frame in movie[:, ::-1]:
            writer.write(frame, compression=compression, predictor=predictor, rowsperstrip=7, contiguous=False)
    ours = read(path)
    assert ours.dtype.isnative
    assert ours.dtype == dtype
    np.testing.assert_array_equal(ours, movie)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "lzw", "adobe_deflate", "zstd"])
@pytest.mark.parametrize("predictor", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("shape_yx", [(32, 48), (33, 47), (5, 7)])
def test_tiles_of_tifffile(
    tmp_path: Path, byteorder: Any, compression: Any, predictor: bool, dtype: str, shape_yx: tuple[int, int]
) -> None:
    movie = counts((2, *shape_yx), mean=90).astype(dtype)
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, byteorder=byteorder) as writer:
        for frame in movie[:, ::-1]:
            predicted = predictor and compression is not None
            writer.write(frame, compression=compression, predictor=predicted, tile=(16, 32), contiguous=False)
    np.testing.assert_array_equal(read(path), movie)


@settings(deadline=None, max_examples=30)
@given(
    hnp.arrays("uint8", hnp.array_shapes(min_dims=3, max_dims=3, max_side=40)),
    st.sampled_from(["none", "lzw", "deflate"]),
    st.sampled_from([(16, 16), (32, 16), (16, 48)]),
)
def test_tiles_come_back(
    tmp_path_factory: pytest.TempPathFactory, movie: Any, compression: Any, tile_shape_yx: tuple[int, int]
) -> None:
    path = write_tiff_movie(tmp_path_factory.mktemp("tiles") / "a.tif", movie, compression, tile_shape_yx=tile_shape_yx)
    np.testing.assert_array_equal(read(path), movie)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.pages[0].aspage().is_tiled
        theirs = np.stack([page.asarray().reshape(movie.shape[1:]) for page in tiff.pages])
    np.testing.assert_array_equal(theirs[:, ::-1], movie)


def test_strips_in_zstandard(tmp_path: Path) -> None:
    movie = counts((2, 20, 30))
    tifffile.imwrite(tmp_path / "a.tif", movie[:, ::-1], compression="zstd", rowsperstrip=7, photometric="minisblack")
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), movie)


def test_tiles_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    path = write_tiff_movie(tmp_path / "a.tif", counts((1, 40, 40)), tile_shape_yx=(16, 16))
    whole = path.read_bytes()
    patch(path, {tag_places(path)["TileWidth"]: 0})
    with pytest.raises(FormatError, match="tiles of 0 × 16 px"):
        read_movie_header(path)
    path.write_bytes(whole)
    patch(path, {tag_places(path)["TileWidth"]: 64})
    with pytest.raises(FormatError, match=r"needs 3 tile\(s\), lists 9"):
        read_movie_header(path)
    path.write_bytes(whole)
    patch(path, {tag_places(path)["TileOffsets"]: 1 << 30})
    with pytest.raises(MovieIncomplete, match=r"not copied to its end: the file ends after \d+ bytes, inside frame 1"):
        read_movie_header(path)
    with pytest.raises(ValueError, match="multiples of 16"):
        write_tiff_movie(path, counts((1, 40, 40)), tile_shape_yx=(20, 16))


def test_last_row_of_the_file_comes_first(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.array([[1, 2], [3, 4], [5, 6]], np.uint8), photometric="minisblack")
    assert read(tmp_path / "a.tif").tolist() == [[[5, 6], [3, 4], [1, 2]]]
    assert read_tiff_image(tmp_path / "a.tif", flip_rows=False).tolist() == [[1, 2], [3, 4], [5, 6]]
    assert read_tiff_image(tmp_path / "a.tif", flip_rows=True).tolist() == [[5, 6], [3, 4], [1, 2]]


@pytest.mark.parametrize("dtype", ["float64", "uint32", "int32"])
def test_images_may_have_wider_samples_than_movies(tmp_path: Path, dtype: str) -> None:
    image = np.arange(12).reshape(3, 4).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack")
    np.testing.assert_array_equal(read_tiff_image(tmp_path / "a.tif", flip_rows=False), image)
    with pytest.raises(FormatUnsupported, match="bits"):
        read_movie_header(tmp_path / "a.tif")


def tag_places(path: Path, page: int = 0) -> dict[str, int]:
    """Where in the file the value of each tag stands."""
    with tifffile.TiffFile(path) as tiff:
        return {tag.name: tag.valueoffset for tag in tiff.pages[page].aspage().tags}


def strips(path: Path, page: int = 0) -> list[tuple[int, int]]:
    """Offset and size of each strip."""
    with tifffile.TiffFile(path) as tiff:
        return list(zip(tiff.pages[page].dataoffsets, tiff.pages[page].databytecounts, strict=True))


def patch(path: Path, changes: dict[int, int], appended: bytes = b"") -> None:
    """Overwrite 32-bit numbers and append bytes."""
    raw = bytearray(path.read_bytes() + appended)
    for place, value in changes.items():
        struct.pack_into("<I", raw, place, value)
    path.write_bytes(raw)


@pytest.mark.parametrize("compression", ["lzw", "deflate"])
def test_last_strip_padded_to_all_its_rows(tmp_path: Path, compression: Any) -> None:
    movie = counts((1, 10, 8))
    path = write_tiff_movie(tmp_path / "a.tif", movie, compression, rows_per_strip=6)
    encode = imagecodecs.lzw_encode if compression == "lzw" else imagecodecs.deflate_encode
    padded = bytes(encode(np.vstack([movie[0, 3::-1], np.full((2, 8), 7, np.uint8)]).tobytes()))
    places, size = tag_places(path), path.stat().st_size
    patch(path, {places["StripOffsets"] + 4: size, places["StripByteCounts"] + 4: len(padded)}, padded)
    np.testing.assert_array_equal(read(path), movie)


def test_strips_far_apart_are_read_one_by_one(tmp_path: Path) -> None:
    movie = counts((1, 10, 8))
    path = write_tiff_movie(tmp_path / "a.tif", movie, rows_per_strip=5)
    (_, (offset, count)), size = strips(path), path.stat().st_size
    copy = path.read_bytes()[offset : offset + count]
    patch(path, {tag_places(path)["StripOffsets"] + 4: size + 5000, offset: 0}, b"\0" * 5000 + copy)
    np.testing.assert_array_equal(read(path), movie)


@pytest.mark.parametrize("compression", ["lzw", "deflate"])
def test_damaged_pixels_name_the_frame(tmp_path: Path, compression: Any) -> None:
    path = write_tiff_movie(tmp_path / "a.tif", counts(), compression)
    offset, size = strips(path, page=2)[1]
    raw = bytearray(path.read_bytes())
    raw[offset : offset + size] = b"\xff" * size
    path.write_bytes(raw)
    with pytest.raises(FormatError, match="frame 3: its compressed pixels are damaged"):
        read(path)


def test_code_outside_the_table_is_refused_and_not_followed(tmp_path: Path) -> None:
    # The code after the first clear code must be a byte: a decoder that trusts it reads foreign memory.
    path = write_tiff_movie(tmp_path / "a.tif", counts(), "lzw")
    offset, _ = strips(path)[0]
    raw = bytearray(path.read_bytes())
    raw[offset + 1] |= 0x7F
    path.write_bytes(raw)
    with pytest.raises(FormatError, match="frame 1: its compressed pixels are damaged"):
        read(path)


def test_strip_that_decodes_to_too_little_is_damaged(tmp_path: Path) -> None:
    path = write_tiff_movie(tmp_path / "a.tif", counts((1, 10, 8)), rows_per_strip=10)
    patch(path, {tag_places(path)["StripByteCounts"]: strips(path)[0][1] // 2})
    with pytest.raises(FormatError, match="frame 1: its compressed pixels are damaged"):
        read(path)


def test_frames_of_different_size_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(np.zeros((4, 4), np.uint8), photometric="minisblack")
        writer.write(np.zeros((4, 5), np.uint8), photometric="minisblack")
    with pytest.raises(FormatError, match="frame 2 is 5 × 4 px, frame 1 is 4 × 4 px"):
        read_movie_header(tmp_path / "a.tif")


def test_frames_of_different_type_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(np.zeros((4, 4), np.uint8), photometric="minisblack")
        writer.write(np.zeros((4, 4), np.uint16), photometric="minisblack")
    with pytest.raises(FormatError, match="frame 2 has other samples"):
        read_movie_header(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("shape", "options", "what"),
    [
        ((32, 32, 3), {"photometric": "rgb"}, "3 samples"),
        ((32, 32), {"compression": "packbits"}, "PackBits"),
    ],
)
def test_other_kinds_are_refused_by_name(
    tmp_path: Path, shape: tuple[int, ...], options: dict[str, Any], what: str
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, np.uint8), **{"photometric": "minisblack", **options})
    with pytest.raises(FormatUnsupported, match=what):
        read_movie_header(tmp_path / "a.tif")


def test_chain_that_runs_in_a_circle_ends(tmp_path: Path) -> None:
    path = write_tiff_movie(tmp_path / "a.tif", counts((2, 8, 8)), is_big=False)
    with tifffile.TiffFile(path) as tiff:
        first, second = (page.offset for page in tiff.pages)
    raw = bytearray(path.read_bytes())
    (entries,) = struct.unpack_from("<H", raw, second)
    struct.pack_into("<I", raw, second + 2 + 12 * entries, first)
    path.write_bytes(raw)
    with pytest.raises(FormatError, match="circle"):
        read_movie_header(path)


def test_impossible_size_asks_for_no_memory(tmp_path: Path) -> None:
    path = write_tiff_movie(tmp_path / "a.tif", counts((1, 8, 8)), rows_per_strip=8)
    patch(path, {tag_places(path)["ImageWidth"]: 900_000})
    with pytest.raises(FormatError, match="cannot come from"):
        read(path)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"resolution": (1e8 / 0.83, 1e8 / 0.83), "resolutionunit": "CENTIMETER"}, 0.83),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),
        ({"resolution": (1, 1), "resolutionunit": "NONE"}, None),
    ],
)
def test_pixel_size_from_the_resolution_tags(tmp_path: Path, options: dict[str, Any], expected: float | None) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4), np.uint8), photometric="minisblack", **options)
    found = read_movie_header(tmp_path / "a.tif").pixel_size_ang
    assert found == (None if expected is None else pytest.approx(expected, rel=1e-6))


def test_pixel_size_round_trip(tmp_path: Path) -> None:
    path = write_tiff_movie(tmp_path / "a.tif", counts(), pixel_size_ang=0.8237)
    assert read_movie_header(path).pixel_size_ang == 0.8237


@pytest.mark.parametrize(
    ("content", "error"), [(b"", MovieIncomplete), (b"\0" * 500, MovieIncomplete), (b"II*\0", MovieIncomplete)]
)
def test_beginnings_are_incomplete(tmp_path: Path, content: bytes, error: type[Exception]) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(error):
        read_movie_header(tmp_path / "a.tif")


@pytest.mark.parametrize("content", [b"Not an image at all.\n" * 50, b"II\x99\0" + b"\1" * 50])
def test_other_content_is_no_tiff(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(FormatError, match="not a TIFF file") as caught:
        read_movie_header(tmp_path / "a.tif")
    assert not isinstance(caught.value, MovieIncomplete)


def test_same_frames_give_same_bytes(tmp_path: Path) -> None:
    one = write_tiff_movie(tmp_path / "a.tif", counts())
    two = write_tiff_movie(tmp_path / "b.tif", counts())
    assert one.read_bytes() == two.read_bytes()


def test_writer_refuses_other_frames_and_types(tmp_path: Path) -> None:
    writer = TiffMovieWriter(tmp_path / "a.tif", (4, 4), "uint8")
    with pytest.raises(ValueError, match="expected uint8"):
        writer.append(np.zeros((4, 4), np.uint16))
    with pytest.raises(ValueError, match="expected uint8"):
        writer.append(np.zeros((4, 5), np.uint8))
    writer.close()
    with pytest.raises(ValueError, match="cannot hold complex64"):
        TiffMovieWriter(tmp_path / "b.tif", (4, 4), "complex64")
