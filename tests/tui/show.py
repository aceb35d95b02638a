"""Prints a screen over the fake daemon: `python -m tests.tui.show 100 30 enter` presses Enter and shows 100×30."""

import asyncio
import sys

from tests.tui.fake_link import FakeLink
from tests.tui.scenes import NOW_S, heartbeat, matrix, sessions, task
from tests.tui.screen_text import settle, shown
from tui.app import ElcanoTerminal


async def show(width: int, height: int, keys: list[str]) -> None:
    link = FakeLink(*sessions(), heartbeat(), answers={"matrix": matrix(), "task": task()})
    app = ElcanoTerminal(link, clock_s=lambda: NOW_S)
    async with app.run_test(size=(width, height), notifications=True) as pilot:
        await settle(pilot)
        for key in keys:
            await pilot.press(key)
            await settle(pilot)
        print(shown(app))  # noqa: T201 - what it is for


if __name__ == "__main__":
    asyncio.run(show(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
