"""The composition root: builds the parts of a daemon from its settings and runs them in one task group."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio
import structlog
from anyio.abc import TaskGroup

from daemon.bus.service import Bus
from daemon.bus.settings import BusSettings
from daemon.bus.signals import SignalChannel
from daemon.config.schema import Settings
from daemon.domain.identity import stable_id
from daemon.domain.movie import FileIdentity
from daemon.domain.states import MovieState, SessionState
from daemon.engine.answers import Answers
from daemon.engine.beat import NodeBeat
from daemon.engine.engine import Engine, EngineSettings
from daemon.engine.housekeeping import Housekeeping
from daemon.engine.jobs import JobBulletin
from daemon.engine.recovery import recover
from daemon.engine.witness import TaskWitness
from daemon.errors import CommandRefused, ConfigurationInvalid, ElcanoError, ImportFailed, Problem, StoreUnavailable
from daemon.formats.atomic import remove_leftovers
from daemon.messages import commands
from daemon.pipeline.stage import StageParams
from daemon.sessions.importing import ImportedSession, ImportRequest, ImportRules, import_session
from daemon.sessions.intake import SessionIntake
from daemon.stages import MOVIE_STAGES
from daemon.store import ledger, outbox, sessions
from daemon.store.changes import PutNotification
from daemon.store.store import Store
from daemon.watchers.directory import PollSettings
from daemon.watchers.discovery import Discoverer, WatchSettings
from daemon.watchers.found import KnownFile, WatchProblem
from daemon.watchers.session_finder import SessionFinder, watch_sessions
from daemon.watchers.session_watch import WatchPlan, hurried, selects, watch_session
from daemon.watchers.settle import SettleRule

log = structlog.get_logger(__name__)

_GIB = 2**30
_LOOKS_TO_BELIEVE = 2


def stage_parameters() -> Mapping[str, type[StageParams]]:
    """Return the parameter model of every stage, for the configuration."""
    return {stage.name: stage.Params for stage in MOVIE_STAGES}


@dataclass(frozen=True)
class WatchedSession:
    """One open session and its eyes."""

    imported: ImportedSession
    discoverer: Discoverer


@dataclass(frozen=True)
class _StoreOutbox:
    """The outbox as the publisher wants it."""

    store: Store

    async def unpublished(self, limit: int) -> Sequence[Any]:
        return await outbox.unpublished(self.store, limit)

    async def mark_published(self, seqs: Sequence[int]) -> None:
        await outbox.mark_published(self.store, seqs)


class Daemon:
    """All parts of one running daemon. Make it, `run` it, `close` it."""

    def __init__(self, settings: Settings, *, once: bool = False) -> None:
        """Raises StoreUnavailable when another daemon owns the state, ConfigurationInvalid for what cannot be built."""
        self.settings = settings
        self._once = once
        os.umask(settings.output.umask_bits)
        settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.store = Store.open(settings.store_path, metrics={stage.name: stage.Metrics for stage in MOVIE_STAGES})
        bus_settings = BusSettings.of(settings.state, settings.bus)
        subjects = bus_settings.subjects
        signals = SignalChannel()
        self.witness = TaskWitness(
            subjects,
            signals,
        )
        try:
            self.engine = Engine(
                self.store,
                [
                    (stage, stage.Params.model_validate(settings.stages[stage.name].params.model_dump()))
                    for stage in MOVIE_STAGES
                    if settings.stages[stage.name].enabled
                ],
                _engine_settings(settings),
                subjects,
                self.witness,
                on_event=self._tell,
            )
        except ValueError as error:
            self.store.close()
            problem = Problem("stages, compute", str(error))
            raise ConfigurationInvalid(str(settings.source or "configuration"), [problem]) from error
        answers = Answers(
            self.store,
            self.engine,
            bus_status=lambda: asdict(self.bus.status()),
            watching=self.waiting_movies,
            running=lambda: [asdict(progress) for progress in self.witness.running()],
            selects=lambda session: selects(session.acquisition.movie_pattern or settings.watch.pattern),
        )
        beat = NodeBeat(
            self.store, self.engine.graph, self.engine.scheduler, settings.bus.instance, self.engine.compute.device
        )
        self.bus = Bus(
            bus_settings,
            outbox=_StoreOutbox(self.store),
            handlers={**answers.handlers(), "session.import": self._import_by_command},
            look=beat.look,
            signals=signals,
            on_hint=self._take_hint,
        )
        self.housekeeping = Housekeeping(
            self.store, self.bus, settings.store.snapshot_interval_s, settings.lifecycle.idle_close_s
        )
        self._subjects = subjects
        self._watched: dict[Path, WatchedSession] = {}
        self._refused: dict[Path, str] = {}
        self._looked_for_sessions = anyio.Event()
        self._looks = 0
        self._importing = anyio.Lock()
        self._group: TaskGroup | None = None

    async def run(self) -> None:
        """Serve until cancelled; with `once`, return when everything there is has been processed."""
        async with anyio.create_task_group() as group:
            self._group = group
            group.start_soon(self.bus.run)
            recovered = await recover(self.store, self.engine.scheduler.offer)
            if recovered.put_back or recovered.given_up:
                log.warning("picked up after an interruption", **asdict(recovered))
            await self._restore_sessions()
            group.start_soon(self.engine.scheduler.run)
            group.start_soon(self._find_sessions)
            group.start_soon(self.housekeeping.run)
            group.start_soon(JobBulletin(self.store, self.engine.graph, self.bus).run)
            if self._once:
                await self._wait_until_done()
                group.cancel_scope.cancel()
        self._group = None

    def _tell(self) -> None:
        """Events were committed: publish them."""
        self.bus.publisher.wake()

    def close(self) -> None:
        """Let go of threads and files. Nothing depends on it: a killed daemon resumes as well."""
        self.engine.close()
        self.store.close()

    def waiting_movies(self) -> list[dict[str, Any]]:
        """Return every movie that is not judged yet, and why; and every session that could not be imported."""
        waiting = [
            {"session": watched.imported.book.session.name, "path": str(movie.path), "reason": movie.reason}
            for watched in self._watched.values()
            for movie in watched.discoverer.waiting()
        ]
        refused = [{"session": path.name, "path": str(path), "reason": why} for path, why in self._refused.items()]
        return waiting + refused

    @property
    def refused_sessions(self) -> Mapping[Path, str]:
        """Directories that could not be imported, and why."""
        return self._refused

    async def import_directory(self, request: ImportRequest) -> ImportedSession:
        """Import a session and watch it; importing again renews what is known of it, and watching goes on."""
        async with self._importing:
            open_already = self._watched.get(request.directory.resolve())
            book = None if open_already is None else open_already.imported.book
            imported = await import_session(self.store, self._subjects, request, self._import_rules(), book=book)
            self._refused.pop(imported.book.session.raw_directory, None)
            if open_already is None:
                await self._begin_watching(imported)
            return imported

    async def _begin_watching(self, imported: ImportedSession) -> None:
        session = imported.book.session
        await anyio.to_thread.run_sync(_sweep_home, imported.folders.home)
        intake = SessionIntake(
            self.store,
            imported.book,
            imported.folders,
            self._subjects,
            link_frames=self.settings.output.link_frames,
            on_complete=self.engine.scheduler.offer,
            on_withdrawn=self.engine.scheduler.cancel,
            on_event=self._tell,
            slugs={stage.name: stage.slug for stage in MOVIE_STAGES},
        )
        known = await ledger.known_files(self.store, session.session_id)
        discoverer = watch_session(
            self._watch_plan(),
            session.name,
            session.raw_directory,
            intake,
            [
                KnownFile(
                    FileIdentity(path, file.size_bytes, file.mtime_ns),
                    settled=file.state not in {MovieState.SEEN, MovieState.SETTLING},
                )
                for path, file in known.items()
            ],
            expected_frames=imported.book.expected_frames,
            pattern=session.acquisition.movie_pattern,
        )
        watched = WatchedSession(imported, discoverer)
        self._watched[session.raw_directory] = watched
        assert self._group is not None
        self._group.start_soon(discoverer.run)

    async def _import_by_command(self, command: commands.SessionImport, asked_by: str) -> dict[str, Any]:
        directory = Path(command.directory)
        if not directory.is_absolute():
            raise CommandRefused(
                f"{directory} is not an absolute path.", hint="Name it from the root, as the daemon sees it."
            )
        imported = await self.import_directory(self._request(directory, name=command.name, asked_by=asked_by))
        session = imported.book.session
        return {
            "session": session.name,
            "session_id": session.session_id,
            "job_id": imported.book.job_id,
            "home": str(session.home),
        }

    def _request(self, directory: Path, *, name: str | None = None, asked_by: str = "") -> ImportRequest:
        """Return the request for a directory, with what a `[[session]]` entry says about it."""
        real = directory.resolve()
        entry = next((entry for entry in self.settings.sessions if entry.directory.resolve() == real), None)
        stages = self.engine.graph.names
        if entry is None:
            return ImportRequest(directory, name, None, stages, asked_by)
        chosen = stages if entry.pipeline is None else tuple(stage for stage in stages if stage in entry.pipeline)
        return ImportRequest(directory, name or entry.name, entry.acquisition, chosen, asked_by)

    def _take_hint(self, path: Path) -> None:
        """Look at a path that someone says may be worth it; paths of no open session are not for us."""
        if not any(watched.discoverer.hint(path) for watched in self._watched.values()):
            log.info("hint about a path of no open session", path=str(path))

    async def _try_import(self, request: ImportRequest) -> None:
        """Import; a session that cannot be is told and remembered, and does not stop the others."""
        try:
            await self.import_directory(request)
        except StoreUnavailable:
            raise
        except Exception as unexpected:
            if not isinstance(unexpected, ElcanoError):
                log.exception("import failed", directory=str(request.directory))
            error = unexpected if isinstance(unexpected, ElcanoError) else ImportFailed(request.directory, unexpected)
            directory = request.directory.resolve()
            if self._refused.get(directory) == str(error):
                return
            self._refused[directory] = str(error)
            log.error("session not imported", directory=str(request.directory), reason=str(error))  # noqa: TRY400
            notification = stable_id("not_imported", str(directory))
            await self.store.commit(
                PutNotification(notification, "error", "session_not_imported", error.message, error.hint)
            )

    async def _restore_sessions(self) -> None:
        """Watch again what was open, and what the configuration names."""
        wanted = {entry.directory.resolve(): self._request(entry.directory) for entry in self.settings.sessions}
        for row in await sessions.sessions(self.store):
            if row.session.state is SessionState.OPEN or row.session.raw_directory in wanted:
                request = self._request(row.session.raw_directory, name=row.session.name)
                wanted[row.session.raw_directory] = request
        for request in wanted.values():
            await self._try_import(request)

    async def _find_sessions(self) -> None:
        roots = [root for root in self.settings.watched_roots if root.is_dir()]
        finder = SessionFinder(self.settings.watched_roots, allowed_roots=self.settings.allowed_roots)
        if not roots:
            log.warning("no watched root is there yet", roots=[str(root) for root in self.settings.watched_roots])
        await watch_sessions(finder, self, poll_s=self.settings.watch.poll_min_s, on_look=self._note_look)

    def _note_look(self) -> None:
        """Count looks for sessions: a manifest is believed when two looks find it the same."""
        self._looks += 1
        if self._looks >= _LOOKS_TO_BELIEVE:
            self._looked_for_sessions.set()

    async def session_found(self, manifest: FileIdentity) -> None:
        """Take a session directory that appeared under a watched root."""
        directory = manifest.path.parent
        if directory.resolve() not in self._watched:
            await self._try_import(self._request(directory))

    async def session_updated(self, manifest: FileIdentity) -> None:
        """Take a manifest that was written anew."""
        await self._try_import(self._request(manifest.path.parent))

    async def troubled(self, problems: Sequence[WatchProblem]) -> None:
        """Say what keeps roots from being watched."""
        for problem in problems:
            log.warning("cannot watch", path=str(problem.path), reason=problem.what)

    async def recovered(self, paths: Sequence[Path]) -> None:
        """Say which roots can be watched again."""
        for path in paths:
            log.info("watched again", path=str(path))

    async def _wait_until_done(self) -> None:
        """Return when all sessions were looked for, all movies judged, all tasks done and all events told."""
        await self._looked_for_sessions.wait()
        while not (self.engine.scheduler.is_idle and all(w.discoverer.is_settled for w in self._watched.values())):
            with anyio.move_on_after(0.2):
                await self.engine.scheduler.wait_for_change()
        await self.housekeeping.write_snapshots()
        # What is not told now, the next daemon tells: without NATS nobody needs to wait for long.
        with anyio.move_on_after(10 if self.bus.status().connected else 2):
            await self.bus.publisher.wait_drained()

    def _import_rules(self) -> ImportRules:
        return ImportRules(
            roots=self.settings.allowed_roots,
            home=self.settings.paths.home,
            umask=self.settings.output.umask_bits,
            group=self.settings.output.group,
            categories=tuple(dict.fromkeys(stage.category for stage in self.engine.graph.stages)),
        )

    def _watch_plan(self) -> WatchPlan:
        watch = self.settings.watch
        settle = watch.settle
        rule = SettleRule(**settle.model_dump(), look_every_s=watch.poll_min_s)
        return WatchPlan(
            rule=hurried(rule) if self._once else rule,
            watch=WatchSettings(
                poll_min_s=watch.poll_min_s, poll_max_s=watch.poll_max_s, kernel_hints=watch.hints and not self._once
            ),
            poll=PollSettings(rescan_s=watch.rescan_s),
            pattern=watch.pattern,
            allowed_roots=self.settings.allowed_roots,
            forbidden=(self.settings.paths.home,),
        )


def _engine_settings(settings: Settings) -> EngineSettings:
    compute = settings.compute
    return EngineSettings(
        home=settings.paths.home,
        device=compute.device,
        threads=compute.thread_count(),
        byte_budget_bytes=int(compute.byte_budget_gib * _GIB),
        readers=compute.readers,
        writers=compute.writers,
        order=settings.watch.order,
        group=settings.output.group,
        disk_reserve_bytes=int(settings.limits.disk_reserve_gib * _GIB),
    )


def _sweep_home(home: Path) -> None:
    """Remove what a dead process left half written."""
    for folder in (home, *(path for path in home.rglob("*") if path.is_dir() and not path.is_symlink())):
        remove_leftovers(folder)
