"""Reading a terminal as a person does."""

from collections.abc import Callable
from typing import Any

import anyio
from textual.app import App
from textual.pilot import Pilot

_LIMIT_S = 120.0
"""After which something hangs, also on a machine with much else to do."""


def shown(app: App[Any]) -> str:
    """Return what the screen shows, line by line."""
    compositor = app.screen._compositor
    return "\n".join(strip.text.rstrip() for strip in compositor.render_strips())


async def settle(pilot: Pilot[Any]) -> None:
    """Return when what was pressed, pushed and asked has had its effect."""
    for _ in range(3):
        await pilot.pause()
        workers = [worker for worker in pilot.app.workers if worker.group != "link"]
        if workers:
            await pilot.app.workers.wait_for_complete(workers)
    await pilot.pause()


async def until(pilot: Pilot[Any], condition: Callable[[], bool], what: str) -> None:
    """Return when something holds that takes its time: a cursor that rests, a daemon that works."""
    with anyio.move_on_after(_LIMIT_S):
        while not condition():
            await pilot.pause(0.02)
        return
    raise AssertionError(f"waited for {what}:\n{shown(pilot.app)}")
