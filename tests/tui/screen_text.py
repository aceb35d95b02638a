"""Reading a terminal as a person does."""

from typing import Any

from textual.app import App
from textual.pilot import Pilot


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
