"""A pause that anyone may end."""

import asyncio
from contextlib import suppress

import anyio


class Wake:
    """Any number of calls of `set`, from any thread, end one pause, the present or the next."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: tuple[asyncio.AbstractEventLoop, anyio.Event] | None = None

    def set(self) -> None:
        """End the pause."""
        if self._is_set:
            return
        self._is_set = True
        waiter = self._waiter
        if waiter is not None:
            loop, event = waiter
            with suppress(RuntimeError):  # the loop is closed: nobody pauses any more
                loop.call_soon_threadsafe(event.set)

    async def wait(self, timeout_s: float) -> None:
        """Pause for at most this long."""
        event = anyio.Event()
        # The waiter is in place before the flag is read, so that no `set` falls between the two.
        self._waiter = (asyncio.get_running_loop(), event)
        if not self._is_set:
            with anyio.move_on_after(timeout_s):
                await event.wait()
        self._waiter = None
        self._is_set = False
