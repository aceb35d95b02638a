"""A whole engine on small fakes: real store, real files, stages of a few lines that do as they are told."""

import gc
import threading
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import anyio
import msgspec
import numpy as np

from daemon.config.acquisition import AcquisitionSettings
from daemon.domain.movie import FileIdentity, LedgerEntry, MovieHeader
from daemon.domain.states import MovieState, TaskState
from daemon.engine.engine import Engine, EngineSettings
from daemon.formats.mrc_writer import write_mrc
from daemon.messages.events import TaskRef
from daemon.messages.subjects import Subjects
from daemon.pipeline.gate import GATES, Gate
from daemon.pipeline.graph import AnyStage
from daemon.pipeline.stage import StageParams
from daemon.sessions.importing import ImportedSession, ImportRequest, ImportRules, import_session
from daemon.sessions.intake import SessionIntake
from daemon.store import ledger, tasks
from daemon.store.rows import TaskRow
from daemon.store.store import Store
from tests.engine.fakes import FAKES, FakeParams, FakeStage, Script

SUBJECTS = Subjects()
START_S = 1_700_000_000.0
LIMIT_S = 120.0
"""After which something hangs, also on a machine with much else to do: processes of their own take their time."""


@dataclass
class StepClock:
    """Time that moves only when told."""

    now_s: float = START_S

    def __call__(self) -> float:
        return self.now_s


class QuietWitness:
    """Hears, and keeps what it heard."""

    def __init__(self) -> None:
        self.begun: list[TaskRef] = []
        self.ended: list[str] = []
        self.heard: list[tuple[str, int, int, str]] = []
        self.lines: list[str] = []

    def begin(self, ref: TaskRef) -> None:
        self.begun.append(ref)

    def end(self, task_id: str) -> None:
        self.ended.append(task_id)

    def progress(self, task_id: str, current: int, total: int, unit: str) -> None:
        self.heard.append((task_id, current, total, unit))

    def log_line(self, task_id: str, level: str, message: str) -> None:
        self.lines.append(f"{level}: {message}")


@dataclass
class MovieMeter:
    """Counts decoded movies: how often each was read, and how many of their bytes are alive."""

    reads: Counter[str] = field(default_factory=Counter)
    alive_bytes: int = 0
    peak_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wrap(self, read: Callable[..., Any]) -> Callable[..., Any]:
        """Return `read_movie` with a count."""

        def counted(header: MovieHeader, **more: Any) -> Any:
            movie = read(header, **more)
            with self._lock:
                self.reads[header.path.name] += 1
                self.alive_bytes += movie.nbytes
                self.peak_bytes = max(self.peak_bytes, self.alive_bytes)
            weakref.finalize(movie, self._gone, movie.nbytes)
            return movie

        return counted

    def _gone(self, size_bytes: int) -> None:
        with self._lock:
            self.alive_bytes -= size_bytes


def movie_pixels(seed: int, shape_tyx: tuple[int, int, int] = (3, 8, 10)) -> Any:
    """Counts that differ from movie to movie."""
    return np.random.default_rng(seed).integers(0, 9, shape_tyx).astype(np.int16)


def identify(path: Path) -> FileIdentity:
    """How a file stands now."""
    status = path.stat()
    return FileIdentity(path, status.st_size, status.st_mtime_ns)


