"""Blocking calls to a file system that may never answer.

A thread stuck in the kernel cannot be killed. Each such call therefore runs on a daemon thread of its own, which can
be left behind: it holds up neither the loop nor the end of the process, and if it answers late its answer is kept.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

import anyio

T = TypeVar("T")


class DetachedCall(Generic[T]):
    """One call on a thread of its own; start it from the event loop."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._event = anyio.Event()
        self._value: list[T] = []
        self._error: Exception | None = None
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, name="elcano-watch", daemon=True).start()

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
