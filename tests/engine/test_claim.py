"""Two daemons never work in one home: not on one node, not on two."""

import json
import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from daemon.engine.claim import CLAIM_NAME, HomeClaim
from daemon.errors import FileNotWritten, HomeTaken

pytestmark = pytest.mark.anyio


def test_a_second_daemon_of_the_node_is_refused_by_name(tmp_path: Path) -> None:
    first = HomeClaim(tmp_path / "home", tmp_path / "state1")
    first.take()
    second = HomeClaim(tmp_path / "home", tmp_path / "state2")
    with pytest.raises(HomeTaken, match=rf"process {os.getpid()} on .*state1.*works in it.*Stop it first"):
        second.take()
    first.release()
    assert (tmp_path / "home" / CLAIM_NAME).read_bytes() == b""
    second.take()
    second.release()


def test_a_daemon_that_was_killed_leaves_its_home_free_at_once(tmp_path: Path) -> None:
    program = (
        "import os, signal; from pathlib import Path; from daemon.engine.claim import HomeClaim; "
        f"HomeClaim(Path({str(tmp_path)!r}), Path('/state')).take(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == -9
    assert json.loads((tmp_path / CLAIM_NAME).read_text())["state"] == "/state"
    claim = HomeClaim(tmp_path, tmp_path)
    claim.take()
    claim.release()


def test_another_node_is_believed_by_its_signs_of_life(tmp_path: Path) -> None:
    other = HomeClaim(tmp_path, tmp_path / "state1", boot_id="node1")
    other.take()
    assert other._file is not None
    other._file.close()  # what the kernel of another node locks is not seen here
    with pytest.raises(HomeTaken, match=r"state1.*last sign of life is 0 s old.* 60 s"):
        HomeClaim(tmp_path, tmp_path / "state2").take()
    past_s = (tmp_path / CLAIM_NAME).stat().st_mtime - 61
    os.utime(tmp_path / CLAIM_NAME, (past_s, past_s))
    claim = HomeClaim(tmp_path, tmp_path / "state2")
    claim.take()
    claim.release()


async def test_who_was_taken_over_ends(tmp_path: Path) -> None:
    slow = HomeClaim(tmp_path, tmp_path / "state1", boot_id="node1", beat_s=0)
    slow.take()
    assert slow._file is not None
    slow._file.close()
    past_s = (tmp_path / CLAIM_NAME).stat().st_mtime - 99
    os.utime(tmp_path / CLAIM_NAME, (past_s, past_s))
    new = HomeClaim(tmp_path, tmp_path / "state2", boot_id="node2")
    new.take()
    with pytest.raises(HomeTaken, match=r"state2.*It took over"), anyio.fail_after(60):
        await slow.keep()
    new.release()


async def test_a_beat_renews_the_sign_of_life(tmp_path: Path) -> None:
    claim = HomeClaim(tmp_path, tmp_path, beat_s=0)
    claim.take()
    path = tmp_path / CLAIM_NAME
    os.utime(path, (5, 5))
    async with anyio.create_task_group() as group:
        group.start_soon(claim.keep)
        with anyio.fail_after(60):
            while path.stat().st_mtime < 10:
                await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    claim.release()


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileNotWritten, match="Not a directory"):
        HomeClaim(tmp_path / "file" / "home", tmp_path).take()


def test_nodes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Both say the same host: only what the kernels say of themselves differs."""
    other = HomeClaim(tmp_path, tmp_path / "state1", boot_id="kernel of another node")
    other.take()
    assert other._file is not None
    other._file.close()
    with pytest.raises(HomeTaken, match="last sign of life"):
        HomeClaim(tmp_path, tmp_path / "state2").take()


def test_a_claim_of_another_version_counts(tmp_path: Path) -> None:
    claim = {"host": "node1", "pid": 7, "state": "/state1", "token": "t", "since": "a later version says more"}
    (tmp_path / CLAIM_NAME).parent.mkdir()
    (tmp_path / CLAIM_NAME).write_text(json.dumps(claim))
    with pytest.raises(HomeTaken, match=r"process 7 on node1 \(state in /state1\)"):
        HomeClaim(tmp_path, tmp_path / "state2").take()


def test_who_only_looks_sees_daemons_of_other_nodes_and_locks_nothing(tmp_path: Path) -> None:
    looker = HomeClaim(tmp_path, tmp_path / "state2")
    assert looker.find_living_elsewhere() is None
    other = HomeClaim(tmp_path, tmp_path / "state1", boot_id="node1")
    other.take()
    seen = looker.find_living_elsewhere()
    assert seen is not None
    assert f"process {os.getpid()}" in seen
    past_s = (tmp_path / CLAIM_NAME).stat().st_mtime - 61
    os.utime(tmp_path / CLAIM_NAME, (past_s, past_s))
    assert looker.find_living_elsewhere() is None
    other.release()
    mine = HomeClaim(tmp_path, tmp_path / "state2")
    mine.take()
    assert looker.find_living_elsewhere() is None, "a daemon of this node is found by its own signs"
    mine.release()


def test_a_claim_says_which_of_the_paths_is_taken(tmp_path: Path) -> None:
    first = HomeClaim(tmp_path, tmp_path, key="state")
    first.take()
    with pytest.raises(HomeTaken, match=r"give this one a \[paths\] state of its own"):
        HomeClaim(tmp_path, tmp_path, key="state").take()
    first.release()


def claim_dated_in_the_future(home: Path) -> Path:
    """Leave what a daemon of another kernel leaves that dies before the clock is set back by an hour."""
    other = HomeClaim(home, home / "state1", boot_id="another kernel")
    other.take()
    assert other._file is not None
    other._file.close()
    path = home / CLAIM_NAME
    later_s = path.stat().st_mtime + 3600
    os.utime(path, (later_s, later_s))
    return path


def test_a_claim_dated_in_the_future_is_watched_for_two_beats_and_then_taken_over(tmp_path: Path) -> None:
    claim_dated_in_the_future(tmp_path)
    pauses_s: list[float] = []
    claim = HomeClaim(tmp_path, tmp_path / "state2", pause=pauses_s.append)
    claim.check()
    assert claim.find_living_elsewhere() is None
    assert pauses_s == [], "who only looks has no time to watch"
    claim.take()
    assert sum(pauses_s) == 20.0
    assert "state2" in (tmp_path / CLAIM_NAME).read_text()
    claim.release()


def test_a_claim_dated_in_the_future_that_gets_signs_of_life_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = claim_dated_in_the_future(tmp_path)
    claim = HomeClaim(tmp_path, tmp_path / "state2", pause=lambda _: os.utime(path))
    with pytest.raises(HomeTaken, match=r"state1.*dated in the future, but others followed: it lives\. Stop it first"):
        claim.take()


def test_a_claim_dated_in_the_future_that_is_given_up_meanwhile_is_free(tmp_path: Path) -> None:
    path = claim_dated_in_the_future(tmp_path)
    claim = HomeClaim(tmp_path, tmp_path / "state2", pause=lambda _: os.truncate(path, 0))
    claim.take()
    assert "state2" in path.read_text()
    claim.release()
