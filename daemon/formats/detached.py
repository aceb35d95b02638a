"""Blocking calls to a file system that may never answer.

A thread stuck in the kernel cannot be killed. Each such call therefore runs on a daemon thread of its own, which can
be left behind: it holds up neither the loop nor the end of the process, and if it answers late, whoever kept the call
has its answer.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

import anyio

from daemon.errors import FileUnanswered

T = TypeVar("T")


class DetachedCall(Generic[T]):
    """One call on a thread of its own; start it from the event loop."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._event = anyio.Event()
        self._value: list[T] = []
        self._error: Exception | None = None
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, name="elcano-detached", daemon=True).start()

    @property
    def is_finished(self) -> bool:
        """Whether an answer is there."""
        return bool(self._value) or self._error is not None

    async def wait(self, timeout_s: float) -> bool:
        """Wait for the answer for at most this long; tell whether it is there."""
        with anyio.move_on_after(timeout_s):
            await self._event.wait()
        return self.is_finished

    def result(self) -> T:
        """Return the answer or raise the call's error; only after it is finished."""
        if self._error is not None:
            raise self._error
        return self._value[0]

    def _run(self) -> None:
        try:
            self._value.append(self._function())
        except Exception as error:  # noqa: BLE001 - handed to whoever asks for the result
            self._error = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._event.set)


class PatientCalls:
    """Calls that somebody needs an answer of: each is waited for so long, and one that hangs is not repeated.

    What a late one says is dropped, as the next call for that path may ask something else: who needs it keeps the
    DetachedCall.
    """

    def __init__(self, limit_s: float) -> None:
        """`limit_s` is how long a call may take."""
        self._limit_s = limit_s
        self._hung: dict[Path, DetachedCall[Any]] = {}

    async def call(self, path: Path, function: Callable[[], T]) -> T:
        """Return what `function`, which looks at `path`, returns; raises what it raises.

        Raises FileUnanswered when it takes too long, and at once while an earlier call for the same path hangs.
        """
        if self.hangs(path):
            raise FileUnanswered(path, self._limit_s)
        self._hung.pop(path, None)
        call = DetachedCall(function)
        if not await call.wait(self._limit_s):
            self._hung[path] = call
            raise FileUnanswered(path, self._limit_s)
        return call.result()

    def hangs(self, path: Path) -> bool:
        """Whether a call for this path has not answered in time, and has not answered since."""
        hung = self._hung.get(path)
        return hung is not None and not hung.is_finished

    @property
    def hanging(self) -> int:
        """How many calls hang now."""
        return sum(not call.is_finished for call in self._hung.values())

    async def wait_answered(self, path: Path) -> None:
        """Return when what hangs for this path has answered, however late."""
        hung = self._hung.get(path)
        if hung is not None:
            await hung.wait(float("inf"))
