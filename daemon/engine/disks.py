"""Free space of the places that the daemon needs, and how long it lasts."""

import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread

from daemon.engine.troubles import Trouble
from daemon.messages.live import DiskKind, DiskLoad

_LOOKED_BACK_S = (3600.0, 6 * 3600.0)
"""How a disk fills is measured over the last of each: the hour shows what began just now, the night what lasts."""
_SHORTEST_S = 600.0
"""Over less, nothing is said of how a disk fills."""
_FORESEEN = 24.0
"""Nor is what is more than this many times as far ahead as was looked back: an hour tells of a day, a burst of writing
in ten minutes of four hours."""
_SOON_S = 86_400.0
"""A disk that is full later than this is nobody's trouble yet."""
_PATIENCE_S = 5.0
_GIB = 2**30

Space = tuple[int, int]
"""Free and total bytes."""


def measure_space(path: Path) -> Space:
    """Return what is free where `path` lies, and what there is in all. Raises OSError."""
    usage = shutil.disk_usage(path)
    return usage.free, usage.total


@dataclass(frozen=True)
class DiskPlace:
    """A place to look at."""

    what: DiskKind
    path: Path
    reserve_bytes: int = 0


@dataclass
class _Watched:
    place: DiskPlace
    seen: deque[tuple[float, int]] = field(default_factory=deque)
    is_asked: bool = False
    """A look has not come back: the mount hangs, and it is not asked a second time."""
    trouble: str = ""
    load: DiskLoad | None = None
    foreseen_since_s: float = 0.0


class Disks:
    """Looks at places; a mount that hangs costs a thread of its own, once, and nobody waits for it for long."""

    def __init__(
        self,
        places: Sequence[DiskPlace],
        *,
        measure: Callable[[Path], Space] = measure_space,
        clock_s: Callable[[], float] = time.time,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._watched = [_Watched(place) for place in places]
        self._measure = measure
        self._clock_s = clock_s
        self._patience_s = patience_s
        self._threads = anyio.CapacityLimiter(max(1, len(places)))

    async def look(self) -> list[DiskLoad]:
        """Return how each place stands now."""
        found: dict[int, Space] = {}

        async def ask(number: int, watched: _Watched) -> None:
            space = await self._ask(watched)
            if space is not None:
                found[number] = space

        async with anyio.create_task_group() as group:
            for number, watched in enumerate(self._watched):
                group.start_soon(ask, number, watched)
        for number, watched in enumerate(self._watched):
            self._keep(watched, self._tell(watched, found.get(number)))
        return [watched.load for watched in self._watched if watched.load is not None]

    def foreseen(self) -> list[Trouble]:
        """Return which disks are full within a day, as the last look at them has it; each file system once.

        That home is at its reserve holds all work up, and is told by who stops it.
        """
        told: dict[int | None, Trouble] = {}
        for watched in self._watched:
            load = watched.load
            if load is not None and _is_soon_full(load) and (load.full_in_s or load.what != "home"):
                told.setdefault(load.total_bytes, _trouble(load, watched.foreseen_since_s))
        return list(told.values())

    def _keep(self, watched: _Watched, load: DiskLoad) -> None:
        if watched.load is None or not _is_soon_full(watched.load):
            watched.foreseen_since_s = self._clock_s()
        watched.load = load

    async def _ask(self, watched: _Watched) -> Space | None:
        if watched.is_asked:
            return None

        def look() -> Space:
            try:
                return self._measure(watched.place.path)
            finally:
                watched.is_asked = False

        watched.is_asked = True
        try:
            with anyio.fail_after(self._patience_s):
                space = await anyio.to_thread.run_sync(look, limiter=self._threads, abandon_on_cancel=True)
        except TimeoutError:
            watched.trouble = f"does not answer, was waited for {self._patience_s:g} s"
            return None
        except OSError as error:
            watched.trouble = error.strerror or str(error)
            return None
        watched.trouble = ""
        self._remember(watched, space[0])
        return space

    def _remember(self, watched: _Watched, free_bytes: int) -> None:
        now_s = self._clock_s()
        watched.seen.append((now_s, free_bytes))
        while now_s - watched.seen[0][0] > _LOOKED_BACK_S[-1]:
            watched.seen.popleft()

    def _tell(self, watched: _Watched, space: Space | None) -> DiskLoad:
        place = watched.place
        free_bytes, total_bytes = space or (None, None)
        return DiskLoad(
            what=place.what,
            path=str(place.path),
            free_bytes=free_bytes,
            total_bytes=total_bytes,
            reserve_bytes=place.reserve_bytes,
            full_in_s=None if space is None else full_in_s(watched.seen, place.reserve_bytes),
            trouble=watched.trouble,
        )


def full_in_s(seen: Sequence[tuple[float, int]], reserve_bytes: int) -> float | None:
    """Return when the reserve is reached should the disk fill as it did lately; None where it does not, or where too
    little was seen to tell. `seen`: times and free bytes, the oldest first.
    """
    if not seen:
        return None
    last_s, last = seen[-1]
    if last <= reserve_bytes:
        return 0.0
    foreseen = []
    for span_s in _LOOKED_BACK_S:
        first_s, first = next(look for look in seen if last_s - look[0] <= span_s)
        looked_back_s = last_s - first_s
        if looked_back_s >= _SHORTEST_S and last < first:
            left_s = (last - reserve_bytes) * looked_back_s / (first - last)
            foreseen += [left_s] if left_s <= _FORESEEN * looked_back_s else []
    return min(foreseen, default=None)


def _is_soon_full(load: DiskLoad) -> bool:
    return load.full_in_s is not None and load.full_in_s < _SOON_S


def _trouble(load: DiskLoad, since_s: float) -> Trouble:
    when = f"is full in {_say_span(load.full_in_s)}, filling as it does lately" if load.full_in_s else "is full"
    return Trouble(
        "disk_filling",
        f"{load.path} {when}: {(load.free_bytes or 0) / _GIB:.1f} GiB free.",
        "Make room, or move what is not needed there.",
        since_s,
        load.path,
    )


def _say_span(seconds: float) -> str:
    hours, minutes = divmod(round(seconds) // 60, 60)
    return f"{hours} h {minutes:02d}" if hours else f"{minutes} min"
