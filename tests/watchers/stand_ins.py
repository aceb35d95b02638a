"""Stand-ins for the parts above watching, and movies small enough to write by the thousand."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import numpy as np

from daemon.domain.movie import FileIdentity
from daemon.formats.mrc_writer import write_mrc
from daemon.watchers.discovery import Discoverer
from daemon.watchers.found import ChangedFile, FoundFile, IgnoredFile, RefusedMovie, SettledMovie, WatchProblem


@dataclass
class StepClock:
    """Time that moves only when told."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class RecordingSink:
    """Keeps everything it is told, in order, with the time of a clock."""

    clock: Callable[[], float] = field(default_factory=StepClock)
    log: list[tuple[str, Path]] = field(default_factory=list)
    movies: dict[Path, SettledMovie] = field(default_factory=dict)
    completed_at_s: dict[Path, float] = field(default_factory=dict)
    refused: dict[Path, str] = field(default_factory=dict)
    passed_over: dict[Path, str] = field(default_factory=dict)
    changes: list[ChangedFile] = field(default_factory=list)
    problems: list[WatchProblem] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    gate: anyio.Event | None = None

    def paths(self, kind: str) -> list[Path]:
        return [path for what, path in self.log if what == kind]

    async def seen(self, files: Sequence[FoundFile]) -> None:
        if self.gate is not None:
            await self.gate.wait()
        self.log += [("seen", file.path) for file in files]

    async def ignored(self, files: Sequence[IgnoredFile]) -> None:
        for file in files:
            self.log.append(("ignored", file.identity.path))
            self.passed_over[file.identity.path] = file.reason

    async def tallied(self, counts: Mapping[str, int]) -> None:
        for suffix, count in counts.items():
            self.counts[suffix] = self.counts.get(suffix, 0) + count

    async def complete(self, movie: SettledMovie) -> None:
        self.log.append(("complete", movie.identity.path))
        self.movies[movie.identity.path] = movie
        self.completed_at_s[movie.identity.path] = self.clock()

    async def quarantined(self, movie: RefusedMovie) -> None:
        self.log.append(("quarantined", movie.identity.path))
        self.refused[movie.identity.path] = movie.reason

    async def vanished(self, files: Sequence[FileIdentity]) -> None:
        self.log += [("vanished", file.path) for file in files]

    async def rewritten(self, files: Sequence[ChangedFile]) -> None:
        self.log += [("rewritten", change.now.path) for change in files]
        self.changes += files

    async def troubled(self, problems: Sequence[WatchProblem]) -> None:
        self.log += [("troubled", problem.path) for problem in problems]
        self.problems += problems

    async def recovered(self, paths: Sequence[Path]) -> None:
        self.log += [("recovered", path) for path in paths]


def write_small_mrc(path: Path, *, frames: int = 2, edge_px: int = 8, seed: int = 0) -> Path:
    """Write a movie of random counts without a zero."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    write_mrc(path, generator.integers(1, 100, (frames, edge_px, edge_px), dtype=np.int8), pixel_size_ang=1.0)
    return path


async def run_looks(discoverer: Discoverer) -> int:
    """Make every look that is due and wait for its consequences."""
    total = 0
    while True:
        async with anyio.create_task_group() as group:
            started = discoverer.start_looks(group)
        total += started
        if not started:
            return total


async def live(
    discoverer: Discoverer, clock: StepClock, for_s: float, *, step_s: float = 0.5, poll_s: float = 1.0
) -> None:
    """Let simulated time pass as the two loops of `run` would: poll now and then, look whenever something is due."""
    until_s, next_poll_s = clock.now_s + for_s, clock.now_s
    while clock.now_s < until_s:
        if clock.now_s >= next_poll_s:
            await discoverer.scan()
            next_poll_s = clock.now_s + poll_s
        await run_looks(discoverer)
        clock.now_s += step_s
