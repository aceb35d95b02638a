import struct
from pathlib import Path

import mrcfile
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mrcfile.dtypes import get_ext_header_dtype

from daemon.errors import FileUnreadable, FormatError, FormatUnsupported, MovieIncomplete
from daemon.formats.mrc import read_mrc
from daemon.formats.mrc_writer import MrcWriter, write_mrc
from tests.formats.samples import SHARED_DATA, counts, read_mrc_header

DTYPES = ("int8", "int16", "uint16", "float16", "float32")


def read_back(path: Path) -> npt.NDArray[np.generic]:
    with mrcfile.open(path, permissive=False) as mrc:
        return np.array(mrc.data)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_what_is_written_is_read_here_and_by_mrcfile(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=3, max_side=7))
    elements = st.floats(-999, 999, width=16 if dtype == "float16" else 32) if dtype.startswith("float") else None
    array = data.draw(hnp.arrays(dtype, shape, elements=elements))
    path = tmp_path_factory.mktemp("mrc") / "a.mrc"
    write_mrc(path, array, pixel_size_ang=1.25, is_volume=len(shape) == 3 and data.draw(st.booleans()))
    expected = array[0] if array.shape[0] == 1 and array.ndim == 3 else array
    ours = read_mrc(path)
    assert ours.dtype == dtype
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(read_back(path).reshape(expected.shape), expected)


@pytest.mark.parametrize("dtype", [*DTYPES, "uint8"])
@pytest.mark.parametrize("is_volume", [False, True])
def test_files_pass_validation(tmp_path: Path, dtype: str, is_volume: bool) -> None:
    path = tmp_path / "a.mrc"
    # The validator itself adds float16 up in float16: more than a few would overflow there.
    array = counts((3, 40, 50), mean=1 if dtype == "float16" else 60).astype(dtype)
    if dtype != "float16" and dtype[0] in "if":
        array -= array.dtype.type(30)
    write_mrc(path, array, pixel_size_ang=0.83, is_volume=is_volume)
    assert mrcfile.validate(path)
    with mrcfile.open(path) as mrc:
        assert bool(mrc.is_volume()) is is_volume
        assert bool(mrc.is_image_stack()) is not is_volume
        assert mrc.voxel_size.x == pytest.approx(0.83)
        assert mrc.voxel_size.z == pytest.approx(0.83)
    assert read_mrc_header(path).is_volume is is_volume


