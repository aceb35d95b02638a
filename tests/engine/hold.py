"""Stages that stand still while something else happens."""

import threading

import anyio.to_thread

from daemon.pipeline.context import StageContext

_LIMIT_S = 60


class Hold:
    """Keeps a stage in the middle of its run until told to go on, and says when it got there."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._open = threading.Event()

    def __call__(self, _: StageContext) -> None:
        self._reached.set()
        assert self._open.wait(_LIMIT_S), "nobody let it go on"

    async def reached(self) -> None:
        assert await anyio.to_thread.run_sync(self._reached.wait, _LIMIT_S)

    def go_on(self) -> None:
        self._open.set()


class ListeningHold(Hold):
    """Then the stage looks whether it is still wanted."""

    def __call__(self, context: StageContext) -> None:
        super().__call__(context)
        context.check_cancelled()
