"""Cost of watching 50,000 movies, beside two peers; and the time from a movie's last write to its processing.

Run: python -m benchmarks.watching [--files 50000] [--directories 100] [--folder DIR] [--writers 40]

Peers: a plain os.walk with a stat of every file, compared with the last walk; and the snapshot and comparison that
watchdog's PollingObserver makes in every poll. All run on the same tree in the same process, warm cache, median of
several polls. "one new file" is found by listing its directory, however it came to be listed. "named by kernel" is the
same in a large directory on a local disk, where the event gives the name and the listing follows seconds later. The
last part lets writers copy movies in pieces, in real time, and takes the time from the last write until each is proven
complete; one that is taken before its last write is early.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import anyio
import numpy as np
from watchdog.utils.dirsnapshot import DirectorySnapshot, DirectorySnapshotDiff

from daemon.domain.movie import FileIdentity
from daemon.formats.mrc_writer import write_mrc
from daemon.watchers.directory import DirectoryPoller, PollSettings
from daemon.watchers.discovery import Discoverer
from daemon.watchers.found import ChangedFile, FoundFile, IgnoredFile, RefusedMovie, SettledMovie, WatchProblem


class NaiveWatcher:
    """Walks everything in every poll."""

    def __init__(self, root: Path) -> None:
        """Take a first snapshot."""
        self._root = root
        self._known = self._snapshot()

    def poll(self) -> list[str]:
        """Return what is new or different since the last poll."""
        current = self._snapshot()
        changed = [path for path, state in current.items() if self._known.get(path) != state]
        self._known = current
        return changed

    def _snapshot(self) -> dict[str, tuple[int, int]]:
        found = {}
        for folder, _, names in os.walk(self._root):
            for name in names:
                path = f"{folder}/{name}"
                status = os.stat(path)  # noqa: PTH116 - the peer at its fastest
                found[path] = (status.st_size, status.st_mtime_ns)
        return found


class PollingWatcher:
    """What watchdog's PollingObserver does in every poll."""

    def __init__(self, root: Path) -> None:
        """Take a first snapshot."""
        self._root = str(root)
        self._known = DirectorySnapshot(self._root)

    def poll(self) -> list[str]:
        """Return what is new since the last poll."""
        current = DirectorySnapshot(self._root)
        created = DirectorySnapshotDiff(self._known, current).files_created
        self._known = current
        return [str(path) for path in created]


def build_tree(root: Path, files: int, directories: int) -> list[Path]:
    """Make empty movies spread over GridSquare folders (or flat in one); return the folders."""
    folders = [root / "frames"] if directories == 1 else [root / f"GridSquare_{i}" / "Data" for i in range(directories)]
    for index, folder in enumerate(folders):
        folder.mkdir(parents=True)
        for number in range(index, files, directories):
            (folder / f"FoilHole_{number:06d}_fractions.tiff").touch()
    return folders


def median_ms(action: Callable[[], object], repeats: int, before: Callable[[int], object] | None = None) -> float:
    """Median time of `action` in ms; `before(i)` is not timed."""
    times = []
    for index in range(repeats):
        if before is not None:
            before(index)
        start = time.perf_counter()
        action()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def measure(root: Path, files: int, directories: int) -> None:
    """Build one tree, measure both watchers on it and print a table."""
    folders = build_tree(root, files, directories)
    clock = iter(range(1_000_000))
    settings = PollSettings(hot_s=0.5, rescan_s=1e9)  # one tick of this clock is a second
    poller = DirectoryPoller(root, settings=settings)
    start = time.perf_counter()
    first = poller.poll(next(clock))
    first_ms = 1e3 * (time.perf_counter() - start)
    assert len(first.new) == files, f"{len(first.new)} of {files} files found"
    naive = NaiveWatcher(root)

    poller.poll(next(clock))
    ours_idle = median_ms(lambda: poller.poll(next(clock)), 50)
    naive_idle = median_ms(naive.poll, 5)

    def add(index: int) -> None:
        (folders[index % directories] / f"new_{time.monotonic_ns()}.tiff").touch()

    found: list[FoundFile] = []
    ours_new = median_ms(lambda: found.extend(poller.poll(next(clock)).new), 15, add)
    clock_now_s = next(clock) + 100  # no directory is hot any more
    poller.poll(clock_now_s)
    ticks_named = (clock_now_s + 0.02 * tick for tick in range(1, 100))

    def add_named(index: int) -> None:
        path = folders[index % directories] / f"named_{time.monotonic_ns()}.tiff"
        path.touch()
        poller.name(str(path))

    named: list[FoundFile] = []
    ours_named = median_ms(lambda: named.extend(poller.poll(next(ticks_named)).new), 15, add_named)
    naive_found: list[str] = []
    naive.poll()
    naive_new = median_ms(lambda: naive_found.extend(naive.poll()), 5, add)
    snapshots = PollingWatcher(root)
    snapshots_idle = median_ms(snapshots.poll, 3)
    snapshots_found: list[str] = []
    snapshots_new = median_ms(lambda: snapshots_found.extend(snapshots.poll()), 3, add)
    assert len(found) == len(named) == 15, "a new file was missed"
    assert len(naive_found) == 5, "a peer missed a new file"
    assert len(snapshots_found) == 3, "a peer missed a new file"

    burst_ms = measure_burst(poller, folders, clock_now_s + 100)
    rescan = measure_rescan(root)

    print(f"{files} files in {directories} director{'y' if directories == 1 else 'ies'}")
    print(f"  first poll                        {first_ms:9.1f} ms")
    rows = [
        ("idle poll", ours_idle, naive_idle, snapshots_idle),
        ("one new file", ours_new, naive_new, snapshots_new),
    ]
    if directories == 1:  # smaller directories are simply listed
        rows.append(("named by kernel", ours_named, naive_new, snapshots_new))
    for what, ours, walk_ms, snapshot_ms in rows:
        print(
            f"  {what:16s} ours {ours:8.3f} ms   os.walk + stat {walk_ms:8.1f} ms (x {walk_ms / ours:.0f})   "
            f"watchdog {snapshot_ms:8.1f} ms (x {snapshot_ms / ours:.0f})"
        )
    print(f"  5,000 files at once               {burst_ms:9.1f} ms")
    print(f"  full rescan of names              {rescan:9.1f} ms")


