"""What the store costs for each movie, and whether that grows with the past.

`python -m benchmarks.store_rates [--small 1000] [--large 50000]` plays the life of a movie (seen, complete,
four stages with attempts, metrics, outputs and events, done, events published) against a store that already
holds that many movies, one commit after the other as the engine makes them, and prints both costs and
their ratio; then commits per second with many callers at once, and the reads that happen again and again.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.domain.acquisition import Acquisition
from daemon.domain.identity import stable_id
from daemon.domain.movie import FileIdentity, LedgerEntry
from daemon.domain.session import ImageRecord, Session
from daemon.domain.states import MovieState, TaskState
from daemon.store import ledger, metrics, outbox, tasks
from daemon.store.changes import (
    Change,
    EndTask,
    MoveMovie,
    NewTask,
    OutputRecord,
    PutImages,
    PutJob,
    PutMetrics,
    PutSession,
    PutTasks,
    QueueEvent,
    SeeMovie,
    StartAttempt,
)
from daemon.store.snapshots import write_snapshots
from daemon.store.store import Store

_START_S = 1.7e9
_STAGES = ("motion_correction", "ctf_estimation", "fft", "thumbnail")
_BODY = b'{"specversion":"1.0","type":"magellon.step.completed","data":{' + b" " * 400 + b"}}"


@dataclass(frozen=True)
class Numbers:
    """A typical set of metrics."""

    total_motion_ang: float
    defocus_u_ang: float
    score: float
    frames: int
    warning: str | None = None


def _event(*parts: str) -> QueueEvent:
    return QueueEvent(stable_id(*parts), "magellon.job.j.step.ctf", _BODY)


def live(number: int) -> list[list[Change]]:
    """Commits of one movie's life, in order."""
    movie_id, image_id = stable_id("movie", str(number)), stable_id("image", str(number))
    seen_s = _START_S + number
    identity = FileIdentity(
        Path(f"/gpfs/session/frames/GridSquare_{number % 97}/movie_{number:06d}.tif"), 10**9, number
    )
    entry = LedgerEntry(movie_id, "session", identity, 1, MovieState.SEEN, "", None, seen_s, seen_s - 1)
    owed = tuple(
        NewTask(stable_id(movie_id, stage), "job", "session", image_id, movie_id, stage, position)
        for position, stage in enumerate(_STAGES)
    )
    commits: list[list[Change]] = [
        [SeeMovie(entry), _event(movie_id, "seen")],
        [
            PutImages((ImageRecord(image_id, "session", f"movie_{number:06d}", None, None, Acquisition()),)),
            MoveMovie(movie_id, MovieState.COMPLETE, cause="settled", image_id=image_id),
            PutTasks(owed),
            _event(movie_id, "complete"),
        ],
    ]
    for task in owed:
        outputs = tuple(
            OutputRecord(f"{task.stage}_{part}", f"{task.stage}/movie_{number:06d}_{part}.mrc", 10**7, "0" * 64)
            for part in range(2)
        )
        values = {"total_motion_ang": 12.5, "defocus_u_ang": 15000.0, "score": 0.3, "frames": 40}
        commits.append([StartAttempt(task.task_id, 1, "0123456789abcdef"), _event(task.task_id, "started")])
        commits.append(
            [
                EndTask(task.task_id, TaskState.COMPLETED, 1, outputs=outputs, code_version="0.1.0"),
                PutMetrics(task.stage, image_id, task.task_id, values),
                _event(task.task_id, "completed"),
            ]
        )
    commits.append([MoveMovie(movie_id, MovieState.DONE, cause="all tasks ended"), _event(movie_id, "done")])
    return commits


async def fill(store: Store, first: int, last: int) -> None:
    """Bring the store to `last` movies, with everything published."""
    for start in range(first, last, 200):
        await store.commit(
            *(change for number in range(start, min(start + 200, last)) for commit in live(number) for change in commit)
        )
        await publish(store)


async def publish(store: Store) -> None:
    """Mark everything that waits as published."""
    while waiting := await outbox.unpublished(store):
        await outbox.mark_published(store, [row.seq for row in waiting])


async def live_once(store: Store, number: int) -> tuple[float, float]:
    """Wall and processor seconds of one movie's commits, one after the other, then its events published."""
    started, worked = time.perf_counter(), time.process_time()
    for commit in live(number):
        await store.commit(*commit)
    await publish(store)
    await tasks.tasks(store, movie_id=stable_id("movie", str(number)))
    return time.perf_counter() - started, time.process_time() - worked


