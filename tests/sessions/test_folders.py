import grp
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.errors import CommandRefused, FileNotWritten
from daemon.formats.atomic import TEMPORARY_PREFIX
from daemon.sessions.folders import SessionFolders


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077])
def process_umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.usefixtures("process_umask")
def test_folders_get_the_configured_mode_whatever_the_process_has(tmp_path: Path) -> None:
    folders = SessionFolders.of(tmp_path / "new/home", "24dec03a", umask=0o027)
    folders.prepare(["motioncor", "particles/coords"])
    for folder in ("new", "new/home", "new/home/24dec03a"):
        assert mode(tmp_path / folder) & 0o750 == 0o750, folder
    for name in (".elcano", "motioncor", "particles", "particles/coords"):
        assert mode(folders.home / name) == 0o750, name
    assert (folders.file_mode, folders.folder_mode) == (0o640, 0o750)
    assert folders.session_record == folders.home / ".elcano/session.json"
    assert folders.tables == folders.home / "tables"


def test_existing_folders_are_left_as_they_are(tmp_path: Path) -> None:
    folders = SessionFolders.of(tmp_path, "s")
    folders.home.mkdir(mode=0o700)
    folders.home.chmod(0o700)
    folders.prepare(["ctf"])
    folders.prepare(["ctf"])
    assert mode(folders.home) == 0o700
    assert mode(folders.home / "ctf") == 0o750


def test_a_set_group_bit_is_inherited(tmp_path: Path) -> None:
    tmp_path.chmod(0o2770)
    if not mode(tmp_path) & stat.S_ISGID:
        pytest.skip("this user may not set the set-group bit here")
    folders = SessionFolders.of(tmp_path, "s", umask=0o007)
    folders.prepare(["ctf"])
    assert mode(folders.home / "ctf") == 0o2770


def test_the_group_is_set(tmp_path: Path) -> None:
    own = grp.getgrgid(os.getgid()).gr_name
    folders = SessionFolders.of(tmp_path, "s", group=own)
    folders.prepare(["ctf"])
    assert (folders.home / "ctf").group() == own


def test_an_unknown_group_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotWritten, match="knows no group nobody-knows"):
        SessionFolders.of(tmp_path, "s", group="nobody-knows").prepare([])


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("mine")
    with pytest.raises(FileNotWritten):
        SessionFolders.of(tmp_path, "s").prepare(["ctf"])
    assert (tmp_path / "s").read_text() == "mine"


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\nb", ".elcano", "x" * 101])
def test_unsafe_session_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CommandRefused, match="Session name"):
        SessionFolders.of(tmp_path, name)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    for name in ("x.TIF", "y.tif"):
        (tmp_path / "raw" / name).write_bytes(b"movie")
    return tmp_path / "raw"


def test_frames_are_linked_once_and_turned_when_the_movie_moves(tmp_path: Path, raw: Path) -> None:
    folders = SessionFolders.of(tmp_path / "home", "s")
    link = folders.link_frames("24dec03a_00001ex", raw / "x.TIF")
    assert link == folders.frames / "24dec03a_00001ex.tif"
    assert link.readlink() == raw / "x.TIF"
    before = link.lstat()
    assert folders.link_frames("24dec03a_00001ex", raw / "x.TIF") == link
    assert link.lstat() == before
    folders.link_frames("24dec03a_00001ex", raw / "y.tif")
    assert link.readlink() == raw / "y.tif"
    assert [entry.name for entry in folders.frames.iterdir()] == [link.name]
    assert mode(raw / "x.TIF") == mode(raw / "y.tif")
    assert link.read_bytes() == b"movie"


def test_a_broken_link_is_turned_too(tmp_path: Path, raw: Path) -> None:
    folders = SessionFolders.of(tmp_path / "home", "s")
    folders.prepare(["frames"])
    (folders.frames / "x.tif").symlink_to(tmp_path / "gone")
    assert folders.link_frames("x", raw / "x.TIF").read_bytes() == b"movie"


def test_a_link_half_turned_when_the_process_died_does_not_stay(tmp_path: Path, raw: Path) -> None:
    folders = SessionFolders.of(tmp_path / "home", "s")
    folders.link_frames("x", raw / "y.tif")
    (folders.frames / f"{TEMPORARY_PREFIX}x.tif").symlink_to("anywhere")
    folders.link_frames("x", raw / "x.TIF")
    assert [entry.name for entry in folders.frames.iterdir()] == ["x.tif"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_not_a_link_is_never_replaced(tmp_path: Path, raw: Path, kind: str) -> None:
    folders = SessionFolders.of(tmp_path / "home", "s")
    folders.prepare(["frames"])
    foreign = folders.frames / "x.tif"
    foreign.write_text("mine") if kind == "file" else foreign.mkdir()
    with pytest.raises(FileNotWritten, match=r"x\.tif"):
        folders.link_frames("x", raw / "x.TIF")
    assert not foreign.is_symlink()
    assert foreign.is_dir() or foreign.read_text() == "mine"


def test_links_follow_a_session_that_was_moved_and_no_other(tmp_path: Path) -> None:
    folders = SessionFolders(tmp_path / "home")
    old, new = tmp_path / "old", tmp_path / "new"
    folders.link_frames("x", old / "frames" / "x.tif")
    folders.link_frames("y", tmp_path / "older" / "y.tif")
    (folders.frames / "notes.txt").write_text("of a person")
    assert folders.turn_links([old], new) == 1
    assert {link.readlink() for link in folders.frames.iterdir() if link.is_symlink()} == {
        new / "frames" / "x.tif",
        tmp_path / "older" / "y.tif",
    }
    assert folders.turn_links([old], new) == 0
    assert SessionFolders(tmp_path / "nothing").turn_links([old], new) == 0
