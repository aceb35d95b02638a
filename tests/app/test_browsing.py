"""Finding a session to import: what may be seen, what is in it, and mounts that hang."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.app.browsing import Browsing
from daemon.app.parameters import stage_parameters
from daemon.config.loader import load_settings
from daemon.errors import CommandRefused, FileUnreadable, ManifestInvalid, PathOutsideRoots
from daemon.messages.browsing import FolderAnswer, PreviewAnswer
from tests.engine.asking import ask_over_wire
from tests.engine.workshop import Workshop

pytestmark = pytest.mark.anyio


class Window:
    """A workshop whose sessions lie under gpfs, looked at as a terminal does."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.shop = Workshop(folder)
        self.gpfs = folder / "gpfs"
        config = folder / "config.toml"
        lines = [f'{name} = "{folder / name}"' for name in ("gpfs", "home", "state")]
        config.write_text("\n".join(["[paths]", *lines]))
        settings = load_settings(config, stage_parameters(), {"HOME": str(folder)})
        self.handlers = Browsing(settings, self.shop.engine, **more).handlers()

    async def ask(self, name: str, /, **arguments: Any) -> Any:
        return await ask_over_wire(self.handlers, name, arguments, "vera (viewer)")

    async def folder(self, directory: Path | str | None = None, **more: Any) -> FolderAnswer:
        named = None if directory is None else str(directory)
        return msgspec.convert(await self.ask("folder", directory=named, **more), FolderAnswer)

    async def preview(self, directory: Path, **more: Any) -> PreviewAnswer:
        return msgspec.convert(await self.ask("session.preview", directory=str(directory), **more), PreviewAnswer)


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Window]:
    window = Window(tmp_path)
    yield window
    window.shop.close()


async def test_the_roots_come_first_and_are_where_one_goes_back_to(window: Window) -> None:
    roots = await window.folder()
    assert [(entry.path, entry.trouble) for entry in roots.entries] == [(str(window.gpfs), "")]
    inside = await window.folder(window.gpfs)
    assert inside.parent is None
    assert [entry.name for entry in inside.entries] == ["session1"]
    assert [roots.entries[0].holds_sessions, inside.holds_sessions, inside.entries[0].holds_sessions] == [1, 1, 0]
    deeper = await window.folder(window.gpfs / "session1")
    assert deeper.parent == str(window.gpfs)
    assert [entry.name for entry in deeper.entries] == ["frames"]


async def test_where_sessions_lie_is_no_session(window: Window) -> None:
    assert "where session directories lie" in (await window.preview(window.gpfs)).refusal
    assert (await window.preview(window.gpfs / "session1")).refusal == ""


async def test_what_lies_in_a_folder_is_said(window: Window) -> None:
    window.shop.write_movie("x")
    (window.shop.raw / "session.json").write_text("{}")
    (window.shop.raw / "notes.txt").write_text("")
    (window.gpfs / ".hidden").mkdir()
    (entry,) = (await window.folder(window.gpfs)).entries
    assert entry.has_manifest
    assert entry.session == ""
    inside = await window.folder(window.shop.raw)
    assert (inside.has_manifest, inside.movies, inside.others) == (True, 0, 2)
    assert (await window.folder(window.shop.frames)).movies == 1
    await window.shop.open_session()
    (entry,) = (await window.folder(window.gpfs)).entries
    assert (entry.session, entry.session_state) == ("session1", "open")


async def test_folders_whose_movies_nobody_processes_are_marked(tmp_path: Path) -> None:
    window = Window(tmp_path, passed_over=lambda: [str(tmp_path / "gpfs" / "junk")])
    try:
        (window.gpfs / "junk").mkdir()
        marked = {entry.name: entry.passed_over for entry in (await window.folder(window.gpfs)).entries}
        assert marked == {"junk": True, "session1": False}
    finally:
        window.shop.close()


async def test_folders_come_in_pages(window: Window) -> None:
    for number in range(30):
        (window.gpfs / f"t{number:02d}").mkdir()
    page = await window.folder(window.gpfs, offset=10, limit=5)
    assert (page.total, [entry.name for entry in page.entries]) == (31, [f"t{n:02d}" for n in range(9, 14)])
    with pytest.raises(CommandRefused):
        await window.folder(window.gpfs, limit=101)


