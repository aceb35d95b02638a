"""How soon a daemon with a long past is at work again: from the start of its process to the first new result.

Run: python -m benchmarks.recovery [--done 10000] [--pending 50] [--folder DIR]

Makes a session whose ledger knows many finished movies, with raw files and outputs on disk as they would be, and some
complete ones that wait; four of these were running when the daemon was killed. What computes is compiled already, as
every start but a version's first finds it. Then `elcano run` is started, and timed
until it has taken up the first movie, has its first result on disk, watches every session again and is done with all.
Exits 1 when the first movie is taken up later than after 10 s.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import anyio
import numpy as np

from benchmarks.rig.facility import PRODUCTS, STAGES, Facility
from daemon.domain.movie import FileIdentity, LedgerEntry
from daemon.domain.states import MovieState, TaskState
from daemon.formats.mrc_writer import write_mrc
from daemon.messages.subjects import Subjects
from daemon.sessions.importing import ImportedSession, ImportRequest, ImportRules, import_session
from daemon.sessions.intake import SessionIntake
from daemon.stages import MOVIE_STAGES
from daemon.store import ledger, outbox, tasks
from daemon.store.changes import Change, EndTask, MoveMovie, OutputRecord, StartAttempt
from daemon.store.rows import TaskRow
from daemon.store.store import Store

LIMIT_S = 10.0
RUNNING = 4
_BATCH = 500
_PATIENCE_S = 600.0
_IDLE_AFTER_S = 20.0


def batches(items: Sequence[LedgerEntry]) -> Iterator[list[LedgerEntry]]:
    """Cut into pieces that fit a commit."""
    source = iter(items)
    while piece := list(islice(source, _BATCH)):
        yield piece


def write_raw(raw: Path, count: int) -> list[Path]:
    """Make so many movies: one file under many names, which is enough for whoever only looks at them."""
    frames = raw / "frames"
    frames.mkdir(parents=True)
    rng = np.random.default_rng(5)
    first = frames / "m000000.mrc"
    write_mrc(first, rng.poisson(2.0, (5, 128, 128)).astype(np.int16), pixel_size_ang=2.0)
    paths = [first, *(frames / f"m{number:06}.mrc" for number in range(1, count))]
    for path in paths[1:]:
        path.hardlink_to(first)
    (raw / "session.json").write_text(
        '{"msession": {"oid": "5e551000-0000-4000-8000-000000000001", "name": "past"}, '
        '"images": [], "acquisition": {"voltage_kv": 300, "total_dose_e_per_ang2": 20, '
        '"spherical_aberration_mm": 2.7, "pixel_size_ang": 2.0}}'
    )
    return paths


def write_outputs(home: Path, name: str) -> tuple[OutputRecord, ...]:
    """Make the files of one finished movie, empty."""
    outputs = []
    for folder, suffixes in PRODUCTS.items():
        for suffix in suffixes:
            path = home / folder / f"{name}{suffix}"
            path.parent.mkdir(exist_ok=True)
            path.touch()
            outputs.append(OutputRecord("product", f"{folder}/{path.name}", 0, "0" * 64))
    for stage in STAGES:
        record = home / ".elcano" / "tasks" / stage / f"{name}.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        record.touch()
    return tuple(outputs)


def leave_kernels(root: Path, facility: Facility) -> None:
    """Put into the facility what its earlier starts left behind: the kernels, which a version compiles only once."""
    earlier = Facility.build(root)
    write_raw(earlier.gpfs / "first", 1)
    began_s = time.monotonic()
    run = earlier.run_once()
    if run.code != 0:
        sys.exit(f"one movie could not be processed:\n{run.err}")
    print(f"the first start of all, with one movie: {time.monotonic() - began_s:.1f} s", flush=True)
    shutil.copytree(earlier.state / "kernels", facility.state / "kernels")


async def write_past(facility: Facility, done: int, pending: int) -> None:
    """Fill ledger and disk, thousands of changes in each commit: the past is as it would be, not how it came to be."""
    raw = facility.gpfs / "past"
    paths = write_raw(raw, done + pending)
    metrics = {stage.name: stage.Metrics for stage in MOVIE_STAGES}
    subjects = Subjects()
    with Store.open(facility.state / "elcano.duckdb", metrics=metrics) as store:
        categories = tuple(dict.fromkeys(stage.category for stage in MOVIE_STAGES))
        rules = ImportRules([facility.gpfs], facility.home, 0o027, None, categories)
        imported = await import_session(store, subjects, ImportRequest(raw, None, None, STAGES, ""), rules)
        session = imported.book.session
        await _take_in(store, subjects, imported, paths)
        owed: dict[str, list[TaskRow]] = {}
        for task in await tasks.tasks(store, session_id=session.session_id):
            owed.setdefault(task.movie_id or "", []).append(task)
        entries = await ledger.movies(store, session.session_id)
        for piece in batches(entries[:done]):
            await store.commit(*(change for movie in piece for change in _finish(session.home, movie, owed)))
        interrupted = [owed[movie.movie_id][0] for movie in entries[done : done + RUNNING]]
        await store.commit(*(StartAttempt(task.task_id, 1, "hash") for task in interrupted))
        while waiting := await outbox.unpublished(store, 5000):
            await outbox.mark_published(store, [row.seq for row in waiting])


async def _take_in(store: Store, subjects: Subjects, imported: ImportedSession, paths: Sequence[Path]) -> None:
    intake = SessionIntake(
        store,
        imported.book,
        imported.folders,
        subjects,
        link_frames=True,
        on_complete=lambda _id, _at: None,
        on_withdrawn=lambda _: None,
        on_event=lambda: None,
    )
    status = paths[0].stat()
    files = [FileIdentity(path, status.st_size, status.st_mtime_ns) for path in paths]
    for start in range(0, len(files), _BATCH):
        await intake.seen(files[start : start + _BATCH])
    entries = await ledger.movies(store, imported.book.session.session_id)
    for piece in batches(entries):
        await store.commit(*(MoveMovie(movie.movie_id, MovieState.COMPLETE, "whole", cause="whole") for movie in piece))


def _finish(home: Path, movie: LedgerEntry, owed: Mapping[str, Sequence[TaskRow]]) -> Iterator[Change]:
    outputs = write_outputs(home, movie.identity.path.stem)
    for task in owed[movie.movie_id]:
        of_stage = outputs if task.stage == STAGES[0] else ()
        yield StartAttempt(task.task_id, 1, "hash")
        yield EndTask(task.task_id, TaskState.COMPLETED, attempt=1, outputs=of_stage)
    yield MoveMovie(movie.movie_id, MovieState.DONE, "nothing is left to do", cause="visited")


def measure(facility: Facility, done: int, pending: int) -> dict[str, str]:
    """Start the daemon and return when each sign came, from its start, and what it used until and after that."""
    folder, log = facility.home / "past" / ".elcano" / "tasks", facility.root / "daemon.log"
    owed = [folder / stage / f"m{number:06}.json" for number in range(done, done + pending) for stage in STAGES]
    signs: Mapping[str, Callable[[], bool]] = {
        "interrupted picked up": lambda: "picked up after an interruption" in log.read_text(),
        "first new result": lambda: any(record.exists() for record in owed),
        "every session watched": lambda: '"event": "ready"' in log.read_text(),
        "nothing left to do": lambda: all(record.exists() for record in owed),
    }
    found: dict[str, str] = {}
    start_s, began_at_s = time.monotonic(), time.time()
    with facility.running() as daemon:
        for sign, has_come in signs.items():
            daemon.wait_until(has_come, sign, timeout_s=_PATIENCE_S)
            found[sign] = f"{time.monotonic() - start_s:5.1f} s, {_cpu_s(daemon.process.pid):.1f} s of CPU"
        time.sleep(_IDLE_AFTER_S)
        found["memory, idle"] = f"{_resident_mib(daemon.process.pid):5.0f} MiB"
        daemon.stop()
    taken_up = facility.rows(
        "SELECT epoch(min(started_at)) AS at_s FROM attempt WHERE epoch(started_at) > ?", began_at_s
    )
    return {"first movie taken up": f"{taken_up[0]['at_s'] - began_at_s:5.1f} s", **found}


def _cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--done", type=int, default=10_000)
    parser.add_argument("--pending", type=int, default=50)
    parser.add_argument("--folder", type=Path, default=None, help="where to work; default: a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="recovery-") as folder:
        facility = Facility.build(Path(folder) / "facility")
        leave_kernels(Path(folder) / "earlier", facility)
        anyio.run(write_past, facility, arguments.done, arguments.pending)
        found = measure(facility, arguments.done, arguments.pending)
    print(f"{arguments.done} movies done, {arguments.pending} waiting, {RUNNING} tasks interrupted")
    print("load of the machine:", *(f"{load:.1f}" for load in os.getloadavg()))
    for sign, figures in found.items():
        print(f"{sign:>24}: {figures}")
    sys.exit(1 if float(found["first movie taken up"].split()[0]) > LIMIT_S else 0)


if __name__ == "__main__":
    main()