def test_statistics_of_large_offsets_stay_exact(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(1e4, 0.5, (5, 64, 64)).astype(np.float32)
    write_mrc(tmp_path / "a.mrc", array, pixel_size_ang=1)
    with mrcfile.open(tmp_path / "a.mrc") as mrc:
        assert float(mrc.header.rms) == pytest.approx(array.std(dtype=np.float64), rel=1e-6)
        assert float(mrc.header.dmean) == pytest.approx(array.mean(dtype=np.float64), rel=1e-7)


def test_statistics_are_those_of_the_finite_pixels(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(10, 2, (3, 64, 64)).astype(np.float32)
    array[0, 5, 6], array[0, 7, 8], array[1] = np.nan, np.inf, np.nan
    write_mrc(tmp_path / "a.mrc", array, pixel_size_ang=1)
    good = array[np.isfinite(array)].astype(np.float64)
    with mrcfile.open(tmp_path / "a.mrc", permissive=True) as mrc:
        header = mrc.header
        assert (float(header.dmin), float(header.dmax)) == (good.min(), good.max())
        assert (float(header.dmean), float(header.rms)) == pytest.approx((good.mean(), good.std()), rel=1e-6)


def test_same_pixels_give_same_bytes_whether_at_once_or_one_by_one(tmp_path: Path) -> None:
    movie = counts()
    write_mrc(tmp_path / "a.mrc", movie, pixel_size_ang=1.1, camera_bytes=True)
    for name, announced in (("b.mrc", 4), ("c.mrc", None)):
        writer = MrcWriter(
            tmp_path / name, movie.shape[1:], "uint8", pixel_size_ang=1.1, section_count=announced, camera_bytes=True
        )
        for frame in movie:
            writer.append(frame)
        writer.close()
        assert (tmp_path / name).read_bytes() == (tmp_path / "a.mrc").read_bytes()


def test_camera_bytes_above_127_stay_unsigned(tmp_path: Path) -> None:
    movie = np.arange(2 * 16 * 16).astype(np.uint8).reshape(2, 16, 16)
    write_mrc(tmp_path / "a.mrc", movie, pixel_size_ang=1, camera_bytes=True)
    assert (tmp_path / "a.mrc").stat().st_size == 1024 + movie.size
    np.testing.assert_array_equal(read_mrc(tmp_path / "a.mrc"), movie)


def write_raw(
    path: Path, pixels: npt.NDArray[np.uint8], minimum: float = 0, maximum: float = 0, stamp: int | None = None
) -> None:
    header = bytearray(1024)
    struct.pack_into("<10i", header, 0, pixels.shape[1], pixels.shape[0], 1, 0, 0, 0, 0, *pixels.shape[::-1], 1)
    struct.pack_into("<2f", header, 76, minimum, maximum)
    if stamp is not None:
        struct.pack_into("<2i", header, 152, 1146047817, stamp)
    path.write_bytes(bytes(header) + pixels.tobytes())


SMALL_NEGATIVE = np.random.default_rng(4).normal(0, 10, (64, 64)).astype(np.int8).view(np.uint8)
BRIGHT = np.random.default_rng(5).poisson(120, (64, 64)).astype(np.uint8)
SPARSE_WITH_HOT_PIXELS = counts((1, 64, 64))[0].copy()
SPARSE_WITH_HOT_PIXELS.flat[::500] = 255


@pytest.mark.parametrize(
    ("pixels", "minimum", "maximum", "stamp", "dtype"),
    [
        (BRIGHT, -50, 50, 0, "uint8"),  # IMOD says unsigned, whatever else is there
        (BRIGHT, 0, 255, 1, "int8"),  # IMOD says signed
        (BRIGHT, -128, 127, None, "int8"),  # the minimum is negative
        (SMALL_NEGATIVE, 0, 255, None, "uint8"),  # the minimum is not
        (SPARSE_WITH_HOT_PIXELS, 0, 12, None, "uint8"),  # statistics of the first frame only
        (SMALL_NEGATIVE, 0, 0, None, "int8"),
        (SMALL_NEGATIVE, -1, -2, None, "int8"),  # the standard's mark for unknown
        (BRIGHT, 0, 0, None, "uint8"),
        (SPARSE_WITH_HOT_PIXELS, 0, 0, None, "uint8"),
        (BRIGHT, float("nan"), float("nan"), None, "uint8"),
    ],
)
def test_mode_0_signedness(
    tmp_path: Path, pixels: npt.NDArray[np.uint8], minimum: float, maximum: float, stamp: int | None, dtype: str
) -> None:
    write_raw(tmp_path / "a.mrc", pixels, minimum, maximum, stamp)
    assert read_mrc_header(tmp_path / "a.mrc").dtype == dtype
    np.testing.assert_array_equal(read_mrc(tmp_path / "a.mrc"), pixels.view(dtype))


def test_packed_pixels_come_low_half_first_and_rows_end_with_whole_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    write_mrc(path, np.array([[1, 2, 3], [4, 5, 6]], np.uint8), pixel_size_ang=1, camera_nibbles=True)
    raw = path.read_bytes()
    assert raw[1024:] == b"\x21\x03\x54\x06"
    assert struct.unpack_from("<4i", raw) == (3, 2, 1, 101)
    assert read_mrc(path).tolist() == [[1, 2, 3], [4, 5, 6]]
    header = read_mrc_header(path)
    assert (header.dtype, header.section_bytes, header.announced_bytes) == ("uint8", 4, 1028)
    for size in (1027, 1029):
        path.write_bytes((raw + b"\0")[:size])
        with pytest.raises(MovieIncomplete):
            read_mrc(path)


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=9), elements=st.integers(0, 15)))
def test_packed_pixels_come_back(tmp_path_factory: pytest.TempPathFactory, movie: npt.NDArray[np.uint8]) -> None:
    path = tmp_path_factory.mktemp("packed") / "a.mrc"
    write_mrc(path, movie, pixel_size_ang=1, camera_nibbles=True)
    np.testing.assert_array_equal(read_mrc(path).reshape(movie.shape), movie)
    assert path.stat().st_size == 1024 + movie.shape[0] * movie.shape[1] * ((movie.shape[2] + 1) // 2)
    # IMOD's older mark for the same pixels: bytes, and a flag under its stamp.
    raw = bytearray(path.read_bytes())
    struct.pack_into("<i", raw, 12, 0)
    struct.pack_into("<2i", raw, 152, 1146047817, 16)
    path.write_bytes(raw)
    np.testing.assert_array_equal(read_mrc(path).reshape(movie.shape), movie)


def test_counts_above_15_do_not_fit_4_bits(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="up to 15, got 16"):
        write_mrc(tmp_path / "a.mrc", np.full((1, 2, 2), 16, np.uint8), pixel_size_ang=1, camera_nibbles=True)
    with pytest.raises(ValueError, match="4-bit pixels"):
        write_mrc(tmp_path / "b.mrc", np.zeros((1, 2, 2), np.int16), pixel_size_ang=1, camera_nibbles=True)


def to_big_endian(raw: bytes, stamp: bytes, item_bytes: int) -> bytes:
    words = np.frombuffer(raw[:224], "<u4").astype(">u4").tobytes()
    pixels = np.frombuffer(raw[1024:], f"<u{item_bytes}").astype(f">u{item_bytes}").tobytes()
    return words[:208] + b"MAP " + stamp + words[216:224] + raw[224:1024] + pixels


@pytest.mark.parametrize("stamp", [b"\x11\x11\0\0", b"\0\0\0\0", b"\x44\x44\0\0"])
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_big_endian_is_read_even_under_a_wrong_machine_stamp(tmp_path: Path, stamp: bytes, dtype: str) -> None:
    movie = counts().astype(dtype)
    path = tmp_path / "a.mrc"
    write_mrc(path, movie, pixel_size_ang=1.3)
    path.write_bytes(to_big_endian(path.read_bytes(), stamp, movie.itemsize))
    np.testing.assert_array_equal(read_mrc(path), movie)
    assert read_mrc_header(path).pixel_size_ang == 1.3


@pytest.mark.parametrize("kind", [b"FEI1", b"FEI2"])
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_fei_extended_header_gives_the_voltage(tmp_path: Path, kind: bytes, byte_order: str) -> None:
    movie = counts((2, 24, 36)).astype(np.int16)
    records = np.zeros(2, get_ext_header_dtype(kind, byte_order))
    records["Metadata size"], records["HT"] = records.itemsize, 200_000.0
    # mrcfile gives the masks in the order of this machine, whatever is asked for.
    present = np.array([1 << 5], byte_order + "u4").view(records.dtype["Bitmask 1"])
    records["Bitmask 1"] = present
    path = tmp_path / "a.mrc"

    def write() -> None:
        with mrcfile.new(path, overwrite=True) as theirs:
            theirs.set_data(movie)
            theirs.set_extended_header(records)
            theirs.header.exttyp = kind
            theirs.voxel_size = 1.5
        if byte_order == ">":
            raw = path.read_bytes()
            words = np.frombuffer(raw[:224], "<u4").astype(">u4").tobytes()
            head = words[:104] + raw[104:108] + words[108:208] + b"MAP \x11\x11\0\0" + words[216:224] + raw[224:1024]
            pixels = np.frombuffer(raw[1024 + records.nbytes :], "<u2").astype(">u2").tobytes()
            path.write_bytes(head + records.tobytes() + pixels)

    write()
    header = read_mrc_header(path)
    assert (header.voltage_kv, header.pixel_size_ang, header.byte_order) == (200.0, 1.5, byte_order)
    np.testing.assert_array_equal(read_mrc(path), movie)
    records["Bitmask 1"] = 0
    write()
    assert read_mrc_header(path).voltage_kv is None


@pytest.mark.parametrize("kind", [b"SERI", b"CCP4", b"AGAR", b"FEI1", b"\0\0\0\0"])
def test_extended_header_is_skipped(tmp_path: Path, kind: bytes) -> None:
    movie = counts()
    path = tmp_path / "a.mrc"
    write_mrc(path, movie, pixel_size_ang=1)
    raw = bytearray(path.read_bytes())
    struct.pack_into("<i", raw, 92, 320)
    raw[104:108] = kind
    path.write_bytes(raw[:1024] + b"\xab" * 320 + raw[1024:])
    np.testing.assert_array_equal(read_mrc(path), movie)


@pytest.mark.parametrize(("mode", "name"), [(3, "complex"), (4, "complex"), (16, "RGB")])
def test_other_modes_are_refused_by_name(tmp_path: Path, mode: int, name: str) -> None:
    path = tmp_path / "a.mrc"
    write_mrc(path, counts(), pixel_size_ang=1)
    raw = bytearray(path.read_bytes())
    struct.pack_into("<i", raw, 12, mode)
    path.write_bytes(raw)
    with pytest.raises(FormatUnsupported, match=name):
        read_mrc_header(path)


@pytest.mark.parametrize(
    ("pixel_size_ang", "expected"), [(0.0, None), (1e-4, None), (0.83, 0.83), (1.0, 1.0), (1.234567, 1.23457)]
)
def test_pixel_size(tmp_path: Path, pixel_size_ang: float, expected: float | None) -> None:
    write_mrc(tmp_path / "a.mrc", counts(), pixel_size_ang=pixel_size_ang)
    assert read_mrc_header(tmp_path / "a.mrc").pixel_size_ang == expected


@pytest.mark.parametrize(
    ("cell_y", "expected"), [(1.004, 0.83), (1.05, None), (2.0, None), (0.0, 0.83), (np.nan, 0.83)]
)
def test_pixels_that_are_not_square_are_not_known(tmp_path: Path, cell_y: float, expected: float | None) -> None:
    path = tmp_path / "a.mrc"
    write_mrc(path, counts(), pixel_size_ang=0.83)
    raw = bytearray(path.read_bytes())
    (cell_y_ang,) = struct.unpack_from("<f", raw, 44)
    struct.pack_into("<f", raw, 44, cell_y_ang * cell_y)
    path.write_bytes(raw)
    assert read_mrc_header(path).pixel_size_ang == expected


@pytest.mark.parametrize(("change", "what"), [(-1, "announces"), (1, "more than")])
def test_size_must_match_exactly(tmp_path: Path, change: int, what: str) -> None:
    path = tmp_path / "a.mrc"
    write_mrc(path, counts(), pixel_size_ang=1)
    raw = path.read_bytes()
    path.write_bytes(raw[:change] if change < 0 else raw + b"\0")
    with pytest.raises(MovieIncomplete, match=what):
        read_mrc(path)


def test_file_without_section_is_incomplete(tmp_path: Path) -> None:
    writer = MrcWriter(tmp_path / "a.mrc", (8, 8), "int16", pixel_size_ang=1)
    with pytest.raises(MovieIncomplete, match="no section yet"):
        read_mrc_header(tmp_path / "a.mrc")
    writer.close()


def test_text_is_no_mrc(tmp_path: Path) -> None:
    (tmp_path / "a.mrc").write_text("This is not an image. " * 100)
    with pytest.raises(FormatError, match="not an MRC file") as caught:
        read_mrc_header(tmp_path / "a.mrc")
    assert not isinstance(caught.value, MovieIncomplete)


def test_absent_file_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadable):
        read_mrc_header(tmp_path / "a.mrc")


