import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.domain.acquisition import EerFractions
from daemon.domain.movie import MovieFormat
from daemon.errors import FileUnreadable, FormatError, FormatUnsupported, MovieChanged, MovieIncomplete
from daemon.formats.movie import (
    check_read_elsewhere,
    frame_count_after,
    iterate_frames,
    movie_dtype,
    movie_shape,
    read_movie,
    read_movie_header,
    read_proven_header,
)
from daemon.formats.mrc_writer import write_mrc
from tests.formats.samples import KINDS, ONE_EACH, count_open, counts, events, write_any_movie, write_tiff_movie

TWO = EerFractions(fractions=2)
SUFFIXES = (".mrc", ".mrcs", ".tif", ".tiff", ".eer")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threads", [1, 3])
def test_every_format_gives_its_frames(tmp_path: Path, kind: str, threads: int) -> None:
    path = write_any_movie(tmp_path, kind)
    header = read_movie_header(path)
    expected = events() if kind.startswith("eer") else counts().astype("float32" if "float" in kind else "uint8")
    assert header.frame_count == len(expected)
    assert (header.width_px, header.height_px) == (36, 24)
    movie = read_movie(header, eer=ONE_EACH, threads=threads)
    assert movie.dtype == header.dtype == expected.dtype
    np.testing.assert_array_equal(movie, expected)
    frames = list(iterate_frames(header, eer=ONE_EACH, threads=threads))
    np.testing.assert_array_equal(np.stack(frames), expected)
    assert len({frame.ctypes.data for frame in frames}) == len(frames), "each frame is the caller's to keep"


@pytest.mark.parametrize("kind", KINDS)
def test_shape_and_type_are_foretold(tmp_path: Path, kind: str) -> None:
    header = read_movie_header(write_any_movie(tmp_path, kind))
    for eer in (TWO, EerFractions(fractions=3, upsampling=2), ONE_EACH):
        movie = read_movie(header, eer=eer)
        assert movie.shape == movie_shape(header, eer)
        assert movie.dtype == movie_dtype(header, eer)
        assert len(movie) == frame_count_after(header, eer)


def test_header_sizes(tmp_path: Path) -> None:
    header = read_movie_header(write_any_movie(tmp_path, "tiff lzw"))
    assert header.format is MovieFormat.TIFF
    assert header.data_bytes == 4 * 24 * 36
    assert header.pixel_size_ang == 0.83
    assert read_movie_header(write_any_movie(tmp_path, "mrc float")).data_bytes == 4 * 24 * 36 * 4
    assert read_movie_header(write_any_movie(tmp_path, "eer")).data_bytes == 24 * 36


def test_suffix_in_capitals(tmp_path: Path) -> None:
    path = write_any_movie(tmp_path, "mrc").rename(tmp_path / "A.MRC")
    assert read_movie_header(path).format is MovieFormat.MRC


def test_given_array_is_filled(tmp_path: Path) -> None:
    header = read_movie_header(write_any_movie(tmp_path, "tiff lzw"))
    out = np.full((4, 24, 36), 99, np.uint8)
    assert read_movie(header, eer=TWO, out=out) is out
    np.testing.assert_array_equal(out, counts())


@pytest.mark.parametrize(
    "out",
    [
        np.empty((4, 24, 35), np.uint8),
        np.empty((4, 24, 36), np.uint16),
        np.empty((4, 36, 24), np.uint8).transpose(0, 2, 1),
    ],
)
def test_unsuitable_array_is_refused(tmp_path: Path, out: npt.NDArray[Any]) -> None:
    header = read_movie_header(write_any_movie(tmp_path, "tiff lzw"))
    with pytest.raises(ValueError, match="C-contiguous uint8"):
        read_movie(header, eer=TWO, out=out)


@pytest.mark.parametrize("threads", [1, 2])
def test_iteration_may_end_early_and_closes_the_file(tmp_path: Path, threads: int) -> None:
    header = read_movie_header(write_any_movie(tmp_path, "tiff lzw"))
    frames = iterate_frames(header, eer=TWO, threads=threads)
    np.testing.assert_array_equal(next(frames), counts()[0])
    assert count_open(header.path) > 0
    frames.close()
    assert count_open(header.path) == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_damaged_frame_ends_reading(tmp_path: Path, threads: int) -> None:
    path = write_tiff_movie(tmp_path / "a.tif", counts((30, 24, 36)))
    raw = bytearray(path.read_bytes())
    raw[20:60] = b"\xff" * 40
    path.write_bytes(raw)
    header = read_movie_header(path)
    with pytest.raises(FormatError, match="frame 1"):
        read_movie(header, eer=TWO, threads=threads)
    with pytest.raises(FormatError, match="frame 1"):
        list(iterate_frames(header, eer=TWO, threads=threads))


