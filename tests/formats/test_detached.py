"""Calls that may never return."""

import threading
from pathlib import Path

import anyio
import pytest

from daemon.errors import FileUnanswered
from daemon.formats.detached import DetachedCall, PatientCalls

pytestmark = pytest.mark.anyio


async def test_an_answer() -> None:
    call = DetachedCall(lambda: 7)
    assert await call.wait(60.0)
    assert call.result() == 7


async def test_an_answer_that_is_none_is_an_answer() -> None:
    call = DetachedCall(lambda: None)
    assert await call.wait(60.0)
    assert call.result() is None


async def test_an_error_is_raised_where_the_answer_is_asked_for() -> None:
    def fail() -> int:
        raise OSError(5, "Input/output error")

    call = DetachedCall(fail)
    assert await call.wait(60.0)
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
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "elcano-detached")
    release.set()
    with anyio.fail_after(60):
        assert await call.wait(60.0)
    assert call.result() == "late"


async def test_what_hangs_is_given_up_and_not_asked_again_before_it_has_answered() -> None:
    release, began, asked = threading.Event(), threading.Semaphore(0), list[int]()
    calls, hung, other = PatientCalls(0.01), Path("/hung"), Path("/other")

    def hang() -> None:
        asked.append(1)
        began.release()
        release.wait()

    for _ in range(3):
        with pytest.raises(FileUnanswered, match="/hung: has not answered"):
            await calls.call(hung, hang)
    assert began.acquire(timeout=60)
    assert len(asked) == 1
    patient = PatientCalls(60.0)
    assert await patient.call(other, lambda: 7) == 7
    with pytest.raises(ValueError, match="invalid literal"):
        await patient.call(other, lambda: int("x"))
    release.set()
    with anyio.fail_after(60):
        await calls.wait_answered(hung)
    release.clear()
    with pytest.raises(FileUnanswered):
        await calls.call(hung, hang)
    assert began.acquire(timeout=60)
    assert len(asked) == 2
    release.set()
