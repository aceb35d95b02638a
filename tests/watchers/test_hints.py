"""Kernel events wake, and only wake."""

import contextlib
import threading
from pathlib import Path

import anyio
import pytest

from daemon.watchers.hints import KernelHints
from daemon.watchers.wake import Wake

LONG_S = 60.0


@pytest.mark.parametrize("act", ["create", "rename", "directory", "inside a new directory"])
def test_what_happens_under_the_root_wakes(tmp_path: Path, act: str) -> None:
    outside, root = tmp_path / "copy.part", tmp_path / "raw"
    outside.touch()
    root.mkdir()
    woken = threading.Event()
    hints = KernelHints(root, woken.set)
    hints.start()
    try:
        if act == "create":
            (root / "a.tif").touch()
        elif act == "rename":
            outside.rename(root / "a.tif")
        else:
            (root / "folder").mkdir()
        assert woken.wait(LONG_S)
        if act == "inside a new directory":
            woken.clear()
            (root / "folder" / "a.tif").touch()
            assert woken.wait(LONG_S)
    finally:
        hints.stop()


def kernel_queues() -> int:
    """How many queues of kernel events this process has open."""
    found = 0
    for name in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that lists the folder, or another thread's
            found += str(name.readlink()) == "anon_inode:inotify"
    return found


def test_stopping_is_clean_and_may_be_repeated(tmp_path: Path) -> None:
    before, listened = set(threading.enumerate()), kernel_queues()
    hints = KernelHints(tmp_path, lambda: None)
    hints.stop()
    hints.start()
    assert set(threading.enumerate()) - before
    assert kernel_queues() > listened
    hints.stop()
    hints.stop()
    assert set(threading.enumerate()) <= before, "threads of earlier tests may end meanwhile"
    assert kernel_queues() == listened


def test_a_root_that_is_not_there_raises_and_leaves_nothing_behind(tmp_path: Path) -> None:
    before, listened = set(threading.enumerate()), kernel_queues()
    with pytest.raises(OSError, match="No such file"):
        KernelHints(tmp_path / "missing", lambda: None).start()
    assert set(threading.enumerate()) <= before
    assert kernel_queues() == listened


class TestWake:
    @pytest.mark.anyio
    async def test_a_call_before_the_pause_counts(self) -> None:
        wake = Wake()
        wake.set()
        with anyio.fail_after(LONG_S):
            await wake.wait(float("inf"))

    @pytest.mark.anyio
    async def test_a_thousand_calls_from_threads_end_one_pause(self) -> None:
        wake = Wake()

        def call() -> None:
            for _ in range(250):
                wake.set()

        with anyio.fail_after(LONG_S):
            async with anyio.create_task_group() as group:
                group.start_soon(wake.wait, float("inf"))
                await anyio.wait_all_tasks_blocked()
                for _ in range(4):
                    group.start_soon(anyio.to_thread.run_sync, call)
        wake.set()
        await wake.wait(float("inf"))
        await wake.wait(0.0)

    @pytest.mark.anyio
    async def test_a_pause_ends_by_itself(self) -> None:
        with anyio.fail_after(LONG_S):
            await Wake().wait(0.001)


def test_names_are_told_once_and_too_many_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    woken = threading.Event()
    hints = KernelHints(tmp_path, woken.set)
    hints.start()
    try:
        (tmp_path / "copy.part").touch()
        (tmp_path / "copy.part").rename(tmp_path / "a.tif")
        names: set[str] = set()
        while f"{tmp_path}/a.tif" not in names:
            assert woken.wait(LONG_S)
            woken.clear()
            names.update(hints.take_names())
        assert f"{tmp_path}/copy.part" in names
        monkeypatch.setattr("daemon.watchers.hints.MOST_NAMES", 0)
        hints.take_names()
        woken.clear()
        (tmp_path / "b.tif").touch()
        assert woken.wait(LONG_S)
    finally:
        hints.stop()
    assert hints.take_names() == []
