"""Folders, trees of sessions and shelves of files, without a screen."""

from typing import Any

import msgspec

from daemon.messages.browsing import FolderAnswer, PreviewAnswer
from daemon.messages.files import ArtifactFilesAnswer, ArtifactsAnswer
from daemon.messages.sessions import SessionsAnswer, TreeAnswer
from tests.tui import facility_scenes as scenes
from tui.core.folders import Folder, Previews, describe_row, is_worth_a_look, summarise
from tui.core.selection import Filter
from tui.core.session_tree import SessionTree
from tui.core.shelf import Lot, Shelf, sight_of


def folder_of(directory: str | None, **more: Any) -> Folder:
    folder = Folder(directory)
    folder.take(msgspec.convert({**scenes.folder({"directory": directory}), **more}, FolderAnswer))
    return folder


def tree() -> SessionTree:
    made = SessionTree()
    made.take_sessions(msgspec.convert(scenes.sessions_answer(), SessionsAnswer).sessions)
    return made


def names(made: SessionTree, typed: str = "") -> list[str]:
    rows = [made.rows[number] for number in made.order(Filter.parse(typed))]
    return ["  " * row.depth + (row.short or row.name) for row in rows]


def open_row(made: SessionTree, name: str, offset: int = 0, limit: int = 2) -> None:
    """Open a row and give it a page of what is below, as the screen does."""
    (row,) = [row for row in (made.rows[number] for number in made.order(Filter())) if row.name == name]
    place = made.turn(row)
    if place is not None:
        asked = {"parent": place[1], "offset": offset, "limit": limit}
        made.take_branch(msgspec.convert(scenes.tree(asked), TreeAnswer))


def test_a_folder_lists_the_way_up_itself_and_what_is_in_it() -> None:
    folder = folder_of(scenes.GPFS)
    # The folder itself holds sessions, and is none.
    assert [row.kind for row in folder.rows] == ["up", *["folder"] * 6, "more"]
    assert folder.rows[-1].name == "… 900 folders more"
    said = {row.name: describe_row(row, folder.told)[0] for row in folder.rows}
    assert said["24dec01a"] == "✓ imported as 24dec01a, closed"
    assert said["24dec05b"] == "● session.json"
    assert said["elsewhere"] == "✗ leads outside the roots"
    assert [row.name for row in folder.rows if is_worth_a_look(row)] == [
        "24dec01a",
        "24dec03a",
        "24dec05b",
    ]
    assert folder_of(None).rows[0].kind == "folder"
    inside = folder_of(f"{scenes.GPFS}/new").rows
    assert (inside[1].kind, inside[1].name, is_worth_a_look(inside[1])) == ("here", "this folder", True)


def test_the_next_page_is_added() -> None:
    folder = folder_of(scenes.GPFS)
    page = {"offset": 6, "entries": [{"name": "z", "path": f"{scenes.GPFS}/z"}], "total": 7}
    folder.take(msgspec.convert({**scenes.folder({"directory": scenes.GPFS}), **page}, FolderAnswer))
    assert [row.name for row in folder.rows][-2:] == ["new\x1b[31mred", "z"]


def test_a_session_json_is_a_row_of_its_own() -> None:
    rows = folder_of(f"{scenes.GPFS}/24dec05b").rows
    assert (rows[1].name, rows[1].path) == ("session.json", f"{scenes.GPFS}/24dec05b")
    assert rows[0].path == scenes.GPFS


def test_the_question_says_what_an_import_means() -> None:
    found = msgspec.convert(scenes.preview({"directory": "/gpfs/x/24dec03a"}), PreviewAnswer)
    lines = summarise(found)
    assert "imported already" in lines[0]
    assert "session.json names 1264 images (1 grid, 3 squares, 60 holes, 1200 exposures); 412 movies (.tif)" in lines
    assert lines[-1] == "nobody has said: dose, gain reference"


def test_previews_that_are_old_are_let_go() -> None:
    previews = Previews()
    for number in range(300):
        previews.put(str(number), "refused")
    assert previews.get("0") is None
    assert previews.get("299") == "refused"


def test_a_tree_opens_branch_by_branch() -> None:
    made = tree()
    assert names(made) == ["Ferritin", "  24dec03a", "  Grid 3, good ice", "(no project)", "  24dec02b"]
    open_row(made, "24dec03a")
    assert names(made)[1:5] == ["  24dec03a", "    00000gr", "    00001gr", "    … 298 more (Enter)"]
    open_row(made, "24dec03a_00001gr", limit=3)
    assert names(made)[3:7] == ["    00001gr", "      00000sq", "      00001sq", "      00002sq"]
    open_row(made, "24dec03a_00001gr")
    assert "      00000sq" not in names(made)
    assert made.open_branches() == [("id of 24dec03a", None, 2)]


def test_pages_are_added_and_renewed_in_place() -> None:
    made = tree()
    open_row(made, "24dec03a")
    made.take_branch(msgspec.convert(scenes.tree({"offset": 2, "limit": 2}), TreeAnswer))
    made.take_branch(msgspec.convert(scenes.tree({"offset": 0, "limit": 2}), TreeAnswer))
    branch = made.branch("id of 24dec03a", None)
    assert [node.name for node in branch.nodes] == [f"24dec03a_{number:05d}gr" for number in range(4)]
    row = made.rows[made.order(Filter())[3]]
    assert made.rows[made.parent_of(row) or 0].name == "24dec03a"


def test_rows_keep_their_numbers() -> None:
    made = tree()
    before = {made.rows[number].key: number for number in made.order(Filter())}
    open_row(made, "24dec02b")
    after = {made.rows[number].key: number for number in made.order(Filter())}
    assert after.items() >= before.items()


def test_a_filter_keeps_what_matches_and_what_it_lies_in() -> None:
    made = tree()
    open_row(made, "24dec03a", limit=3)
    assert names(made, "00001gr") == ["Ferritin", "  24dec03a", "    00001gr"]
    assert names(made, "good ice") == ["Ferritin", "  Grid 3, good ice"]
    assert names(made, "24dec02b") == ["(no project)", "  24dec02b"]
    assert names(made, "nowhere") == []


def test_thousands_of_rows() -> None:
    made = tree()
    (row,) = [made.rows[n] for n in made.order(Filter()) if made.rows[n].name == "24dec03a"]
    made.turn(row)
    node = scenes.tree({"limit": 1})["nodes"][0]
    nodes = [[f"i{n}", f"x{n}", *node[2:]] for n in range(8000)]
    answer = {"session_id": "id of 24dec03a", "parent": None, "offset": 0, "total": 8000, "nodes": nodes}
    made.take_branch(msgspec.convert(answer, TreeAnswer))
    assert len(made.order(Filter())) == 8005
    assert len(made.order(Filter.parse("x7999"))) == 3


def test_a_shelf_counts_and_pages() -> None:
    shelf = Shelf("24dec03a")
    shelf.take_groups(msgspec.convert(scenes.artifacts({}), ArtifactsAnswer))
    assert shelf.describe() == "2560 files, 60.2 GiB; beside them 1200 raw movies of 900.0 GiB, linked, not copied"
    shelf.open(shelf.lots[0])
    assert shelf.lot == Lot("motion_correction", "micrograph", "motioncor", 640, 60 * 2**30)
    for offset in (0, 200):
        shelf.take_files(msgspec.convert(scenes.artifact_files({"offset": offset, "limit": 200}), ArtifactFilesAnswer))
    assert (len(shelf.files), shelf.left) == (400, 240)
    assert [sight_of(file) for file in shelf.files[:3]] == ["section", "section", ""]
