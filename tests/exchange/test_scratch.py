"""Scratch folders: private, gone afterwards, cleared after a killed owner, refused where there is no room."""

import subprocess
import sys
from pathlib import Path

import pytest

from daemon.errors import ProgramFailed
from daemon.exchange.scratch import open_scratch

_REPOSITORY = Path(__file__).parents[2]


def test_it_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    def fail_in_the_middle() -> None:
        with open_scratch(tmp_path, 1, "tool") as folder:
            assert folder.parent == tmp_path
            assert folder.stat().st_mode & 0o777 == 0o700
            (folder / "deep").mkdir()
            (folder / "deep" / "file").write_text("x")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_in_the_middle()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_owner_left_is_cleared_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    dies = "with open_scratch(Path(sys.argv[1]), 1, 'tool'): os._exit(0)"
    lines = ("import os, sys", "from pathlib import Path", "from daemon.exchange.scratch import open_scratch", dies)
    subprocess.run([sys.executable, "-c", "\n".join(lines), str(tmp_path)], check=True, cwd=_REPOSITORY)
    (left,) = tmp_path.iterdir()
    (tmp_path / "elcano-of-someone").mkdir()
    with open_scratch(tmp_path, 1, "tool") as one:
        assert not left.exists()
        with open_scratch(tmp_path, 1, "tool") as other:
            assert one.is_dir()
            assert one != other
    assert [path.name for path in tmp_path.iterdir()] == ["elcano-of-someone"]


def test_no_room_and_no_folder_are_told(tmp_path: Path) -> None:
    words = r"needs .* GiB of scratch space in .*scratch_folder"
    with pytest.raises(ProgramFailed, match=words), open_scratch(tmp_path, 2**60, "tool"):
        pass
    words = r"has no scratch folder in .*/gone: No such file"
    with pytest.raises(ProgramFailed, match=words), open_scratch(tmp_path / "gone", 1, "tool"):
        pass
