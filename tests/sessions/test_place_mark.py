"""Directories told apart by number and birth: numbers of removed ones are given again."""

import subprocess
from pathlib import Path

import pytest

from daemon.sessions import place_mark
from daemon.sessions.place_mark import PlaceMark, known_place_mark, read_place_mark


def test_a_directory_made_again_is_another_whatever_its_number(tmp_path: Path) -> None:
    place = tmp_path / "A"
    place.mkdir()
    before = read_place_mark(place)
    assert before is not None
    if before.born_ns is None:
        pytest.skip("this file system does not keep when a directory was made")
    place.rmdir()
    assert read_place_mark(place) is None
    place.mkdir()
    while (now := read_place_mark(place)) is not None and now.born_ns == before.born_ns:  # a coarse clock
        place.rmdir()
        place.mkdir()
    assert now is not None
    assert not before.may_be(now)
    (place / "frames").mkdir()
    place.rename(tmp_path / "B")
    assert read_place_mark(tmp_path / "B") == now
    (tmp_path / "link").symlink_to(tmp_path / "B")
    assert read_place_mark(tmp_path / "link") == now


def test_the_kernel_says_the_same_to_others(tmp_path: Path) -> None:
    said = subprocess.run(["stat", "-c", "%i %W", tmp_path], capture_output=True, text=True, check=True)
    number, born_s = map(int, said.stdout.split())
    mark = read_place_mark(tmp_path)
    assert mark is not None
    assert (mark.number, (mark.born_ns or 0) // 10**9) == (number, born_s)


def test_without_the_call_the_number_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for missing in (None, lambda *_: -1):
        monkeypatch.setattr(place_mark, "_statx", missing)
        assert read_place_mark(tmp_path) == PlaceMark(tmp_path.stat().st_ino)
        assert read_place_mark(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("one", "other", "may_be", "is_surely"),
    [
        (PlaceMark(1, 5), PlaceMark(1, 5), True, True),
        (PlaceMark(1, 5), PlaceMark(1, 6), False, False),
        (PlaceMark(1, 5), PlaceMark(2, 5), False, False),
        (PlaceMark(1, 5), PlaceMark(1), True, False),
        (PlaceMark(1), PlaceMark(1), True, False),
        (PlaceMark(1), PlaceMark(2), False, False),
    ],
)
def test_what_a_mark_tells(one: PlaceMark, other: PlaceMark, *, may_be: bool, is_surely: bool) -> None:
    assert (one.may_be(other), other.may_be(one)) == (may_be, may_be)
    assert (one.is_surely(other), other.is_surely(one)) == (is_surely, is_surely)
    assert known_place_mark(one.as_facts()) == one


def test_a_session_without_a_mark_has_none() -> None:
    assert known_place_mark({"stages": []}) is None