@pytest.mark.parametrize(
    ("array", "options"),
    [
        (np.zeros((2, 2), np.float64), {}),
        (np.zeros((2, 2), np.int32), {}),
        (np.zeros(4, np.int16), {}),
        (np.zeros((0, 4), np.int16), {}),
        (np.zeros((2, 2), np.int16), {"is_volume": True}),
        (np.zeros((2, 2), np.int16), {"camera_bytes": True}),
        (np.zeros((2, 2), np.int16), {"pixel_size_ang": float("nan")}),
    ],
)
def test_arrays_that_mrc_cannot_hold_are_refused(
    tmp_path: Path, array: npt.NDArray[np.generic], options: dict[str, float]
) -> None:
    with pytest.raises(ValueError, match=r"MRC|pixel_size_ang"):
        write_mrc(tmp_path / "a.mrc", array, **{"pixel_size_ang": 1.0, **options})  # type: ignore[arg-type]


def test_writer_refuses_more_than_it_announced(tmp_path: Path) -> None:
    writer = MrcWriter(tmp_path / "a.mrc", (4, 4), "int16", pixel_size_ang=1, section_count=1)
    writer.append(np.zeros((4, 4), np.int16))
    with pytest.raises(ValueError, match="announces 1"):
        writer.append(np.zeros((4, 4), np.int16))
    with pytest.raises(ValueError, match="expected int16"):
        writer.append(np.zeros((4, 5), np.int16))
    writer.close()


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the shared real data are not here")
@pytest.mark.parametrize("name", ["fei-extended.mrc", "Ucsf_stack_1142_DW.mrc"])
def test_real_micrographs_read_as_mrcfile_reads_them(name: str) -> None:
    path = SHARED_DATA / "micrographs" / name
    ours = read_mrc(path)
    with mrcfile.open(path, permissive=True) as mrc:
        assert ours.dtype == mrc.data.dtype
        np.testing.assert_array_equal(ours, mrc.data)


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the shared real data are not here")
def test_real_header_with_extended_block() -> None:
    header = read_mrc_header(SHARED_DATA / "micrographs" / "fei-extended.mrc")
    assert (header.width_px, header.height_px, header.section_count) == (3710, 3838, 1)
    assert header.dtype == "uint16"
    assert header.pixel_size_ang == pytest.approx(0.85378, abs=1e-5)
    assert header.data_offset > 1024
