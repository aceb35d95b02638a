"""What belongs to no session is an account of its own."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from daemon.domain.acquisition import Acquisition
from daemon.domain.session import Session
from daemon.sessions.manifest import read_manifest
from daemon.sessions.unowned import NOT_TAKEN_UP, account_of_no_session, why_not_taken_up
from daemon.store.rows import SessionRow


def test_every_folder_that_no_session_has_is_a_gap() -> None:
    report = account_of_no_session(
        [Path("/gpfs/forgotten")],
        {Path("/gpfs/broken"): "session.json is not JSON"},
        {Path("/gpfs/closed"): "cannot be looked at: Permission denied"},
    )
    assert [(gap.kind, gap.path, gap.what) for gap in report.gaps][1:] == [
        ("not_imported", "/gpfs/broken", "its movies belong to no session: session.json is not JSON"),
        (
            "not_watched",
            "/gpfs/closed",
            "cannot be looked at: Permission denied; what belongs to it is processed by nobody",
        ),
    ]
    assert (report.gaps[0].kind, report.gaps[0].path) == ("passed_over", "/gpfs/forgotten")
    assert (report.session, report.is_clean) == ("", False)
    assert account_of_no_session().is_clean


def test_a_session_that_was_moved_where_nobody_may_read_it_is_not_said_to_wait_for_a_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "frames"
    closed.mkdir()
    (tmp_path / "session.json").write_text(json.dumps({"msession": {"oid": "o1", "name": "night"}}), encoding="utf-8")
    manifest = read_manifest(tmp_path / "session.json")
    row = SessionRow(Session("o1", "night", Path("/gpfs/old"), Path("/home/night"), Acquisition()), {}, 0.0, None)
    moved = f"it has the id of session night of /gpfs/old, and {NOT_TAKEN_UP}"
    assert why_not_taken_up(tmp_path, manifest, [row]) == moved
    assert why_not_taken_up(tmp_path, manifest, []) == NOT_TAKEN_UP
    scandir = os.scandir

    def list_folder(folder: Any) -> Any:
        if Path(folder) == closed:
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", list_folder)
    assert why_not_taken_up(tmp_path, manifest, [row]) == (
        f"it has the id of session night of /gpfs/old, and {closed} cannot be read: Permission denied. "
        "Let the user that runs elcano read it"
    )
