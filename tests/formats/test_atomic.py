import errno
import grp
import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.errors import FileNotWritten, FormatError
from daemon.formats.atomic import TEMPORARY_PREFIX, remove_leftovers, sweep_leftovers, write_atomically
from daemon.formats.mrc_writer import write_mrc


def names_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def encode_hello(path: Path) -> None:
    path.write_bytes(b"hello")


def test_file_appears_with_its_digest_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deep" / "a.txt"
    digest = write_atomically(target, encode_hello)
    assert target.read_bytes() == b"hello"
    assert (digest.size_bytes, digest.sha256) == (5, hashlib.sha256(b"hello").hexdigest())
    assert names_in(target.parent) == ["a.txt"]


def test_temporary_keeps_folder_and_suffix_and_is_hidden(tmp_path: Path) -> None:
    seen: list[Path] = []

    def encode(path: Path) -> None:
        seen.append(path)
        encode_hello(path)

    write_atomically(tmp_path / "a.mrc", encode)
    assert seen[0].parent == tmp_path
    assert seen[0].suffix == ".mrc"
    assert seen[0].name.startswith(TEMPORARY_PREFIX)


def test_existing_file_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_bytes(b"old and longer")
    write_atomically(target, encode_hello)
    assert target.read_bytes() == b"hello"


def test_mode_applies_to_file_and_new_folders(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    write_atomically(target, encode_hello, mode=0o640)
    assert target.stat().st_mode & 0o7777 == 0o640
    assert target.parent.stat().st_mode & 0o7777 == 0o750


def test_group_applies_to_file_and_new_folders(tmp_path: Path) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    target = tmp_path / "new" / "a.txt"
    write_atomically(target, encode_hello, group=group)
    assert target.stat().st_gid == target.parent.stat().st_gid == os.getgid()


def test_unknown_group_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotWritten, match="no group named 'no such group'"):
        write_atomically(tmp_path / "a.txt", encode_hello, group="no such group")
    assert names_in(tmp_path) == []


def test_full_disk_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_bytes(b"old")

    def encode(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(FileNotWritten, match=r"a\.txt: cannot be written: No space left"):
        write_atomically(target, encode)
    assert target.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a.txt"]


def test_writer_that_reports_for_itself_is_told_by_the_target_name(tmp_path: Path) -> None:
    def encode(path: Path) -> None:
        write_mrc(path / "no folder", np.zeros((4, 4), np.float32), pixel_size_ang=1)

    with pytest.raises(FileNotWritten) as caught:
        write_atomically(tmp_path / "a.mrc", encode)
    assert TEMPORARY_PREFIX not in str(caught.value)
    assert str(tmp_path / "a.mrc") in str(caught.value)


def test_failed_sync_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.txt"
    target.write_bytes(b"old")

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(FileNotWritten, match="Input/output error"):
        write_atomically(target, encode_hello)
    assert target.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a.txt"]


def test_other_errors_pass_through_and_leave_nothing(tmp_path: Path) -> None:
    def encode(path: Path) -> None:
        path.write_bytes(b"half")
        raise FormatError(path, "nonsense")

    with pytest.raises(FormatError):
        write_atomically(tmp_path / "a.txt", encode)
    assert names_in(tmp_path) == []


def test_target_that_is_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(FileNotWritten):
        write_atomically(tmp_path / "a.txt", encode_hello)
    assert names_in(tmp_path) == ["a.txt"]


def test_parent_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(FileNotWritten):
        write_atomically(tmp_path / "a" / "b.txt", encode_hello)


def test_leftovers_of_a_killed_writer_are_removed_and_others_kept(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from daemon.formats.atomic import write_atomically\n"
        "def encode(path):\n    path.write_bytes(b'half'); os._exit(9)\n"
        "write_atomically(Path(sys.argv[1]) / 'a.txt', encode)"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=Path(__file__).parents[2], check=False)
    assert ended.returncode == 9
    (leftover,) = tmp_path.iterdir()
    elsewhere = tmp_path / f"{TEMPORARY_PREFIX}another-host-1-1-0123abcd.txt"
    elsewhere.write_bytes(b"")
    ordinary = tmp_path / "b.txt"
    ordinary.write_bytes(b"")
    assert remove_leftovers(tmp_path) == [leftover]
    assert set(tmp_path.iterdir()) == {elsewhere, ordinary}


def test_a_tree_is_swept_without_a_look_at_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    deep = tree / "motioncor" / "deep"
    for folder in (outside, deep):
        folder.mkdir(parents=True)
    dead = [folder / f"{TEMPORARY_PREFIX}{socket.gethostname()}-1-1-0123abcd.mrc" for folder in (tree, deep, outside)]
    for path in (*dead, tree / "result.mrc"):
        path.write_bytes(b"")
    (tree / "link").symlink_to(outside)
    asked: list[str] = []
    stat = os.stat

    def listen(path: Path, **more: Any) -> os.stat_result:
        asked.append(str(path))
        return stat(path, **more)

    monkeypatch.setattr("os.stat", listen)
    removed = sweep_leftovers(tree)
    monkeypatch.undo()
    assert removed == dead[:2]
    assert str(tree / "result.mrc") not in asked
    assert sorted(path.name for path in tree.iterdir()) == ["link", "motioncor", "result.mrc"]
    assert dead[2].exists()


def test_leftovers_of_a_living_writer_are_kept(tmp_path: Path) -> None:
    removed: list[Path] = []

    def encode(path: Path) -> None:
        encode_hello(path)
        removed.extend(remove_leftovers(tmp_path))

    write_atomically(tmp_path / "a.txt", encode)
    assert removed == []


def test_reused_process_id_is_not_mistaken_for_the_writer(tmp_path: Path) -> None:
    names: list[str] = []

    def encode(path: Path) -> None:
        encode_hello(path)
        names.append(path.name)

    write_atomically(tmp_path / "a.txt", encode)
    head, birth, token = names[0].rsplit("-", 2)
    earlier = tmp_path / f"{head}-{int(birth) - 1}-{token}"
    earlier.write_bytes(b"")
    assert remove_leftovers(tmp_path) == [earlier]


def test_a_dead_writer_that_nobody_buried_is_no_living_one(tmp_path: Path) -> None:
    writer = subprocess.Popen(["true"])
    os.waitid(os.P_PID, writer.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and still has its number
    birth = Path(f"/proc/{writer.pid}/stat").read_text().rpartition(")")[2].split()[19]
    leftover = tmp_path / f"{TEMPORARY_PREFIX}{socket.gethostname()}-{writer.pid}-{birth}-0badcafe.png"
    leftover.write_bytes(b"")
    removed = remove_leftovers(tmp_path)
    writer.wait()
    assert removed == [leftover]
