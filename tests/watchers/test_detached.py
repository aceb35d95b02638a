"""Calls that may never return."""

import threading

import anyio
import pytest

from daemon.watchers.detached import DetachedCall

pytestmark = pytest.mark.anyio


async def test_an_answer() -> None:
    call = DetachedCall(lambda: 7)
    assert await call.wait(20.0)
    assert call.result() == 7


async def test_an_answer_that_is_none_is_an_answer() -> None:
    call = DetachedCall(lambda: None)
    assert await call.wait(20.0)
    assert call.result() is None


async def test_an_error_is_raised_where_the_answer_is_asked_for() -> None:
    def fail() -> int:
        raise OSError(5, "Input/output error")

    call = DetachedCall(fail)
    assert await call.wait(20.0)
    with pytest.raises(OSError, match="Input/output"):
        call.result()


async def test_a_late_answer_is_kept_and_the_thread_holds_up_nothing() -> None:
    release = threading.Event()

    def hang() -> str:
        release.wait()
        return "late"

    call = DetachedCall(hang)
    assert not await call.wait(0.01)
    assert not call.is_finished
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "elcano-watch")
    release.set()
    with anyio.fail_after(20.0):
        assert await call.wait(20.0)
    assert call.result() == "late"
