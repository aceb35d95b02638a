"""What a person has read is remembered from one terminal to the next, daemon by daemon."""

from pathlib import Path

import pytest

from tui.read_mark import ReadMark


def test_each_daemon_has_its_own_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    one, other = ReadMark.of_person("/var/lib/elcano main"), ReadMark.of_person("nats://host:4222 main")
    assert one.read() == 0.0
    one.write(10.5)
    other.write(20.0)
    one.write(11.5)
    assert ReadMark.of_person("/var/lib/elcano main").read() == 11.5
    assert other.read() == 20.0
    assert [path.name for path in (tmp_path / "elcano").iterdir()] == ["notifications-read.json"]
    assert not one.problem


@pytest.mark.parametrize("kept", ["", "[1]", '{"here": "yesterday"}', "{"])
def test_a_mark_that_cannot_be_read_is_none(tmp_path: Path, kept: str) -> None:
    path = tmp_path / "mark.json"
    path.write_text(kept)
    assert ReadMark(path, "here").read() == 0.0


def test_a_mark_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    mark = ReadMark(tmp_path / "file" / "mark.json", "here")
    mark.write(1.0)
    assert str(tmp_path) in mark.problem