@pytest.mark.parametrize("kind", KINDS)
def test_file_that_changed_since_its_header_is_told(tmp_path: Path, kind: str) -> None:
    path = write_any_movie(tmp_path, kind)
    header = read_movie_header(path)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(MovieIncomplete):
        read_movie(header, eer=TWO)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threads", [1, 2])
def test_another_movie_of_the_same_kind_under_its_name_is_never_read_for_it(
    tmp_path: Path, kind: str, threads: int
) -> None:
    path = write_any_movie(tmp_path, kind)
    header = read_movie_header(path)
    assert header.file is not None
    assert read_proven_header(header.file) == header
    os.utime(path, ns=(header.file.mtime_ns + 1, header.file.mtime_ns + 1))
    for read in (
        lambda: read_proven_header(header.file),
        lambda: read_movie(header, eer=TWO, threads=threads),
        lambda: next(iterate_frames(header, eer=TWO, threads=threads)),
        lambda: check_read_elsewhere(header),
    ):
        with pytest.raises(MovieChanged, match="written at another time"):
            read()
    assert count_open(path) == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_a_movie_written_while_it_is_read_is_told(tmp_path: Path, threads: int) -> None:
    path = write_any_movie(tmp_path, "mrc")
    header = read_movie_header(path)
    assert header.file is not None
    later_ns = header.file.mtime_ns + 1
    with pytest.raises(MovieChanged):
        read_movie(header, eer=TWO, threads=threads, on_frame=lambda _: os.utime(path, ns=(later_ns, later_ns)))
    frames = iterate_frames(read_movie_header(path), eer=TWO, threads=threads)
    next(frames)
    os.utime(path, ns=(later_ns + 1, later_ns + 1))
    with pytest.raises(MovieChanged):
        list(frames)
    assert count_open(path) == 0


def test_file_replaced_by_a_shorter_movie_is_told(tmp_path: Path) -> None:
    path = write_any_movie(tmp_path, "mrc")
    header = read_movie_header(path)
    write_mrc(path, counts((3, 24, 36)), pixel_size_ang=1, camera_bytes=True)
    with pytest.raises(MovieChanged, match=r"it had \d+ bytes and has \d+"):
        read_movie(header, eer=TWO)
    with pytest.raises(MovieIncomplete, match=r"holds uint8 \(3, 24, 36\).* now"):
        read_movie(replace(header, file=None), eer=TWO)


@pytest.mark.parametrize("name", ["a.txt", "a", "a.tif.part", "a.dm4"])
def test_other_suffixes_are_no_movies(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"II*\0")
    with pytest.raises(FormatUnsupported, match="no movie format"):
        read_movie_header(tmp_path / name)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_absent_empty_and_foreign_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    with pytest.raises(FileUnreadable, match="No such file"):
        read_movie_header(path)
    path.write_bytes(b"")
    with pytest.raises(MovieIncomplete):
        read_movie_header(path)
    path.write_text("Just a text.\n" * 200)
    with pytest.raises(FormatError, match="not a"):
        read_movie_header(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(FileUnreadable, match="directory"):
        read_movie_header(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_file_without_permission_is_unreadable(tmp_path: Path) -> None:
    path = write_any_movie(tmp_path, "mrc")
    path.chmod(0)
    with pytest.raises(FileUnreadable, match="Permission denied"):
        read_movie_header(path)


@settings(deadline=None, max_examples=150)
@given(content=st.binary(max_size=2500), suffix=st.sampled_from(SUFFIXES))
def test_random_bytes_are_refused_in_our_own_words(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"random{suffix}"
    path.write_bytes(content)
    with pytest.raises(FormatError):
        read_movie_header(path)


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(KINDS),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4),
    in_structure=st.booleans(),
)
def test_damaged_bytes_give_pixels_or_our_own_errors(
    tmp_path: Path, kind: str, changes: list[tuple[float, int]], in_structure: bool
) -> None:
    path = write_any_movie(tmp_path, kind)
    raw = bytearray(path.read_bytes())
    for place, value in changes:
        # Half of the damage goes where headers and directories are: the first and last 300 bytes.
        offset = int((place - 0.5) * 600) if in_structure else int(place * len(raw))
        raw[offset] = value
    path.write_bytes(raw)
    try:
        header = read_movie_header(path)
        movie = read_movie(header, eer=ONE_EACH)
    except FormatError:
        return
    assert movie.shape == movie_shape(header, ONE_EACH)
