import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rsciio import digitalmicrograph

from daemon.errors import FileUnreadable, FormatError, FormatUnsupported, MovieIncomplete
from daemon.formats.dm import read_dm_image
from tests.formats.dm_samples import TYPES, DmFile, write_dm

IMAGE = np.arange(15, dtype=np.float32).reshape(3, 5)


@settings(deadline=None, max_examples=60)
@given(st.data(), st.sampled_from(sorted(TYPES)), st.sampled_from([3, 4]), st.sampled_from("<>"), st.booleans())
def test_images_of_every_kind_come_back(
    tmp_path_factory: pytest.TempPathFactory, data: Any, kind: str, version: int, byte_order: str, flip_rows: bool
) -> None:
    shape = hnp.array_shapes(min_dims=2, max_dims=2, min_side=3, max_side=9)
    image = data.draw(hnp.arrays(np.dtype(kind), shape))
    path = write_dm(tmp_path_factory.mktemp("dm") / "a.dm4", image, version, byte_order)
    found = read_dm_image(path, flip_rows=flip_rows)
    assert found.dtype == image.dtype
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, image[::-1] if flip_rows else image)


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("kind", ["f4", "u2", "f8"])
def test_another_reader_finds_the_same_image(tmp_path: Path, version: int, kind: str) -> None:
    path = write_dm(tmp_path / f"a.dm{version}", IMAGE.astype(kind), version)
    thumbnail, image = digitalmicrograph.file_reader(str(path))
    assert thumbnail["data"].shape == (2, 2)
    assert image["data"].dtype == np.dtype(kind)
    np.testing.assert_array_equal(image["data"], read_dm_image(path, flip_rows=False))


@pytest.mark.parametrize("version", [3, 4])
def test_truncated_files_are_incomplete(tmp_path: Path, version: int) -> None:
    path = write_dm(tmp_path / "a.dm4", IMAGE, version)
    raw = path.read_bytes()
    for size in range(len(raw) - 9):
        path.write_bytes(raw[:size])
        with pytest.raises(MovieIncomplete):
            read_dm_image(path, flip_rows=False)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_files_give_pixels_or_our_own_errors(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[float, int]]
) -> None:
    path = write_dm(tmp_path_factory.getbasetemp() / "damaged.dm4", IMAGE)
    raw = bytearray(path.read_bytes())
    for place, value in changes:
        raw[int(place * len(raw))] = value
    path.write_bytes(raw)
    try:
        found: npt.NDArray[Any] = read_dm_image(path, flip_rows=False)
    except FormatError:
        return
    assert found.ndim == 2


def make(tags: list[bytes], version: int = 4) -> bytes:
    return DmFile(version).file(tags)


DM = DmFile(4)
HOSTILE: list[tuple[bytes, type[FormatError], str]] = [
    (b"\0\0\0\7" + b"\0" * 40, FormatError, "not a DigitalMicrograph file of version 3 or 4"),
    (b"\0\0\0\3" + b"\0" * 4 + b"\0\0\0\x09" + b"\0" * 40, FormatError, "byte order"),
    (make([]), FormatError, "no image"),
    (make([DM.branch("ImageList", [DM.image(IMAGE.astype("f4"), 3)])]), FormatUnsupported, "data type 3"),
    (make([DM.branch("ImageList", [DM.image(np.zeros((2, 3, 4), "f4"))])]), FormatUnsupported, "2 images"),
    (make([DM.branch("ImageList", [DM.image(IMAGE, 12)])]), FormatError, "15 values of 4 bytes"),
    (make([DM.value("x", [99], b"")]), FormatError, "unknown layout"),
    (make([DM.value("x", [20, 6, 1 << 40], b"")]), MovieIncomplete, "the file ends"),
    (make([DM.value("x", [], b"")]), FormatError, "layout of 0 numbers"),
    (DM.file([]).replace(b"\1\0" + b"\0" * 8, b"\1\0\0\0\0\1\0\0\0\0"), FormatError, "more than 1000000 tags"),
    (make([DM.branch("ImageList", [b"\x07\0\0" + b"\0" * 8])]), FormatError, "unknown kind 7"),
]


@pytest.mark.parametrize(("raw", "error", "what"), HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_files_are_refused(tmp_path: Path, raw: bytes, error: type[FormatError], what: str) -> None:
    path = tmp_path / "a.dm4"
    path.write_bytes(raw)
    with pytest.raises(error, match=what):
        read_dm_image(path, flip_rows=False)


def test_groups_nested_without_end_are_refused(tmp_path: Path) -> None:
    nested = DM.branch("x", [])
    for _ in range(sys.getrecursionlimit()):
        nested = DM.branch("x", [nested])
    (tmp_path / "a.dm4").write_bytes(make([nested]))
    with pytest.raises(FormatError, match="nested deeper than 64"):
        read_dm_image(tmp_path / "a.dm4", flip_rows=False)


def test_absent_file_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadable):
        read_dm_image(tmp_path / "a.dm4", flip_rows=False)
