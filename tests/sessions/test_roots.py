from pathlib import Path

import pytest

from daemon.errors import PathOutsideRoots
from daemon.sessions.roots import resolve_under


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for folder in ("root/session/frames", "rooted", "outside"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "outside/secret.mrc").write_bytes(b"")
    (tmp_path / "root/escape").symlink_to(tmp_path / "outside")
    (tmp_path / "root/inner").symlink_to(tmp_path / "root/session")
    (tmp_path / "root/loop").symlink_to(tmp_path / "root/loop")
    (tmp_path / "entry").symlink_to(tmp_path / "root")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("root", "root"),
        ("root/session/frames/new.eer", "root/session/frames/new.eer"),
        ("root/inner/frames/x.tif", "root/session/frames/x.tif"),
        ("entry/session/x.tif", "root/session/x.tif"),
        ("outside/../root/x", "root/x"),
    ],
)
def test_paths_inside(tree: Path, path: str, real: str) -> None:
    assert resolve_under(tree / path, [tree / "elsewhere", tree / "root"]) == tree / real


def test_the_root_itself_may_be_a_link(tree: Path) -> None:
    assert resolve_under(tree / "root/session", [tree / "entry"]) == tree / "root/session"


def test_a_relative_path_starts_at_the_base(tree: Path) -> None:
    assert resolve_under("frames/x.tif", [tree / "root"], base=tree / "root/session") == (
        tree / "root/session/frames/x.tif"
    )


@pytest.mark.parametrize(
    "path",
    ["outside/secret.mrc", "root/../outside", "rooted", "root/escape/secret.mrc", "root/loop/x", "root/a\0b", "/"],
)
def test_paths_outside(tree: Path, path: str) -> None:
    with pytest.raises(PathOutsideRoots, match="outside the allowed roots"):
        resolve_under(tree / path, [tree / "root"])


@pytest.mark.parametrize("path", ["../../outside/secret.mrc", "/etc/passwd", "../../root/escape/secret.mrc"])
def test_a_base_does_not_hold_a_path_in(tree: Path, path: str) -> None:
    with pytest.raises(PathOutsideRoots):
        resolve_under(path, [tree / "root"], base=tree / "root/session")


def test_without_roots_nothing_is_allowed(tree: Path) -> None:
    with pytest.raises(PathOutsideRoots):
        resolve_under(tree / "root", [])