async def measure_lives(stores: Sequence[tuple[Store, int]], count: int) -> list[tuple[float, float]]:
    """Medians of `live_once` for each store, that holds so many movies.

    The stores take turns, movie by movie: the speed of a shared machine drifts by more than what is looked for.
    """
    costs: list[list[tuple[float, float]]] = [[] for _ in stores]
    for number in range(count):
        for (store, held), found in zip(stores, costs, strict=True):
            found.append(await live_once(store, held + number))
    return [(statistics.median(wall for wall, _ in each), statistics.median(cpu for _, cpu in each)) for each in costs]


async def measure_rate(store: Store, first: int, callers: int, seconds: float = 3.0) -> float:
    """Commits per second with many callers at once."""
    deadline = time.perf_counter() + seconds
    made = 0

    async def call(number: int) -> None:
        nonlocal made
        while time.perf_counter() < deadline:
            for commit in live(number):
                await store.commit(*commit)
                made += 1
            number += callers

    started = time.perf_counter()
    await asyncio.gather(*(call(first + caller) for caller in range(callers)))
    return made / (time.perf_counter() - started)


async def time_median(read: Callable[[], Awaitable[object]], times: int = 15) -> float:
    """Median milliseconds of a read."""
    costs = []
    for _ in range(times):
        started = time.perf_counter()
        await read()
        costs.append((time.perf_counter() - started) * 1e3)
    return statistics.median(costs)


async def run(small: int, large: int, folder: Path) -> None:
    """Measure and print."""
    sizes = (small, large)
    stores = [await open_store(folder / f"{size}.duckdb") for size in sizes]
    for store, size in zip(stores, sizes, strict=True):
        await fill(store, 0, size)
    costs = await measure_lives(list(zip(stores, sizes, strict=True)), 100)
    for store, size, (wall, cpu) in zip(stores, sizes, costs, strict=True):
        print(
            f"{size:>7} movies: {wall * 1e3:7.1f} ms a movie, {cpu * 1e3:.1f} ms of processor "
            f"({len(live(0))} commits one after the other, events published, work looked up)"
        )
        await time_reads(store)
    print(f"ratio of the processor cost of a movie, {large} to {small}: {costs[1][1] / costs[0][1]:.2f}")
    stores[0].close()
    store = stores[1]
    for callers in (1, 8, 64):
        rate = await measure_rate(store, 10_000_000 * callers, callers)
        print(f"{callers:>4} callers: {rate:7.0f} commits/s")
    started = time.perf_counter()
    await write_snapshots(store, "session", folder / "tables")
    print(f"snapshots of the session: {time.perf_counter() - started:.2f} s")
    store.close()
    path = folder / f"{large}.duckdb"
    started = time.perf_counter()
    store = Store.open(path, metrics=dict.fromkeys(_STAGES, Numbers))
    print(f"reopening: {(time.perf_counter() - started) * 1e3:.0f} ms, file {path.stat().st_size / 1e6:.0f} MB")
    store.close()


async def open_store(path: Path) -> Store:
    """Open a new store with one session and its job."""
    store = Store.open(path, metrics=dict.fromkeys(_STAGES, Numbers))
    session = Session("session", "session", Path("/gpfs/session"), Path("/home/session"), Acquisition())
    await store.commit(PutSession(session), PutJob("job", "session", "import"))
    return store


async def time_reads(store: Store) -> None:
    """Print what the reads cost that happen again and again."""
    reads: dict[str, Callable[[], Awaitable[object]]] = {
        "tasks": lambda: tasks.tasks(store, movie_id=stable_id("movie", "7")),
        "unpublished": lambda: outbox.unpublished(store),
        "known_files": lambda: ledger.known_files(store, "session"),
        "latency": lambda: metrics.latency(store, "session"),
        "micrographs": lambda: metrics.micrographs(store, "session", limit=100),
    }
    for name, read in reads.items():
        print(f"         {name:<12} {await time_median(read):8.2f} ms")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=1_000)
    parser.add_argument("--large", type=int, default=50_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(arguments.small, arguments.large, Path(folder)))


if __name__ == "__main__":
    main()
