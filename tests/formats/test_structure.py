from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.errors import FileUnreadable
from daemon.formats.eer_writer import EerWriter
from daemon.formats.movie import read_movie, read_movie_header
from daemon.formats.mrc_writer import MrcWriter, write_mrc
from daemon.formats.structure import MovieStructure, inspect_structure
from daemon.formats.tiff_writer import TiffMovieWriter
from tests.formats.samples import KINDS, ONE_EACH, counts, events, write_any_movie, write_tiff_movie

EXPECTED_FRAMES = {kind: 6 if kind.startswith("eer") else 4 for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_whole_files_are_called_whole(tmp_path: Path, kind: str) -> None:
    found = inspect_structure(write_any_movie(tmp_path, kind))
    assert found == MovieStructure(True, EXPECTED_FRAMES[kind], 36, 24, "", False)


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_files_are_never_called_whole(tmp_path: Path, kind: str) -> None:
    path = write_any_movie(tmp_path, kind)
    raw = path.read_bytes()
    cuts = (
        {int(cut) for cut in np.linspace(0, len(raw) - 1, 200)} | set(range(len(raw) - 40, len(raw))) | set(range(40))
    )
    counted = []
    for cut in sorted(cuts):
        path.write_bytes(raw[:cut])
        found = inspect_structure(path)
        assert not found.whole, f"called whole with {cut} of {len(raw)} bytes"
        assert path.name in found.reason
        counted.append(found.frame_count or 0)
    assert counted == sorted(counted)
    assert counted[-1] in {EXPECTED_FRAMES[kind] - 1, EXPECTED_FRAMES[kind]}


@pytest.mark.parametrize("kind", KINDS)
def test_copies_into_reserved_space_are_called_whole_only_when_their_pixels_are_there(
    tmp_path: Path, kind: str
) -> None:
    path = write_any_movie(tmp_path, kind)
    raw = path.read_bytes()
    truth = read_movie(read_movie_header(path), eer=ONE_EACH)
    seen_reserved = 0
    for copied in sorted({int(cut) for cut in np.linspace(0, len(raw) - 1, 200)} | set(range(len(raw) - 40, len(raw)))):
        path.write_bytes(raw[:copied] + b"\0" * (len(raw) - copied))
        found = inspect_structure(path)
        if found.whole and not found.tail_is_zero:
            remaining_is_small = kind in {"mrc", "mrc float", "mrc 4-bit", "tiff none"} and len(raw) - copied < 512
            same = np.array_equal(read_movie(read_movie_header(path), eer=ONE_EACH), truth)
            assert same or remaining_is_small, f"called whole with {copied} of {len(raw)} bytes copied"
        else:
            seen_reserved += 1
    assert seen_reserved > 100


@pytest.mark.parametrize("suffix", ["mrc", "tif"])
def test_zero_tail_of_sparse_counting_is_whole_but_marked(tmp_path: Path, suffix: str) -> None:
    movie = counts((2, 100, 100))
    movie[1, :60] = 0
    if suffix == "mrc":
        movie = movie[:, ::-1]
        write_mrc(tmp_path / "a.mrc", movie, pixel_size_ang=1, camera_bytes=True)
    else:
        write_tiff_movie(tmp_path / "a.tif", movie, "none", rows_per_strip=50)
    found = inspect_structure(tmp_path / f"a.{suffix}")
    assert (found.whole, found.tail_is_zero, found.frame_count) == (True, True, 2)


@pytest.mark.parametrize("suffix", ["mrc", "mrcs", "tif", "tiff", "eer"])
@pytest.mark.parametrize("size_bytes", [0, 1, 7, 500, 5000])
def test_reserved_space_without_any_data(tmp_path: Path, suffix: str, size_bytes: int) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"\0" * size_bytes)
    found = inspect_structure(path)
    assert (found.whole, found.frame_count, found.tail_is_zero) == (False, None, size_bytes > 0)


def test_mrc_larger_than_announced_is_not_whole(tmp_path: Path) -> None:
    path = write_any_movie(tmp_path, "mrc")
    path.write_bytes(path.read_bytes() + b"\1")
    found = inspect_structure(path)
    assert not found.whole
    assert found.frame_count == 4
    assert "still growing" in found.reason


def open_writer(path: Path, kind: str, frame_count: int) -> Any:
    if kind == "mrc announced":
        return MrcWriter(path, (24, 36), "uint8", pixel_size_ang=1, section_count=frame_count, camera_bytes=True)
    if kind == "mrc":
        return MrcWriter(path, (24, 36), "uint8", pixel_size_ang=1, camera_bytes=True)
    if kind == "eer":
        return EerWriter(path, (24, 36), metadata={})
    return TiffMovieWriter(path, (24, 36), "uint8", is_big=kind == "tiff big")


@pytest.mark.parametrize(
    ("kind", "suffix", "is_whole_early"),
    [
        ("mrc", "mrc", True),
        ("mrc announced", "mrc", False),
        ("tiff", "tif", True),
        ("tiff big", "tif", True),
        ("eer", "eer", True),
    ],
)
def test_writer_in_place_is_reported_with_the_frames_it_has(
    tmp_path: Path, kind: str, suffix: str, is_whole_early: bool
) -> None:
    path = tmp_path / f"a.{suffix}"
    movie = events((5, 24, 36), rate=0.3)
    writer = open_writer(path, kind, len(movie))
    assert not inspect_structure(path).whole
    for number, frame in enumerate(movie, start=1):
        writer.append(frame)
        found = inspect_structure(path)
        assert found.frame_count == number
        assert found.whole is (is_whole_early or number == len(movie))
    writer.close()
    assert inspect_structure(path).whole
    np.testing.assert_array_equal(read_movie(read_movie_header(path), eer=ONE_EACH), movie)


@pytest.mark.parametrize("kind", KINDS)
def test_file_mutilated_in_the_middle_never_raises(tmp_path: Path, kind: str) -> None:
    path = write_any_movie(tmp_path, kind)
    raw = path.read_bytes()
    generator = np.random.default_rng(7)
    for _ in range(150):
        damaged = bytearray(raw)
        for offset in generator.integers(0, len(raw), 5):
            damaged[offset] = generator.integers(256)
        path.write_bytes(damaged)
        found = inspect_structure(path)
        assert found.whole == (found.reason == "")


@settings(deadline=None, max_examples=150)
@given(content=st.binary(max_size=1500), suffix=st.sampled_from([".mrc", ".tif", ".eer", ".txt", ""]))
def test_garbage_has_a_reason(tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"garbage{suffix}"
    path.write_bytes(content)
    found = inspect_structure(path)
    assert not found.whole
    assert found.reason


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_what_cannot_be_read_is_raised(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a.tif")
    with pytest.raises(FileUnreadable):
        inspect_structure(tmp_path / "a.tif")
