"""A small facility in a folder, run as its users run it: raw data, config.toml, `elcano` in processes of its own."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import anyio

from daemon.bus.client import BusClient
from daemon.bus.settings import BusSettings
from daemon.domain.identity import stable_id
from daemon.errors import BusUnavailable, DaemonNotRunning
from daemon.messages.envelope import Envelope, decode_envelope
from daemon.store.store import Store

T = TypeVar("T")

REPOSITORY = Path(__file__).parents[2]
STAGES = ("motion_correction", "ctf_estimation", "fft", "thumbnail")
PRODUCTS: Mapping[str, tuple[str, ...]] = {
    "motioncor": ("_aligned.mrc", "_aligned_nodw.mrc", "_spectrum.mrc", "_motion.star", "_motion.png"),
    "ctf": (".star", "_ctf.mrc", "_ctf.png", "_avrot.txt"),
    "fft": ("_fft.png",),
    "thumbnails": (".jpg",),
}
"""What every image has by default, by folder (CONTRACTS: folders)."""

QUICK_SETTLE: Mapping[str, float] = {
    "min_quiet_s": 0.2,
    "unknown_count_wait_s": 0.4,
    "short_count_wait_s": 0.6,
    "zero_tail_wait_s": 0.6,
    "blank_frames_wait_s": 0.6,
    "give_up_s": 10.0,
}
"""Waits for movies that are on disk since long."""

_OURS = ("ELCANO", "MAGELLON_", "STATE_DIRECTORY", "XDG_")
_POLL_S = 0.01
_ELCANO = (sys.executable, "-m", "daemon")


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str


@dataclass
class Facility:
    """Folders `gpfs`, `home` and `state` under `root`, and the configuration that names them."""

    root: Path
    gpfs: Path
    home: Path
    state: Path
    config: Path
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def build(cls, root: Path, *, gpfs: Path | None = None, sections: Mapping[str, Any] | None = None) -> "Facility":
        """Make the folders and config.toml; `sections` are laid over settings that suit tests."""
        place = cls(root, gpfs or root / "gpfs", root / "home", root / "state", root / "config.toml")
        root.mkdir(parents=True, exist_ok=True)
        place.gpfs.mkdir(exist_ok=True)
        place.configure(sections or {})
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        # One thread: these movies are small, and the machine that tests has other work.
        place.environment = kept | {"HOME": str(root), "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        return place

    def configure(self, sections: Mapping[str, Any]) -> None:
        """Write config.toml anew."""
        basis = {
            "paths": {"gpfs": str(self.gpfs), "home": str(self.home), "state": str(self.state)},
            "limits": {"disk_reserve_gib": 0},
            "compute": {"threads": 1},
            "watch": {"poll_min_s": 0.1, "settle": dict(QUICK_SETTLE)},
        }
        self.config.write_text("\n".join(_as_toml(_merge(basis, sections))) + "\n", encoding="utf-8")

    @property
    def bus(self) -> BusSettings:
        """How clients of this facility's daemon connect."""
        return BusSettings(self.state)

    def elcano(self, *arguments: str | Path) -> Finished:
        """Run a command with this facility's configuration to its end."""
        return self.run_command(*arguments, "--config", self.config)

    def run_command(self, *arguments: str | Path) -> Finished:
        """Run a command to its end."""
        done = subprocess.run(
            [*_ELCANO, *(str(argument) for argument in arguments)],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def run_once(self) -> Finished:
        """Process what is there."""
        return self.elcano("run", "--once")

    @contextmanager
    def running(self, *arguments: str) -> Iterator["RunningDaemon"]:
        """Start the daemon; kill whatever of it is left in the end."""
        with (self.root / "daemon.log").open("ab") as log:
            command = [*_ELCANO, "run", *arguments, "--config", str(self.config)]
            process = subprocess.Popen(command, cwd=self.root, env=self.environment, stdout=log, stderr=log)
        daemon = RunningDaemon(process, self.root / "daemon.log")
        try:
            yield daemon
        finally:
            daemon.kill()

    def rows(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        """Read the database's file, while no daemon has it."""
        with Store.open_read_only(self.state / "elcano.duckdb") as store:

            def read(connection: Any) -> list[dict[str, Any]]:
                cursor = connection.execute(sql, parameters)
                names = [column[0] for column in cursor.description]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

            return store.read_now(read)

    def outbox(self) -> list[tuple[Envelope, bool]]:
        """Return every event in order, and whether it was published."""
        rows = self.rows("SELECT body, published_at FROM event ORDER BY seq")
        return [(decode_envelope(row["body"]), row["published_at"] is not None) for row in rows]

    def ask(self, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Ask the running daemon over its bus."""

        async def ask() -> Any:
            async with BusClient(self.bus) as client:
                reply = await client.request(name, arguments)
            assert reply.ok, reply.error
            return reply.data

        return anyio.run(ask)

    def answers(self) -> bool:
        """Whether the daemon answers by now."""
        try:
            self.ask("status")
        except (DaemonNotRunning, BusUnavailable):
            return False
        return True

    def ask_rows(self, sql: str) -> list[dict[str, Any]]:
        """Ask the running daemon's database."""
        data = self.ask("sql", {"statement": sql})
        return [dict(zip(data["columns"], row, strict=True)) for row in data["rows"]]

    def records(self, session: str) -> list[Path]:
        """Return the session's own records of tasks, also while the daemon runs."""
        folder = self.home / session / ".elcano" / "tasks"
        return [path for path in sorted(folder.glob("*/*.json")) if not path.name.startswith(".")]


class RunningDaemon:
    """A daemon process under observation."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    def wait_until(self, condition: Callable[[], T | None], what: str, *, timeout_s: float = 90.0) -> T:
        """Return the first true value of `condition`; fails when it stays false or the daemon ends."""
        until_s = time.monotonic() + timeout_s
        while True:
            value = condition()
            if value:
                return value
            assert self.process.poll() is None, f"the daemon ended before {what}:\n{self.last_words()}"
            assert time.monotonic() < until_s, f"waited {timeout_s:g} s for {what}:\n{self.last_words()}"
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """End the process as a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end, as systemd does, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def last_words(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(encoding="utf-8")[-4000:]


def receive(prepared: Path, raw_directory: Path, names: Sequence[str] = (), *, manifest: bool = True) -> list[Path]:
    """Bring movies of a prepared session into a raw directory, all unless named, times as they were.

    Links instead of copies: nothing here writes into a raw file. The session gets the directory's name; the truth
    stays behind.
    """
    frames = raw_directory / "frames"
    frames.mkdir(parents=True)
    movies = [path for path in sorted((prepared / "frames").iterdir()) if not names or path.name in names]
    for movie in movies:
        (frames / movie.name).hardlink_to(movie)
    (raw_directory / "gains").mkdir()
    (raw_directory / "gains" / "gain.mrc").hardlink_to(prepared / "gains" / "gain.mrc")
    if manifest:
        content = json.loads((prepared / "session.json").read_text(encoding="utf-8"))
        content["msession"] |= {"name": raw_directory.name, "oid": stable_id("copy", raw_directory.name)}
        (raw_directory / "session.json").write_text(json.dumps(content), encoding="utf-8")
    return [frames / movie.name for movie in movies]


def acquisition_of(prepared: Path) -> dict[str, Any]:
    """Return the acquisition block of a prepared session."""
    block: dict[str, Any] = json.loads((prepared / "session.json").read_text(encoding="utf-8"))["acquisition"]
    return block


def read_tree(folder: Path, *, leave_out: Sequence[str] = ()) -> dict[str, str]:
    """Return the digest of every file below a folder, and where every link leads; `leave_out` are top folders."""
    tree = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if name.parts[0] in leave_out or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink():
            tree[name.as_posix()] = f"link to {path.readlink()}"
        else:
            tree[name.as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return tree


def fingerprint(folder: Path) -> dict[str, tuple[int, int, int, str]]:
    """Return mode, size, time and content of everything below a folder: equal before and after means untouched."""
    marks = {}
    for path in sorted([folder, *folder.rglob("*")]):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        digest = hashlib.sha256(content).hexdigest()
        marks[path.relative_to(folder).as_posix()] = (status.st_mode, status.st_size, status.st_mtime_ns, digest)
    return marks


def temporary_files(folder: Path) -> list[Path]:
    """Return what a process that died while writing has left."""
    return [path for path in folder.rglob("*") if path.name.startswith(".elcano-tmp-") or path.name.endswith(".part")]


def check_completed(facility: Facility, *, movies: int) -> None:
    """Assert that every movie was done once: states, attempts, history and outbox tell one story."""
    assert {row["state"] for row in facility.rows("SELECT state FROM movie WHERE image_id IS NOT NULL")} == {"done"}
    tasks = facility.rows("SELECT task_id, stage, state, attempts FROM task")
    assert len(tasks) == movies * len(STAGES)
    assert {task["state"] for task in tasks} == {"completed"}
    attempts: dict[str, list[str]] = {}
    for row in facility.rows("SELECT task_id, outcome FROM attempt ORDER BY task_id, attempt"):
        attempts.setdefault(row["task_id"], []).append(row["outcome"])
    ends: dict[str, list[dict[str, Any]]] = {}
    for row in facility.rows("SELECT * FROM history WHERE subject = 'task' ORDER BY seq"):
        ends.setdefault(row["subject_id"], []).append(row)
    told: dict[str, list[str]] = {}
    for envelope, _ in facility.outbox():
        if envelope.type.startswith("magellon.step."):
            told.setdefault(envelope.data["task_id"], []).append(envelope.type.removeprefix("magellon.step."))
    for task in tasks:
        moves = ends[task["task_id"]]
        assert [move["to_state"] for move in moves].count("completed") == 1
        assert moves[-1]["to_state"] == "completed"
        assert all(before["to_state"] == after["from_state"] for before, after in pairwise(moves))
        outcomes = attempts.get(task["task_id"], [])
        assert task["attempts"] == len(outcomes)
        adopted = moves[-1]["cause"] == "found complete on disk"
        wanted = ["interrupted"] * len(outcomes) if adopted else ["interrupted"] * (len(outcomes) - 1) + ["completed"]
        assert outcomes == wanted
        assert told[task["task_id"]] == ["started"] * len(outcomes) + ["completed"]
    ids = [envelope.id for envelope, _ in facility.outbox()]
    assert len(ids) == len(set(ids))
    ended = facility.rows("SELECT subject_id FROM history WHERE subject = 'movie' AND to_state = 'done'")
    assert len(ended) == len({row["subject_id"] for row in ended}) == movies


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        is_table = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if is_table else value
    return {key: value for key, value in merged.items() if value is not None}


def _as_toml(table: Mapping[str, Any], place: str = "") -> list[str]:
    """Write nested tables as TOML; its plain values are written as JSON's are."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items() if not _is_tables(value)]
    for key, value in table.items():
        name = f"{place}.{key}" if place else key
        if isinstance(value, Mapping):
            lines += [f"[{name}]", *_as_toml(value, name)]
        elif _is_tables(value):
            for entry in value:
                lines += [f"[[{name}]]", *_as_toml(entry, name)]
    return lines


def _is_tables(value: Any) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list) and bool(value) and all(isinstance(entry, Mapping) for entry in value)
    )
