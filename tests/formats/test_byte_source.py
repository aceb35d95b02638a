import errno
import os
from pathlib import Path

import pytest

from daemon.errors import FileUnreadable, MovieIncomplete
from daemon.formats.byte_source import ByteSource
from tests.formats.samples import count_open


def test_reads_exactly_what_is_asked(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    with ByteSource(tmp_path / "a") as source:
        assert source.size_bytes == 10
        assert source.read_at(3, 4) == b"3456"
        assert source.read_at(10, 0) == b""
        assert source.read_up_to(8, 100) == b"89"
        assert source.read_up_to(2**64 - 1, 100) == b""
        buffer = bytearray(2)
        source.read_into(8, memoryview(buffer))
        assert buffer == b"89"


@pytest.mark.parametrize(("offset", "count"), [(8, 3), (11, 0), (-1, 2), (0, -1)])
def test_reading_past_the_end_is_incomplete(tmp_path: Path, offset: int, count: int) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    with ByteSource(tmp_path / "a") as source, pytest.raises(MovieIncomplete, match="ends at 10"):
        source.read_at(offset, count)


def test_file_that_shrinks_while_it_is_read_is_incomplete(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    with ByteSource(tmp_path / "a") as source:
        os.truncate(tmp_path / "a", 5)
        with pytest.raises(MovieIncomplete, match="shrank to 5 bytes"):
            source.read_at(0, 10)


def test_short_reads_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda descriptor, buffers, offset: real(descriptor, [buffers[0][:3]], offset))
    with ByteSource(tmp_path / "a") as source:
        assert source.read_at(0, 10) == b"0123456789"


def test_errors_of_the_system_are_translated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileUnreadable, match="No such file"):
        ByteSource(tmp_path / "absent")
    with pytest.raises(FileUnreadable, match="directory"):
        ByteSource(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileUnreadable, match="pipe"):
        ByteSource(tmp_path / "pipe")
    (tmp_path / "a").write_bytes(b"0123456789")

    def fail(*_: object) -> int:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(os, "preadv", fail)
    with ByteSource(tmp_path / "a") as source, pytest.raises(FileUnreadable, match="Stale file handle"):
        source.read_at(0, 10)


def test_descriptor_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"")
    with ByteSource(path):
        assert count_open(path) == 1
    assert count_open(path) == 0
