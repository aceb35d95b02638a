import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.acquisition import EerFractions
from daemon.errors import AcquisitionUnknown, FormatError, FormatUnsupported
from daemon.formats import tiff_directory as tags
from daemon.formats.eer import EerFrames, fraction_bounds
from daemon.formats.eer_fixed import add_fixed_events
from daemon.formats.eer_metadata import read_metadata
from daemon.formats.eer_scheme import EER_65000, EER_65001, EerScheme, variable_scheme
from daemon.formats.eer_writer import EerWriter, encode_events
from daemon.formats.movie import frame_count_after, read_movie, read_movie_header
from daemon.formats.tiff_encoding import LONG, SHORT, UNDEFINED
from daemon.formats.tiff_writer import PageChain
from tests.formats.samples import ONE_EACH, events, write_eer_movie

SCHEMES = [EER_65000, EER_65001, variable_scheme(5, 2, 2), variable_scheme(9, 2, 2), variable_scheme(8, 1, 1)]


def decode_slowly(stream: bytes, shape_yx: tuple[int, int], scheme: EerScheme = EER_65001) -> list[tuple[int, int]]:
    """The format's definition, bit by bit: events (x, y) on the 4× grid; fails unless the end is exact."""
    bits = [(byte >> place) & 1 for byte in stream for place in range(8)]
    taken = 0

    def take(count: int) -> int:
        nonlocal taken
        value = sum(bit << place for place, bit in enumerate(bits[taken : taken + count]))
        taken += count
        return value

    height, width = shape_yx
    found = []
    pixel = 0
    while True:
        run = take(scheme.run_bits)
        pixel += run
        if run == scheme.longest_run:
            take(scheme.skip_bits - scheme.run_bits)
        elif pixel == width * height:
            take(scheme.skip_bits - scheme.run_bits)
            break
        else:
            assert pixel < width * height
            x_place = (take(scheme.x_bits) ^ (1 << (scheme.x_bits - 1))) << (2 - scheme.x_bits)
            y_place = (take(scheme.y_bits) ^ (1 << (scheme.y_bits - 1))) << (2 - scheme.y_bits)
            found.append((4 * (pixel % width) + x_place, 4 * (pixel // width) + y_place))
            pixel += 1
    assert len(stream) % 2 == 0
    assert len(bits) - taken < 16
    assert not any(bits[taken:])
    return found


@st.composite
def frames_of_events(draw: st.DrawFn) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    pixels = draw(st.lists(st.integers(0, height * width - 1), unique=True, max_size=height * width))
    places = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=len(pixels), max_size=len(pixels)))
    placed = [(4 * (p % width) + x, 4 * (p // width) + y) for p, (x, y) in zip(pixels, places, strict=True)]
    return (height, width), placed


@settings(deadline=None, max_examples=150)
@given(frames_of_events())
def test_encoding_follows_the_definition_and_imagecodecs_agrees(frame: Any) -> None:
    shape_yx, placed = frame
    check_65001(shape_yx, placed)


def check_65001(shape_yx: tuple[int, int], placed: list[tuple[int, int]]) -> None:
    stream = encode_events(np.array([x for x, _ in placed]), np.array([y for _, y in placed]), shape_yx)
    assert sorted(decode_slowly(stream, shape_yx)) == sorted(placed)
    for upsampling, level in ((1, 0), (2, 1), (4, 2)):
        if upsampling == 2 and (shape_yx[0] % 2 or shape_yx[1] % 2):
            continue  # beyond imagecodecs
        shape = (shape_yx[0] * upsampling, shape_yx[1] * upsampling)
        expected = np.zeros(shape, np.uint8)
        for x, y in placed:
            expected[y * upsampling // 4, x * upsampling // 4] += 1
        decoded = imagecodecs.eer_decode(stream, shape, 7, 2, 2, superres=level, out=np.zeros(shape, np.uint8))
        np.testing.assert_array_equal(decoded, expected)


@settings(deadline=None, max_examples=60)
@given(frames_of_events(), st.sampled_from(SCHEMES), st.sampled_from([1, 2, 4]))
def test_every_scheme_comes_back_on_every_grid(frame: Any, scheme: EerScheme, upsampling: Any) -> None:
    (height, width), placed = frame
    height, width = 2 * height, 2 * width
    cut = 4 >> min(scheme.x_bits, 2)
    stream = encode_events(np.array([x for x, _ in placed]), np.array([y for _, y in placed]), (height, width), scheme)
    found = decode_slowly(stream, (height, width), scheme)
    assert sorted(found) == sorted((x // cut * cut, y // cut * cut) for x, y in placed)
    if not scheme.can_render(upsampling):
        return
    expected = np.zeros((height * upsampling, width * upsampling), np.uint8)
    for x, y in found:
        expected[y * upsampling // 4, x * upsampling // 4] += 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.eer"
        writer = EerWriter(path, (height, width), metadata={}, scheme=scheme)
        writer.append_events(np.array([x for x, _ in placed]), np.array([y for _, y in placed]))
        writer.close()
        movie = read_movie(read_movie_header(path), eer=EerFractions(1, upsampling))
    np.testing.assert_array_equal(movie[0], expected)


@pytest.mark.parametrize("scheme", [EER_65001, variable_scheme(9, 2, 2)], ids=["65001", "65002"])
def test_tifffile_reads_what_it_knows(tmp_path: Path, scheme: EerScheme) -> None:
    raw = events()
    path = write_eer_movie(tmp_path / "a.eer", raw, scheme=scheme)
    with tifffile.TiffFile(path) as tiff:
        np.testing.assert_array_equal(np.stack([page.asarray() for page in tiff.pages]), raw)


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=300))
def test_no_bytes_crash_the_decoder_of_65000(stream: bytes) -> None:
    out = np.zeros((24, 36), np.uint8)
    try:
        add_fixed_events(stream, (12, 18), out)
    except ValueError:
        assert not out.any()
    assert out.max() <= 1


def test_a_truncated_stream_of_65000_is_damaged() -> None:
    frame = events((1, 24, 36))[0]
    y, x = np.nonzero(frame)
    stream = encode_events(4 * x, 4 * y, (24, 36), EER_65000)
    whole = np.zeros((24, 36), np.uint8)
    add_fixed_events(stream, (24, 36), whole)
    np.testing.assert_array_equal(whole, frame)
    for end in range(len(stream) - 4):
        with pytest.raises(ValueError, match="of 864"):
            add_fixed_events(stream[:end], (24, 36), np.zeros((24, 36), np.uint8))


@pytest.mark.parametrize("gap", [0, 1, 126, 127, 128, 253, 254, 255, 399])
def test_runs_around_the_skip_are_exact(gap: int) -> None:
    x = np.array([4 * gap])
    assert decode_slowly(encode_events(x, np.array([0]), (1, 400)), (1, 400)) == [(4 * gap, 0)]


@pytest.mark.parametrize("width", [1, 126, 127, 128, 254])
def test_empty_frames_close_exactly(width: int) -> None:
    nothing = np.array([], np.int64)
    assert decode_slowly(encode_events(nothing, nothing, (1, width)), (1, width)) == []


@pytest.mark.parametrize(
    ("x", "y", "what"), [([0, 3], [0, 3], "same pixel"), ([16], [0], "outside"), ([0], [-1], "outside")]
)
def test_events_that_cannot_be_are_refused(x: list[int], y: list[int], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        encode_events(np.array(x), np.array(y), (4, 4))


@pytest.mark.parametrize("upsampling", [1, 2, 4])
@pytest.mark.parametrize("threads", [1, 3])
def test_fractions_are_sums_of_hardware_frames(tmp_path: Path, upsampling: Any, threads: int) -> None:
    raw = events((11, 24, 36))
    path = write_eer_movie(tmp_path / "a.eer", raw)
    header = read_movie_header(path)
    assert (header.frame_count, header.shape_yx, header.dtype, header.data_bytes) == (11, (24, 36), "uint8", 24 * 36)
    eer = EerFractions(fractions=3, upsampling=upsampling)
    assert frame_count_after(header, eer) == 3
    movie = read_movie(header, eer=eer, threads=threads)
    assert movie.shape == (3, 24 * upsampling, 36 * upsampling)
    assert movie.dtype == np.uint8
    binned = movie.reshape(3, 24, upsampling, 36, upsampling).sum(axis=(2, 4))
    np.testing.assert_array_equal(binned, raw[:9].reshape(3, 3, 24, 36).sum(axis=1))


def test_events_lie_where_they_were_put(tmp_path: Path) -> None:
    writer = EerWriter(tmp_path / "a.eer", (6, 8), metadata={})
    writer.append_events(np.array([1, 14, 31]), np.array([0, 7, 22]))
    writer.append(np.eye(6, 8, dtype=np.uint8))
    writer.close()
    movie = read_movie(read_movie_header(tmp_path / "a.eer"), eer=EerFractions(2, upsampling=4))
    assert sorted(map(tuple, np.argwhere(movie[0]).tolist())) == [(0, 1), (7, 14), (22, 31)]
    assert sorted(map(tuple, np.argwhere(movie[1]).tolist())) == [(4 * i + 2, 4 * i + 2) for i in range(6)]


def test_tifffile_reads_the_same_movie(tmp_path: Path) -> None:
    raw = events()
    path = write_eer_movie(tmp_path / "a.eer", raw, {"exposureTime": 2.5, "numberOfFrames": 6})
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_bigtiff
        assert tiff.is_eer
        assert tiff.eer_metadata == {
            "sensorImageHeight": 24, "sensorImageWidth": 36, "exposureTime": 2.5, "exposureTime.unit": "s",
            "numberOfFrames": 6,
        }  # fmt: skip
        np.testing.assert_array_equal(np.stack([page.asarray() for page in tiff.pages]), raw)
    np.testing.assert_array_equal(read_movie(read_movie_header(path), eer=ONE_EACH), raw)


@given(st.integers(1, 3000), st.integers(1, 200))
def test_fraction_bounds_follow_relion(hardware_frames: int, fractions: int) -> None:
    bounds = fraction_bounds(hardware_frames, EerFractions(fractions=fractions))
    group = max(1, hardware_frames // fractions)
    assert len(bounds) == hardware_frames // group
    assert [start for start, _ in bounds] == [group * index for index in range(len(bounds))]
    assert all(end - start == group for start, end in bounds)
    assert 0 <= hardware_frames - bounds[-1][1] < group
    assert len(bounds) >= min(fractions, hardware_frames)


def test_many_hardware_frames_cannot_overflow(tmp_path: Path) -> None:
    raw = np.ones((300, 2, 3), np.uint8)
    path = write_eer_movie(tmp_path / "a.eer", raw)
    movie = read_movie(read_movie_header(path), eer=EerFractions(fractions=1))
    assert movie.dtype == np.uint16
    assert (movie == 300).all()
    assert read_movie(read_movie_header(path), eer=EerFractions(fractions=2)).dtype == np.uint8


def write_pages(
    path: Path,
    compressions: list[int],
    pixels: Callable[[int], bytes],
    xml: bytes = b"<metadata/>",
    more: Sequence[Any] = (),
) -> None:
    chain = PageChain(path, is_big=True)
    for index, compression in enumerate(compressions):
        fields: list[Any] = [
            (tags.WIDTH, LONG, [36]), (tags.HEIGHT, LONG, [24]), (tags.BITS, SHORT, [8 if compression == 1 else 1]),
            (tags.COMPRESSION, SHORT, [compression]), *more,
        ]  # fmt: skip
        chain.append([*fields, *([(tags.EER_METADATA, UNDEFINED, xml)] if index == 0 else [])], [pixels(index)])
    chain.close()


def encode_frame(frame_yx: npt.NDArray[np.uint8]) -> bytes:
    y, x = np.nonzero(frame_yx)
    return encode_events(4 * x, 4 * y, frame_yx.shape)


def test_image_of_the_sum_before_the_frames_is_left_out(tmp_path: Path) -> None:
    raw = events((3, 24, 36))
    total = raw.sum(axis=0, dtype=np.uint8).tobytes()
    write_pages(
        tmp_path / "a.eer",
        [1, 65001, 65001, 65001],
        lambda index: total if index == 0 else encode_frame(raw[index - 1]),
    )
    header = read_movie_header(tmp_path / "a.eer")
    assert header.frame_count == 3
    np.testing.assert_array_equal(read_movie(header, eer=ONE_EACH), raw)


def test_variable_widths_must_be_there_and_possible(tmp_path: Path) -> None:
    write_pages(tmp_path / "a.eer", [65002], lambda index: b"\0" * 64)
    with pytest.raises(FormatError, match="tags 65007 to 65009"):
        read_movie_header(tmp_path / "a.eer")
    widths = [(tags.EER_RUN_BITS, SHORT, [40]), (tags.EER_X_BITS, SHORT, [2]), (tags.EER_Y_BITS, SHORT, [2])]
    write_pages(tmp_path / "b.eer", [65002], lambda index: b"\0" * 64, more=widths)
    with pytest.raises(FormatUnsupported, match=r"bit widths 40 \+ 2 \+ 2"):
        read_movie_header(tmp_path / "b.eer")


def test_places_too_coarse_for_a_grid_are_told(tmp_path: Path) -> None:
    path = write_eer_movie(tmp_path / "a.eer", events(), scheme=variable_scheme(8, 1, 1))
    assert read_movie(read_movie_header(path), eer=EerFractions(1, 2)).shape == (1, 48, 72)
    with pytest.raises(FormatUnsupported, match="up-sampling 4 is not read from them"):
        read_movie(read_movie_header(path), eer=EerFractions(1, 4))
    with pytest.raises(ValueError, match="not written"):
        encode_events(np.array([0]), np.array([0]), (4, 4), variable_scheme(8, 3, 3))


def test_fractions_by_dose_take_whole_hardware_frames(tmp_path: Path) -> None:
    asked = EerFractions(upsampling=1, dose_per_fraction_e_per_ang2=1.0)
    assert fraction_bounds(240, asked.for_movie(240, 50.0))[:2] == [(0, 5), (5, 10)]
    assert len(fraction_bounds(240, asked.for_movie(240, 50.0))) == 48
    assert fraction_bounds(3, asked.for_movie(3, 50.0)) == [(0, 1), (1, 2), (2, 3)]
    assert fraction_bounds(240, asked.for_movie(240, 0.5)) == [(0, 240)]
    with pytest.raises(AcquisitionUnknown, match="total_dose_e_per_ang2"):
        fraction_bounds(240, asked.for_movie(240, None))
    path = write_eer_movie(tmp_path / "a.eer", events((11, 24, 36)))
    movie = read_movie(read_movie_header(path), eer=asked.for_movie(11, 5.5))
    np.testing.assert_array_equal(movie, events((11, 24, 36))[:10].reshape(5, 2, 24, 36).sum(axis=1))


@pytest.mark.parametrize(
    ("compressions", "what"),
    [([1], "no hardware frame"), ([5, 5], "compression 5"), ([65001, 65000], "frame 2 differs")],
)
def test_tiff_without_events_is_no_eer(tmp_path: Path, compressions: list[int], what: str) -> None:
    write_pages(tmp_path / "a.eer", compressions, lambda index: b"\0" * 864)
    with pytest.raises(FormatError, match=what):
        read_movie_header(tmp_path / "a.eer")


def test_damaged_events_name_the_hardware_frame(tmp_path: Path) -> None:
    raw = events((3, 24, 36))
    write_pages(
        tmp_path / "a.eer", [65001] * 3, lambda index: b"\1\2" * 600 if index == 1 else encode_frame(raw[index])
    )
    with pytest.raises(FormatError, match="hardware frame 2 are damaged"):
        read_movie(read_movie_header(tmp_path / "a.eer"), eer=ONE_EACH)


def test_frame_with_too_few_bytes_is_refused(tmp_path: Path) -> None:
    raw = events((2, 24, 36))
    write_pages(tmp_path / "a.eer", [65001] * 2, lambda index: b"\1\2" if index == 1 else encode_frame(raw[index]))
    with pytest.raises(FormatError, match="hardware frame 2 has 2 bytes, too few"):
        read_movie_header(tmp_path / "a.eer")


def test_odd_sensors_cannot_be_up_sampled_twice(tmp_path: Path) -> None:
    path = write_eer_movie(tmp_path / "a.eer", events((2, 5, 8)))
    assert read_movie(read_movie_header(path), eer=EerFractions(upsampling=4)).shape == (2, 20, 32)
    with pytest.raises(FormatUnsupported, match="even"):
        read_movie(read_movie_header(path), eer=EerFractions(upsampling=2))


def test_metadata_and_pixel_size(tmp_path: Path) -> None:
    items: dict[str, str | int | float] = {"cameraName": "A & <B>", "sensorPixelSize.width": 7.3e-11}
    path = write_eer_movie(tmp_path / "a.eer", events(), items)
    frames = EerFrames(path, EerFractions())
    metadata = read_metadata(frames.metadata_xml, path)
    frames.close()
    assert metadata["cameraName"].text == "A & <B>"
    assert (metadata["sensorImageWidth"].text, metadata["sensorPixelSize.width"].unit) == ("36", "m")
    assert read_movie_header(path).pixel_size_ang == 0.73


@pytest.mark.parametrize("value", ["1.4e-5", "unknown", "nan", "0"])
def test_pixel_sizes_that_no_microscope_has_are_unknown(tmp_path: Path, value: str) -> None:
    path = write_eer_movie(tmp_path / "a.eer", events(), {"sensorPixelSize.width": value})
    assert read_movie_header(path).pixel_size_ang is None


def test_broken_xml_is_told(tmp_path: Path) -> None:
    write_pages(tmp_path / "a.eer", [65001], lambda index: encode_frame(events()[0]), xml=b"<metadata><item")
    with pytest.raises(FormatError, match="acquisition XML"):
        read_movie_header(tmp_path / "a.eer")


def test_writer_refuses_what_a_hardware_frame_cannot_hold(tmp_path: Path) -> None:
    writer = EerWriter(tmp_path / "a.eer", (4, 4), metadata={})
    with pytest.raises(ValueError, match="zeros and ones"):
        writer.append(np.full((4, 4), 2, np.uint8))
    with pytest.raises(ValueError, match="zeros and ones"):
        writer.append(np.zeros((4, 5), np.uint8))
    writer.close()


def test_same_events_give_same_bytes(tmp_path: Path) -> None:
    one = write_eer_movie(tmp_path / "a.eer", events())
    two = write_eer_movie(tmp_path / "b.eer", events())
    assert one.read_bytes() == two.read_bytes()


def test_the_dose_comes_from_the_metadata(tmp_path: Path) -> None:
    path = write_eer_movie(tmp_path / "a.eer", events(), {"totalDose": 34.5})
    assert read_movie_header(path).total_dose_e_per_px == 34.5
    for item in (b'unit="e/A2">34.5', b">-1"):
        xml = b'<metadata><item name="totalDose" ' + item + b"</item></metadata>"
        write_pages(tmp_path / "b.eer", [65001], lambda index: encode_frame(events()[0]), xml=xml)
        assert read_movie_header(tmp_path / "b.eer").total_dose_e_per_px is None
