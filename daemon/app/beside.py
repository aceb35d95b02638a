"""Work that goes on beside the rest: some of it belongs to a raw directory, and ends when that is left."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio.abc import TaskGroup


@dataclass(eq=False)
class _Work:
    do: Callable[[], Awaitable[object]]
    counts: bool
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    over: anyio.Event = field(default_factory=anyio.Event)


class Beside:
    """What goes on beside in one task group; nothing can be started before `open`."""

    def __init__(self) -> None:
        self._group: TaskGroup | None = None
        self._of: dict[Path | None, set[_Work]] = {}

    def open(self, group: TaskGroup) -> None:
        """Have work run in `group`."""
        self._group = group

    @property
    def is_busy(self) -> bool:
        """Whether anything goes on that ends by itself."""
        return any(work.counts for owned in self._of.values() for work in owned)

    def start(
        self, do: Callable[[], Awaitable[object]], *, owner: Path | None = None, ends_by_itself: bool = True
    ) -> None:
        """Begin work, which belongs to the raw directory `owner` if one is named."""
        assert self._group is not None, "work is begun once there is a group for it"
        work = _Work(do, ends_by_itself)
        self._of.setdefault(owner, set()).add(work)
        self._group.start_soon(self._run, work, owner)

    async def end(self, owner: Path) -> None:
        """Return once no work goes on any more that belongs to a raw directory."""
        ending = list(self._of.get(owner, ()))
        for work in ending:
            work.scope.cancel()
        for work in ending:
            await work.over.wait()

    async def _run(self, work: _Work, owner: Path | None) -> None:
        try:
            with work.scope:
                await work.do()
        finally:
            self._of[owner].discard(work)
            if not self._of[owner]:
                del self._of[owner]
            work.over.set()
