"""Cost of watching 50,000 movies: idle poll and one new file, beside a plain os.walk with a stat of every file.

Run: python -m benchmarks.watching [--files 50000] [--directories 100] [--folder DIR]

The peer does what a simple watcher does: walk the tree, ask every file's size and time, compare with the last walk.
Both run on the same tree in the same process, warm cache, median of several polls.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from daemon.watchers.directory import DirectoryPoller, PollSettings
from daemon.watchers.found import FoundFile


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
    naive_found: list[str] = []
    naive_new = median_ms(lambda: naive_found.extend(naive.poll()), 5, add)
    assert len(found) == 15, "a new file was missed"
    assert len(naive_found) == 5 + 15, "the peer missed a new file"

    rescanner = DirectoryPoller(root, settings=PollSettings(hot_s=0.0, rescan_s=0.0, sweep_files_per_poll=0))
    rescanner.poll(0.0)
    ticks = iter(range(1, 100))
    rescan = median_ms(lambda: rescanner.poll(next(ticks)), 5)

    print(f"{files} files in {directories} director{'y' if directories == 1 else 'ies'}")
    print(f"  first poll                        {first_ms:9.1f} ms")
    for what, ours, naive_ms in (("idle poll", ours_idle, naive_idle), ("one new file", ours_new, naive_new)):
        print(f"  {what:14s} ours {ours:9.3f} ms   os.walk + stat {naive_ms:9.1f} ms   ratio {naive_ms / ours:7.0f}")
    print(f"  full rescan of names              {rescan:9.1f} ms")


def main() -> None:
    """Measure nested and flat trees."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--directories", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=None, help="where to build the trees (default: a temporary one)")
    arguments = parser.parse_args()
    for directories in (arguments.directories, 1):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            measure(Path(folder), arguments.files, directories)


if __name__ == "__main__":
    main()