async def test_nothing_outside_the_roots_is_seen(window: Window, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (window.gpfs / "way-out").symlink_to(outside)
    (window.gpfs / "circle").symlink_to(window.gpfs / "circle")
    (window.gpfs / "way-in").symlink_to(window.gpfs / "session1")
    (window.gpfs / "file").symlink_to(window.gpfs / "a")
    (window.gpfs / "a").write_text("")
    troubles = {entry.name: entry.trouble for entry in (await window.folder(window.gpfs)).entries}
    assert troubles["way-out"] == "leads outside the roots"
    assert troubles["circle"] != ""
    assert troubles["file"] == "is a link to a file"
    assert troubles["way-in"] == troubles["session1"] == ""
    for place in ("/etc", str(outside), str(window.gpfs / "way-out"), f"{window.gpfs}/../outside"):
        with pytest.raises(PathOutsideRoots):
            await window.folder(place)
        with pytest.raises(PathOutsideRoots):
            await window.preview(Path(place))
    for wrong in ("relative", "", "/a\0b"):
        with pytest.raises(CommandRefused, match="absolute path"):
            await window.folder(wrong)
    with pytest.raises(CommandRefused, match="not a directory"):
        await window.folder(window.gpfs / "a")
    with pytest.raises(FileUnreadable):
        await window.folder(window.gpfs / "absent")


async def test_what_may_not_be_opened_is_said(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == "session1":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr("os.scandir", refuse)
    (entry,) = (await window.folder(window.gpfs)).entries
    assert entry.trouble == "cannot be opened: Permission denied"
    with pytest.raises(FileUnreadable, match="Permission denied"):
        await window.folder(window.gpfs / "session1")


async def test_a_mount_that_hangs_costs_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    window = Window(tmp_path, look_limit_s=0.3)
    (window.gpfs / "hangs").mkdir()
    answers_again, scan = threading.Event(), os.scandir
    looks: list[Path] = []

    def hang(path: Any) -> Any:
        if Path(path).name == "hangs":
            looks.append(Path(path))
            answers_again.wait()
        return scan(path)

    monkeypatch.setattr("os.scandir", hang)
    try:
        entries = {entry.name: entry.trouble for entry in (await window.folder(window.gpfs)).entries}
        assert entries["hangs"] == "does not answer: its file system hangs"
        again = {entry.name: entry.trouble for entry in (await window.folder(window.gpfs)).entries}
        assert again["hangs"] == entries["hangs"]
        assert len(looks) == 1, "a call that hangs is not repeated"
        monkeypatch.setattr("daemon.app.browsing._MOST_HANGING", 1)
        with pytest.raises(CommandRefused, match="do not answer already"):
            await window.folder(window.gpfs)
    finally:
        answers_again.set()
        window.shop.close()


async def test_a_session_is_previewed_and_nothing_changed(window: Window, tmp_path: Path) -> None:
    window.shop.write_movie("24dec03a_00001gr_00002ex")
    manifest = {
        "msession": {"name": "24dec03a", "description": "apoferritin"},
        "project": {"name": "Ferritin"},
        "acquisition": {"voltage_kv": 300, "pixel_size_ang": 0.83, "odd": 1},
        "images": [{"name": "24dec03a_00001gr", "children": [{"name": "24dec03a_00001gr_00002ex"}]}],
    }
    (window.shop.raw / "session.json").write_text(json.dumps(manifest))
    found = await window.preview(window.shop.raw)
    assert (found.name, found.refusal, found.session_state) == ("24dec03a", "", "")
    assert (found.project, found.description) == ("Ferritin", "apoferritin")
    assert (found.images, found.levels) == (2, {"grid": 1, "exposure": 1})
    values = {value.key: (value.said, value.source) for value in found.values}
    assert values["voltage_kv"] == ("300 kV", "acquisition block of session.json")
    assert found.missing == ["spherical_aberration_mm", "dose", "gain"]
    assert any("odd" in warning for warning in found.warnings)
    assert (found.movies.movies, found.movies.suffixes, found.movies.is_whole) == (1, {".mrc": 1}, True)
    assert found.stages == list(window.shop.engine.graph.names)
    assert not (tmp_path / "home").exists()
    await window.shop.open_session()
    again = await window.preview(window.shop.raw)
    assert (again.session_state, again.refusal) == ("open", "")
    assert again.job_id


async def test_without_a_manifest_the_configuration_speaks(window: Window, tmp_path: Path) -> None:
    entry = f'\n[[session]]\ndirectory = "{window.shop.raw}"\nname = "mine"\n[session.acquisition]\nvoltage_kv = 200\n'
    config = tmp_path / "config.toml"
    config.write_text(config.read_text() + entry)
    found = await window.preview(window.shop.raw)
    assert (found.name, found.has_manifest, found.images) == ("mine", False, 0)
    assert [(value.said, value.source) for value in found.values] == [("200 kV", "config.toml")]
    assert found.movies.movies == 0


async def test_what_an_import_would_refuse_is_said_before(window: Window) -> None:
    await window.shop.open_session()
    inner = window.shop.raw / "inner"
    inner.mkdir()
    assert "lie one in the other" in (await window.preview(inner)).refusal
    twin = window.gpfs / "elsewhere" / "session1"
    twin.mkdir(parents=True)
    assert "belongs to" in (await window.preview(twin)).refusal
    assert (await window.preview(twin, name="other")).refusal == ""
    (twin / "session.json").write_text("{")
    with pytest.raises(ManifestInvalid, match="is not JSON"):
        await window.preview(twin)
