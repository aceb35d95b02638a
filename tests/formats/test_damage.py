"""Damaged and hostile movies cost one clear sentence: no crash, no memory without bound, no endless loop."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.errors import ElcanoError
from daemon.formats.movie import read_movie_header
from daemon.formats.structure import inspect_structure
from tests.formats.samples import write_any_movie

ROOT = Path(__file__).parents[2]


def test_damaged_movies_of_every_kind(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.formats.damage", str(tmp_path), "60"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def tiff(entries: list[tuple[int, int, int, int]], *, link: int = 0) -> bytes:
    """A little-endian TIFF of one directory at byte 8: (tag, type, count, value)."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + packed + struct.pack("<I", link) + b"\1" * 4096


def big_tiff(entries: list[tuple[int, int, int, int]]) -> bytes:
    """Likewise with numbers of 64 bits, the directory at byte 16."""
    packed = b"".join(struct.pack("<HHQQ", *entry) for entry in entries)
    head = struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, len(entries))
    return head + packed + struct.pack("<Q", 0) + b"\1" * 4096


def mrc(**fields: int) -> bytes:
    """An MRC header with four frames of 8 × 8 bytes, some fields of it others."""
    places = {"nx": 0, "ny": 4, "nz": 8, "mode": 12, "mapc": 64, "mapr": 68, "maps": 72, "nsymbt": 92}
    values = {"nx": 8, "ny": 8, "nz": 4, "mode": 0, "mapc": 1, "mapr": 2, "maps": 3, **fields}
    header = bytearray(1024)
    header[208:216] = b"MAP \x44\x44\0\0"
    for name, value in values.items():
        struct.pack_into("<i", header, places[name], value)
    return bytes(header) + b"\1" * 256


PLAIN = [(258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]
STRIP = [(273, 4, 1, 200), (278, 4, 1, 8), (279, 4, 1, 64)]
SIZE = [(256, 4, 1, 8), (257, 4, 1, 8)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("loop.tif", tiff(sorted(SIZE + PLAIN + STRIP), link=8)),
        ("wide.tif", tiff(sorted([(256, 4, 1, 2**32 - 1), (257, 4, 1, 2**32 - 1), *PLAIN, *STRIP]))),
        ("nothing.tif", tiff(sorted([(256, 4, 1, 0), (257, 4, 1, 0), *PLAIN, *STRIP]))),
        (
            "strips.tif",
            tiff(sorted([*SIZE, *PLAIN, (273, 4, 2**32 - 1, 200), (278, 4, 1, 1), (279, 4, 2**32 - 1, 200)])),
        ),
        ("big.tif", big_tiff(sorted([(256, 16, 1, 2**40), (257, 16, 1, 2**40), *PLAIN, *STRIP]))),
        ("counts.tif", big_tiff(sorted([*SIZE, *PLAIN, (273, 16, 2**60, 300), (278, 4, 1, 8), (279, 16, 2**60, 300)]))),
        ("entries.tif", struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, 2**63) + b"\1" * 4096),
        ("loop.eer", tiff(sorted([*SIZE, (259, 3, 1, 65001), *STRIP]), link=8)),
        ("wide.mrc", mrc(nx=2**31 - 1, ny=2**31 - 1, nz=2**31 - 1)),
        ("negative.mrc", mrc(nx=-8)),
        ("frames.mrc", mrc(nz=-4)),
        ("mode.mrc", mrc(mode=-7)),
        ("behind.mrc", mrc(nsymbt=2**31 - 1)),
        ("before.mrc", mrc(nsymbt=-2000)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_header_that_cannot_be_true_is_refused_with_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    structure = inspect_structure(path)
    assert not structure.whole
    assert structure.reason
    assert "\n" not in structure.reason
    said = ""
    try:
        read_movie_header(path)
    except ElcanoError as error:
        said = error.message
    assert not said or str(path) in said
    assert len(said) < 300


def test_what_is_sound_is_not_refused(tmp_path: Path) -> None:
    """The hand-made headers above are wrong by what they say, not by how they are made."""
    for name, content in (("a.mrc", mrc()), ("a.tif", tiff(sorted(SIZE + PLAIN + STRIP)))):
        path = tmp_path / name
        path.write_bytes(content)
        assert inspect_structure(path).whole
    assert inspect_structure(write_any_movie(tmp_path, "eer")).whole
