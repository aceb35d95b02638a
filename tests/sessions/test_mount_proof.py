import errno
from pathlib import Path

import msgspec
import pytest

from daemon.errors import CommandRefused, FileNotWritten, FileUnreadable, MountMismatch, PathOutsideRoots
from daemon.sessions import mount_proof
from daemon.sessions.manifest import find_manifest
from daemon.sessions.mount_check import check_mounts
from daemon.sessions.mount_proof import (
    MountProof,
    await_nonce,
    look_at_root,
    mark_of_session,
    nonce_path,
    read_nonce,
    refuse_other_session,
)


def test_a_nonce_is_written_under_the_home_and_names_its_writer(tmp_path: Path) -> None:
    proof = MountProof(tmp_path, "node1-main", "node1")
    nonce = proof.renew(1_700_000_000.0)
    path = tmp_path / ".elcano/mounts/node1-main.json"
    assert nonce_path(tmp_path, nonce.file) == path
    content = msgspec.json.decode(path.read_bytes())
    assert content == {
        "file": "node1-main.json",
        "nonce": nonce.nonce,
        "host": "node1",
        "home": str(tmp_path),
        "written_at": 1_700_000_000.0,
    }
    assert proof.renew(1.0).nonce != nonce.nonce


def test_an_owner_with_an_odd_name_still_has_a_file_of_its_own(tmp_path: Path) -> None:
    assert MountProof(tmp_path, "node/../1", "node").renew(0.0).file == "node_.._1.json"


def test_a_home_that_gives_back_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mount_proof, "read_nonce", lambda path: None)
    with pytest.raises(MountMismatch, match=r"node1-main\.json: node1 wrote a number there and reads no such file"):
        MountProof(tmp_path, "node1-main", "node1").renew(0.0)


def test_a_home_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / ".elcano").write_text("in the way")
    with pytest.raises(FileNotWritten, match="mounts"):
        MountProof(tmp_path, "node1-main", "node1").renew(0.0)


@pytest.mark.parametrize("name", ["../secret.json", "/etc/passwd", "a/b.json", ".hidden.json", "x.toml", ""])
def test_only_names_of_proofs_are_looked_at(tmp_path: Path, name: str) -> None:
    with pytest.raises(CommandRefused, match="not the name of a mount proof"):
        nonce_path(tmp_path, name)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b"[1]", b"x" * 10_000])
def test_a_file_without_a_nonce_holds_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    assert read_nonce(path) is None


def test_what_cannot_be_read_is_not_taken_for_missing(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadable):
        read_nonce(tmp_path)


def test_a_nonce_that_appears_late_is_found_and_one_that_never_does_is_not(tmp_path: Path) -> None:
    proof = MountProof(tmp_path, "node2", "node2")
    nonce = proof.renew(0.0)
    path = nonce_path(tmp_path, nonce.file)
    body = path.read_bytes()
    path.unlink()
    pauses: list[float] = []

    def appear(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            path.write_bytes(body)

    assert await_nonce(path, nonce.nonce, pause=appear) is None
    assert len(pauses) == 3
    pauses.clear()
    assert await_nonce(path, "something else", pause=pauses.append) == f"another number ({nonce.nonce[:8]}…)"
    assert sum(pauses) == mount_proof.PATIENCE_S
    path.unlink()
    assert await_nonce(path, nonce.nonce, patience_s=0) == "no such file"


def test_roots_are_told_apart_by_names_and_by_manifests(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for root in (ours, theirs):
        (root / "session1").mkdir(parents=True)
        (root / "session1/session.json").write_text('{"msession": {}}')

    def differ() -> bool:
        return look_at_root(ours).differs_from(look_at_root(theirs))

    assert not differ()
    assert look_at_root(ours).entries == 1
    (theirs / "session1/session.json").write_text('{"msession": {"name": "other"}}')
    assert differ()
    (theirs / "session1/session.json").unlink()
    assert differ()
    (theirs / "session1/session.json").write_text('{"msession": {}}')
    (theirs / "session2").mkdir()
    assert differ()
    assert look_at_root(tmp_path / "nowhere").trouble == "No such file or directory"


def test_a_session_folder_that_one_node_cannot_read_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        (tmp_path / f"s{number:02}").mkdir()
        (tmp_path / f"s{number:02}/session.json").write_text("{}")
    theirs = look_at_root(tmp_path)
    closed = tmp_path / "s03"

    def find(directory: Path) -> Path | None:
        if directory == closed:
            raise PermissionError(errno.EACCES, "Permission denied")
        return find_manifest(directory)

    monkeypatch.setattr(mount_proof, "find_manifest", find)
    ours = look_at_root(tmp_path)
    assert (ours.trouble, ours.unread) == ("", ["s03"])
    assert not ours.differs_from(theirs)
    assert not theirs.differs_from(ours)
    (tmp_path / "s04/session.json").write_text('{"msession": {}}')
    assert look_at_root(tmp_path).differs_from(theirs)


def test_nodes_that_fail_alike_are_not_told_to_differ(tmp_path: Path) -> None:
    root = tmp_path / "nowhere"
    proof = {"host": "gpu1", "home": str(tmp_path), "roots": [{"path": str(root), "trouble": "No such file"}]}

    def ask(name: str, _: object) -> object:
        return proof if name == "mount.proof" else {"seen": True, "path": ""}

    *_, verdict = check_mounts(tmp_path, [root], ask, host="here", pause=lambda _: None)
    assert verdict.status == "warn"
    assert verdict.found.startswith(f"{root} cannot be compared: No such file or directory on here")


def test_a_session_that_looks_different_to_whoever_asked_is_refused(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for directory in (ours, theirs):
        directory.mkdir()
        (directory / "session.json").write_text("{}")
    refuse_other_session(ours, [tmp_path], mark_of_session(theirs))
    (theirs / "session.json").write_text('{"msession": {}}')
    with pytest.raises(MountMismatch, match=r"ours: .* sees another session\.json there, whoever asked sees a session"):
        refuse_other_session(ours, [tmp_path], mark_of_session(theirs))
    (ours / "session.json").unlink()
    with pytest.raises(MountMismatch, match=r"sees no session\.json there"):
        refuse_other_session(ours, [tmp_path], mark_of_session(theirs))
    (theirs / "session.json").unlink()
    refuse_other_session(ours, [tmp_path], mark_of_session(theirs))
    with pytest.raises(PathOutsideRoots):
        refuse_other_session(ours, [theirs], "")


def test_a_manifest_behind_a_link_that_leaves_the_roots_proves_nothing(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for directory in (root / "session1", root / "linked", outside):
        directory.mkdir(parents=True)
    for path in (root / "session1/session.json", outside / "session.json"):
        path.write_text("{}")
    (root / "linked/session.json").symlink_to(outside / "session.json")
    mark = mark_of_session(root / "linked")
    with pytest.raises(PathOutsideRoots):
        refuse_other_session(root / "linked", [root], mark)
    refuse_other_session(root / "linked", [root, outside], mark)
    facts = look_at_root(root)
    (outside / "session.json").write_text('{"msession": {}}')
    assert not look_at_root(root).differs_from(facts)
    (root / "session1/session.json").write_text('{"msession": {}}')
    assert look_at_root(root).differs_from(facts)
