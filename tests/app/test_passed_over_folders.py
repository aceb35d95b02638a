"""Folders whose movies nobody processes are among what people should know, each once, also after a new start."""

from pathlib import Path

import pytest

from daemon.app.directories import Directories
from daemon.app.passed_over_folders import PassedOverFolders
from daemon.store import sessions
from daemon.store.store import Store

pytestmark = pytest.mark.anyio


async def test_people_are_told_of_each_folder_once(tmp_path: Path) -> None:
    junk, taken = tmp_path / "gpfs" / "junk", tmp_path / "gpfs" / "session1"
    for folder in (junk, taken):
        folder.mkdir(parents=True)
    with Store.open(tmp_path / "store.duckdb") as store:
        raised = set()
        for _ in range(2):  # a second daemon on the same store
            await PassedOverFolders(Directories(5.0), store).tell([junk, taken / "frames"], [taken])
            (note,) = await sessions.notifications(store)
            assert (note.severity, note.kind, note.session_id) == ("warning", "movies_passed_over", None)
            assert note.message == f"Movies in {junk} are passed over: no session.json lies there."
            assert f"elcano import {junk}" in note.hint
            raised.add(note.at_s)
        assert len(raised) == 1