class Workshop:
    """Store, session, intake and engine in a temporary folder. A second one on the same folder is the next daemon."""

    def __init__(
        self,
        folder: Path,
        *,
        stages: Sequence[type[FakeStage]] = FAKES,
        asked: Sequence[str] | None = None,
        params: FakeParams | None = None,
        declared: Sequence[tuple[AnyStage, StageParams]] | None = None,
        script: Script | None = None,
        clock: StepClock | None = None,
        gates: Sequence[Gate] = GATES,
        limits: Mapping[str, float | None] = MappingProxyType({}),
        on_hung: Callable[[], None] = lambda: None,
        **settings: Any,
    ) -> None:
        self.folder = folder
        self.raw = folder / "gpfs" / "session1"
        self.home = folder / "home"
        self.frames = self.raw / "frames"
        self.frames.mkdir(parents=True, exist_ok=True)
        self.script = script or Script()
        self.clock = clock or StepClock()
        self.witness = QuietWitness()
        self.told = 0
        # `declared` are real stages with their parameters, in place of fakes.
        chosen = declared or [(stage(self.script), params or FakeParams()) for stage in stages]
        kinds = [stage for stage, _ in chosen]
        self._kinds: tuple[AnyStage | type[AnyStage], ...] = (*FAKES, *kinds)
        self.store = Store.open(
            folder / "state" / "store.duckdb", metrics={stage.name: stage.Metrics for stage in kinds}, clock=self.clock
        )
        self.asked = tuple(asked) if asked is not None else tuple(stage.name for stage in kinds)
        plain = EngineSettings(home=self.home, device="cpu", gates=limits)
        self.engine = Engine(
            self.store,
            chosen,
            EngineSettings(**{**vars(plain), **settings}),
            SUBJECTS,
            self.witness,
            on_event=self._tell,
            gates=gates,
            on_hung=on_hung,
            clock_s=self.clock,
        )
        self.scheduler = self.engine.scheduler
        self.imported: ImportedSession | None = None
        self._intake: SessionIntake | None = None

    def _tell(self) -> None:
        self.told += 1

    def close(self) -> None:
        """End threads and let go of the store."""
        self.engine.close()
        self.store.close()

    @property
    def intake(self) -> SessionIntake:
        assert self._intake is not None
        return self._intake

    @property
    def session_home(self) -> Path:
        assert self.imported is not None
        return self.imported.book.session.home

    @property
    def session_id(self) -> str:
        assert self.imported is not None
        return self.imported.book.session.session_id

    async def open_session(self, acquisition: AcquisitionSettings | None = None) -> None:
        """Import the session and make its intake."""
        self.imported = await import_session(
            self.store,
            SUBJECTS,
            ImportRequest(self.raw, acquisition=acquisition, stages=self.asked),
            ImportRules(
                roots=[self.folder],
                home=self.home,
                umask=0o027,
                group=None,
                categories=tuple(dict.fromkeys(stage.category for stage in self._kinds)),
                graph=self.engine.graph,
                deciding=self.engine.recorder.deciding,
            ),
            book=None if self.imported is None else self.imported.book,
        )
        for movie in self.imported.reopened.movies:
            self.scheduler.offer_anew(movie.movie_id, movie.last_write_s)
        self._intake = SessionIntake(
            self.store,
            self.imported.book,
            self.imported.folders,
            SUBJECTS,
            link_frames=False,
            on_complete=self.scheduler.offer,
            on_withdrawn=self.scheduler.cancel,
            on_event=self._tell,
            slugs={stage.name: stage.slug for stage in self._kinds},
            clock_s=self.clock,
        )

    def write_movie(self, name: str, seed: int = 1, shape_tyx: tuple[int, int, int] = (3, 8, 10)) -> Path:
        """Write a movie into the raw directory."""
        path = self.frames / f"{name}.mrc"
        write_mrc(path, movie_pixels(seed, shape_tyx), pixel_size_ang=1.0)
        return path

    async def prove(self, *paths: Path) -> None:
        """Let movies be seen and proven whole."""
        await self.intake.seen([identify(path) for path in paths])
        for path in paths:
            await self.intake.complete(identify(path), None, "whole")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the scheduler for the block."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.scheduler.run)
            try:
                yield
            finally:
                group.cancel_scope.cancel()

    async def until_idle(self) -> None:
        """Return when nothing waits or runs; retry times are reached by setting the clock."""
        with anyio.fail_after(LIMIT_S):
            while not self.scheduler.is_idle:
                since = self.scheduler.changes
                now = self.scheduler.statistics()
                if now.next_retry_at_s is not None and not (now.waiting or now.in_flight):
                    self.clock.now_s = max(self.clock.now_s, now.next_retry_at_s)
                    self.scheduler.look_again()
                    await anyio.lowlevel.checkpoint()
                else:
                    await self.scheduler.wait_for_change(since)

    async def until_delayed(self) -> None:
        """Return when a movie waits for its retry time."""
        with anyio.fail_after(LIMIT_S):
            while not self.scheduler.statistics().delayed:
                await self.scheduler.wait_for_change(self.scheduler.changes)

    async def process(self) -> None:
        """Run the scheduler until it is idle."""
        async with self.running():
            await self.until_idle()

    async def movie(self, path: Path) -> LedgerEntry:
        """The newest revision of a file."""
        entries = [entry for entry in await ledger.movies(self.store, self.session_id) if entry.identity.path == path]
        return max(entries, key=lambda entry: entry.revision)

    async def tasks_of(self, path: Path) -> dict[str, TaskRow]:
        """Tasks of a file's newest revision by stage."""
        movie = await self.movie(path)
        return {task.stage: task for task in await tasks.tasks(self.store, movie_id=movie.movie_id)}

    async def states_of(self, path: Path) -> tuple[MovieState, dict[str, TaskState]]:
        """Where a file's newest revision and its tasks stand."""
        found = {stage: task.state for stage, task in (await self.tasks_of(path)).items()}
        return (await self.movie(path)).state, found

    async def event_kinds(self) -> list[str]:
        """Type and, for steps, the step of every event in the outbox, in order."""

        def read(connection: Any) -> list[tuple[bytes]]:
            rows: list[tuple[bytes]] = connection.execute("SELECT body FROM event ORDER BY seq").fetchall()
            return rows

        kinds = []
        for (body,) in await self.store.read(read):
            envelope = msgspec.json.decode(body)
            step = envelope["data"].get("step")
            kind = envelope["type"].removeprefix("magellon.")
            kinds.append(kind if step is None else f"{kind.removeprefix('step.')} {step}")
        return kinds

    def outputs(self) -> dict[str, bytes]:
        """Every file of the session home, records included."""
        gc.collect()
        return {
            path.relative_to(self.session_home).as_posix(): path.read_bytes()
            for path in sorted(self.session_home.rglob("*"))
            if path.is_file()
        }
