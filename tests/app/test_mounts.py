"""Two nodes: a daemon's side with one folder as its home, a doctor's side with the same or another one."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from daemon.app.mounts import Mounts
from daemon.config.loader import load_settings
from daemon.config.schema import Settings
from daemon.errors import MountMismatch
from daemon.messages.commands import QUERIES
from daemon.sessions.mount_check import Verdict, check_mounts
from daemon.sessions.mount_proof import MountProof

REPOSITORY = Path(__file__).parents[2]


@dataclass
class Node:
    """A daemon that answers for its mounts; `claims` replaces the paths it names, as a second mount would show them."""

    settings: Settings
    mounts: Mounts
    claims: dict[str, str]

    def ask(self, name: str, arguments: dict[str, Any]) -> Any:
        """Answer as over the bus."""
        handler = self.mounts.handlers()[name]
        answer = anyio.run(handler, msgspec.convert(arguments, QUERIES[name]), "somebody")
        text = msgspec.json.encode(answer).decode()
        for path, claimed in self.claims.items():
            text = text.replace(path, claimed)
        return json.loads(text)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    config = tmp_path / "config.toml"
    config.write_text(f"[paths]\ngpfs = '{tmp_path}/gpfs'\nhome = '{tmp_path}/home'\nstate = '{tmp_path}/state'\n")
    (tmp_path / "gpfs/session1").mkdir(parents=True)
    (tmp_path / "gpfs/session1/session.json").write_text("{}")
    settings = load_settings(config, {}, {})
    return Node(settings, Mounts(settings, patience_s=0), {})


def check(node: Node, home: Path, root: Path) -> list[Verdict]:
    return list(check_mounts(home, [root], node.ask, host="here", pause=lambda _: None, patience_s=0))


def test_one_mount_is_proven_in_both_directions_and_leaves_nothing_behind(node: Node) -> None:
    home, gpfs = node.settings.paths.home, node.settings.paths.gpfs
    anyio.run(node.mounts.prove)
    verdicts = check(node, home, gpfs)
    assert [verdict.status for verdict in verdicts] == ["ok", "ok", "ok"]
    assert [path.name for path in (home / ".elcano/mounts").iterdir()] == [node.ask("mount.proof", {})["proof"]["file"]]


def test_two_homes_behind_one_path_are_found_out_in_both_directions(node: Node, tmp_path: Path) -> None:
    other = tmp_path / "other home"
    other.mkdir()
    node.claims = {str(node.settings.paths.home): str(other)}
    theirs, ours, root = check(node, other, node.settings.paths.gpfs)
    assert theirs.status == "fail"
    assert ours.status == "fail"
    assert root.status == "ok"
    assert "finds no such file" in theirs.found
    assert theirs.found.count(str(other)) == 2, "both nodes' paths are named"
    assert "finds no such file" in ours.found
    assert "Mount the same file system" in theirs.hint


def test_a_stale_copy_of_the_home_is_found_out(node: Node, tmp_path: Path) -> None:
    anyio.run(node.mounts.prove)
    copy = tmp_path / "copy"
    shutil.copytree(node.settings.paths.home, copy)
    anyio.run(Mounts(node.settings).prove)
    node.mounts = Mounts(node.settings, patience_s=0)
    node.claims = {str(node.settings.paths.home): str(copy)}
    assert "another number" in check(node, copy, node.settings.paths.gpfs)[0].found


def test_homes_of_different_names_are_named(node: Node, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(node.settings.paths.home)
    first, theirs, ours, _ = check(node, link, node.settings.paths.gpfs)
    assert first.status == "fail"
    assert str(link) in first.found
    assert str(node.settings.paths.home) in first.found
    assert theirs.status == "ok"
    assert ours.status == "ok"


def test_raw_data_that_differ_are_found_out_and_a_root_nobody_watches_too(node: Node, tmp_path: Path) -> None:
    other = tmp_path / "other gpfs"
    (other / "session1").mkdir(parents=True)
    home = node.settings.paths.home
    node.claims = {str(node.settings.paths.gpfs): str(other)}
    *_, root = check(node, home, other)
    assert root.status == "fail"
    assert "digest" in root.found
    (other / "session1/session.json").write_text("{}")
    assert check(node, home, other)[-1].status == "ok"
    node.claims = {}
    *_, root = check(node, home, other)
    assert root.status == "fail"
    assert "not by the daemon" in root.found


def test_a_root_that_one_side_cannot_read_is_no_match_and_one_that_neither_can_is_not_compared(
    node: Node, tmp_path: Path
) -> None:
    gpfs, home = node.settings.paths.gpfs, node.settings.paths.home
    gone = tmp_path / "gone"
    node.claims = {str(gpfs): str(gone)}
    *_, root = check(node, home, gone)
    assert root.status == "fail"
    assert "No such file or directory" in root.found
    node.claims = {}
    shutil.rmtree(gpfs)
    *_, root = check(node, home, gpfs)
    assert root.status == "warn"
    assert "cannot be compared: No such file or directory" in root.found


def test_a_proof_that_someone_removed_is_made_again(node: Node) -> None:
    first = node.ask("mount.proof", {})["proof"]
    assert node.ask("mount.proof", {})["proof"] == first
    shutil.rmtree(node.settings.paths.home)
    again = node.ask("mount.proof", {})["proof"]
    assert again["nonce"] != first["nonce"]


def test_a_home_that_cannot_be_written_is_told_and_proves_nothing(node: Node) -> None:
    home = node.settings.paths.home
    home.mkdir()
    (home / ".elcano").write_text("in the way")
    anyio.run(node.mounts.prove)
    theirs, ours, _ = check(node, home, node.settings.paths.gpfs)
    assert theirs.status == "fail"
    assert "has no proof" in theirs.found
    assert (ours.status, "not tried" in ours.found) == ("warn", True)
    assert "Run as the user of the daemon" in ours.hint


def test_a_home_that_loses_what_is_written_refuses_work(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(self: MountProof, at_s: float) -> None:
        raise MountMismatch(self.home, "what is written there is lost")

    monkeypatch.setattr(MountProof, "renew", lose)
    with pytest.raises(MountMismatch):
        anyio.run(node.mounts.prove)


def _may_unshare() -> bool:
    try:
        done = subprocess.run(
            ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, timeout=30, check=False
        )
    except OSError:
        return False
    return done.returncode == 0


@pytest.mark.parametrize(("mode", "status"), [("share", "ok"), ("hide", "fail")])
def test_real_mount_namespaces(node: Node, mode: str, status: str) -> None:
    if not _may_unshare():
        pytest.skip("this user may not make mount namespaces (unshare -m)")
    home = node.settings.paths.home
    anyio.run(node.mounts.prove)
    script = Path(__file__).with_name("mount_namespace.py")
    doctor = subprocess.Popen(
        ["unshare", "-m", sys.executable, str(script), str(home), str(node.settings.paths.gpfs), mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"]},
    )
    with doctor:
        assert doctor.stdin is not None
        assert doctor.stdout is not None
        verdicts: list[dict[str, Any]] = []
        for line in doctor.stdout:
            said = json.loads(line)
            if "verdicts" in said:
                verdicts = said["verdicts"]
                break
            doctor.stdin.write(json.dumps(node.ask(said["name"], said["arguments"])) + "\n")
            doctor.stdin.flush()
    assert [verdict["status"] for verdict in verdicts] == [status, status, "ok"]