def measure_burst(poller: DirectoryPoller, folders: list[Path], now_s: float) -> float:
    """Time of the poll that finds 5,000 files which came at once, in ms."""
    for number in range(5000):
        (folders[number % len(folders)] / f"burst_{number}.tiff").touch()
    start = time.perf_counter()
    found = {file.path.name for file in poller.poll(now_s).new}
    burst_ms = 1e3 * (time.perf_counter() - start)
    missed = sum(f"burst_{number}.tiff" not in found for number in range(5000))
    assert not missed, f"{missed} of 5,000 files were missed"
    return burst_ms


def measure_rescan(root: Path) -> float:
    """Time of a poll that lists every directory, in ms."""
    poller = DirectoryPoller(root, settings=PollSettings(hot_s=0.0, rescan_s=0.0, sweep_files_per_poll=0))
    poller.poll(0.0)
    ticks = iter(range(1, 100))
    return median_ms(lambda: poller.poll(next(ticks)), 5)


class CompletionLog:
    """Takes what watching finds and keeps when each movie was complete; `all_there` is set once `wanted` are."""

    def __init__(self, wanted: int) -> None:
        self.completed_at_s: dict[Path, float] = {}
        self.all_there = anyio.Event()
        self._wanted = wanted

    async def complete(self, movie: SettledMovie) -> None:
        """Keep the time."""
        self.completed_at_s[movie.identity.path] = time.monotonic()
        if len(self.completed_at_s) == self._wanted:
            self.all_there.set()

    async def seen(self, files: Sequence[FoundFile]) -> None:
        """Nothing to keep."""

    async def ignored(self, files: Sequence[IgnoredFile]) -> None:
        """Nothing to keep."""

    async def tallied(self, counts: Mapping[str, int]) -> None:
        """Nothing to keep."""

    async def quarantined(self, movie: RefusedMovie) -> None:
        """Nothing to keep."""

    async def vanished(self, files: Sequence[FileIdentity]) -> None:
        """Nothing to keep."""

    async def rewritten(self, files: Sequence[ChangedFile]) -> None:
        """Nothing to keep."""

    async def troubled(self, problems: Sequence[WatchProblem]) -> None:
        """Nothing to keep."""

    async def recovered(self, paths: Sequence[Path]) -> None:
        """Nothing to keep."""


async def measure_latency(root: Path, writers: int) -> None:
    """Let `writers` movies be copied in pieces with pauses of up to 4 s, watch them as the daemon does, and print."""
    pattern = root / "pattern.bin"
    write_mrc(pattern, np.ones((8, 256, 256), dtype=np.uint8), pixel_size_ang=1.0)
    content = pattern.read_bytes()
    raw = root / "raw"
    raw.mkdir()
    log = CompletionLog(writers)
    discoverer = Discoverer(DirectoryPoller(raw), log, expected_frames=lambda _: 8)
    written_at_s: dict[Path, float] = {}

    async def copy(number: int) -> None:
        random = np.random.default_rng(number)
        await anyio.sleep(float(random.uniform(0, 20)))
        path = raw / f"movie_{number:03d}.mrc"
        cuts = sorted(int(cut) for cut in random.integers(1, len(content), 3))
        for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
            with path.open("ab") as file:
                file.write(content[start:end])
            written_at_s[path] = time.monotonic()
            await anyio.sleep(float(random.uniform(0, 4)) if end < len(content) else 0)

    async with anyio.create_task_group() as group:
        group.start_soon(discoverer.run)
        async with anyio.create_task_group() as copies:
            for number in range(writers):
                copies.start_soon(copy, number)
        with anyio.move_on_after(60):
            await log.all_there.wait()
        group.cancel_scope.cancel()
    delays_s = [log.completed_at_s[path] - written_at_s[path] for path in log.completed_at_s]
    early = sum(delay < 0 for delay in delays_s)
    print(f"{writers} movies written in pieces: {len(delays_s)} complete, {early} early")
    print(
        f"  last write to start   median {np.median(delays_s):5.2f} s   p95 {np.percentile(delays_s, 95):5.2f} s   "
        f"longest {max(delays_s):5.2f} s   (goal: p95 <= 10 s, 0 early)"
    )


def main() -> None:
    """Measure nested and flat trees, then latency."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--directories", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=None, help="where to build the trees (default: a temporary one)")
    parser.add_argument("--writers", type=int, default=40, help="movies written in pieces to measure the delay")
    arguments = parser.parse_args()
    for directories in (arguments.directories, 1):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            measure(Path(folder), arguments.files, directories)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        anyio.run(measure_latency, Path(folder), arguments.writers)


if __name__ == "__main__":
    main()
