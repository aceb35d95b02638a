"""Receives sessions: found under a root, named in the configuration or by a command, each imported and then watched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import structlog
from anyio.abc import TaskGroup

from daemon.bus.service import Bus
from daemon.config.schema import Settings
from daemon.domain.identity import stable_id
from daemon.domain.movie import FileIdentity
from daemon.domain.states import MovieState, SessionState
from daemon.engine.engine import Engine
from daemon.errors import CommandRefused, ElcanoError, ImportFailed, StoreUnavailable
from daemon.formats.atomic import remove_leftovers
from daemon.messages import commands
from daemon.sessions.importing import ImportedSession, ImportRequest, ImportRules, import_session
from daemon.sessions.intake import SessionIntake
from daemon.stages import MOVIE_STAGES
from daemon.store import ledger, sessions
from daemon.store.changes import PutNotification
from daemon.store.store import Store
from daemon.watchers.directory import PollSettings
from daemon.watchers.discovery import Discoverer, WatchSettings
from daemon.watchers.found import KnownFile, WatchProblem
from daemon.watchers.session_finder import SessionFinder, watch_sessions
from daemon.watchers.session_watch import WatchPlan, hurried, watch_session
from daemon.watchers.settle import SettleRule

log = structlog.get_logger(__name__)

_LOOKS_TO_BELIEVE = 2


@dataclass(frozen=True)
class WatchedSession:
    """One open session and its eyes."""

    imported: ImportedSession
    discoverer: Discoverer


class Reception:
    """The sessions of one daemon and their watchers; `open` begins, all else follows from what is found or asked."""

    def __init__(self, settings: Settings, store: Store, engine: Engine, bus: Bus, *, once: bool) -> None:
        """`once` settles files at the shortest waits, for a directory that nobody writes to."""
        self._settings = settings
        self._store = store
        self._engine = engine
        self._bus = bus
        self._once = once
        self._watched: dict[Path, WatchedSession] = {}
        self._refused: dict[Path, str] = {}
        self._looked = anyio.Event()
        self._looks = 0
        self._importing = anyio.Lock()
        self._group: TaskGroup | None = None

    async def open(self, group: TaskGroup) -> None:
        """Watch again what was open and what the configuration names, then look for new sessions, in `group`."""
        self._group = group
        await self._restore_sessions()
        group.start_soon(self._find_sessions)

    async def wait_looked(self) -> None:
        """Return when the watched roots were looked at often enough to have found every session there."""
        await self._looked.wait()

    @property
    def is_settled(self) -> bool:
        """Whether every movie that is there has been judged."""
        return all(watched.discoverer.is_settled for watched in self._watched.values())

    @property
    def refused_sessions(self) -> Mapping[Path, str]:
        """Directories that could not be imported, and why."""
        return self._refused

    def waiting_movies(self) -> list[dict[str, Any]]:
        """Return every movie that is not judged yet, and why; and every session that could not be imported."""
        waiting = [
            {"session": watched.imported.book.session.name, "path": str(movie.path), "reason": movie.reason}
            for watched in self._watched.values()
            for movie in watched.discoverer.waiting()
        ]
        refused = [{"session": path.name, "path": str(path), "reason": why} for path, why in self._refused.items()]
        return waiting + refused

    async def import_directory(self, request: ImportRequest) -> ImportedSession:
        """Import a session and watch it; importing again renews what is known of it, and watching goes on."""
        async with self._importing:
            open_already = self._watched.get(request.directory.resolve())
            book = None if open_already is None else open_already.imported.book
            imported = await import_session(self._store, self._bus.subjects, request, self._import_rules(), book=book)
            self._refused.pop(imported.book.session.raw_directory, None)
            if open_already is None:
                await self._begin_watching(imported)
            return imported

    async def import_by_command(self, command: commands.SessionImport, asked_by: str) -> dict[str, Any]:
        """Import what a command names. Raises CommandRefused for a path that is not absolute."""
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

    def take_hint(self, path: Path) -> None:
        """Look at a path that someone says may be worth it; paths of no open session are not for us."""
        if not any(watched.discoverer.hint(path) for watched in self._watched.values()):
            log.info("hint about a path of no open session", path=str(path))

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

    async def _begin_watching(self, imported: ImportedSession) -> None:
        session = imported.book.session
        await anyio.to_thread.run_sync(_sweep_home, imported.folders.home)
        intake = SessionIntake(
            self._store,
            imported.book,
            imported.folders,
            self._bus.subjects,
            link_frames=self._settings.output.link_frames,
            on_complete=self._engine.scheduler.offer,
            on_withdrawn=self._engine.scheduler.cancel,
            on_event=self._bus.publisher.wake,
            slugs={stage.name: stage.slug for stage in MOVIE_STAGES},
        )
        known = await ledger.known_files(self._store, session.session_id)
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
        self._watched[session.raw_directory] = WatchedSession(imported, discoverer)
        assert self._group is not None, "sessions are received once the reception is open"
        self._group.start_soon(discoverer.run)

    def _request(self, directory: Path, *, name: str | None = None, asked_by: str = "") -> ImportRequest:
        """Return the request for a directory, with what a `[[session]]` entry says about it."""
        real = directory.resolve()
        entry = next((entry for entry in self._settings.sessions if entry.directory.resolve() == real), None)
        stages = self._engine.graph.names
        if entry is None:
            return ImportRequest(directory, name, None, stages, asked_by)
        chosen = stages if entry.pipeline is None else tuple(stage for stage in stages if stage in entry.pipeline)
        return ImportRequest(directory, name or entry.name, entry.acquisition, chosen, asked_by)

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
            await self._store.commit(
                PutNotification(notification, "error", "session_not_imported", error.message, error.hint)
            )

    async def _restore_sessions(self) -> None:
        wanted = {entry.directory.resolve(): self._request(entry.directory) for entry in self._settings.sessions}
        for row in await sessions.sessions(self._store):
            if row.session.state is SessionState.OPEN or row.session.raw_directory in wanted:
                request = self._request(row.session.raw_directory, name=row.session.name)
                wanted[row.session.raw_directory] = request
        for request in wanted.values():
            await self._try_import(request)

    async def _find_sessions(self) -> None:
        watched_roots = self._settings.watched_roots
        finder = SessionFinder(watched_roots, allowed_roots=self._settings.allowed_roots)
        if not any(root.is_dir() for root in watched_roots):
            log.warning("no watched root is there yet", roots=[str(root) for root in watched_roots])
        await watch_sessions(finder, self, poll_s=self._settings.watch.poll_min_s, on_look=self._note_look)

    def _note_look(self) -> None:
        """Count looks for sessions: a manifest is believed when two looks find it the same."""
        self._looks += 1
        if self._looks >= _LOOKS_TO_BELIEVE:
            self._looked.set()

    def _import_rules(self) -> ImportRules:
        return ImportRules(
            roots=self._settings.allowed_roots,
            home=self._settings.paths.home,
            umask=self._settings.output.umask_bits,
            group=self._settings.output.group,
            categories=tuple(dict.fromkeys(stage.category for stage in self._engine.graph.stages)),
        )

    def _watch_plan(self) -> WatchPlan:
        watch = self._settings.watch
        rule = SettleRule(**watch.settle.model_dump(), look_every_s=watch.poll_min_s)
        return WatchPlan(
            rule=hurried(rule) if self._once else rule,
            watch=WatchSettings(
                poll_min_s=watch.poll_min_s, poll_max_s=watch.poll_max_s, kernel_hints=watch.hints and not self._once
            ),
            poll=PollSettings(rescan_s=watch.rescan_s),
            pattern=watch.pattern,
            allowed_roots=self._settings.allowed_roots,
            forbidden=(self._settings.paths.home,),
        )


def _sweep_home(home: Path) -> None:
    """Remove what a dead process left half written."""
    for folder in (home, *(path for path in home.rglob("*") if path.is_dir() and not path.is_symlink())):
        remove_leftovers(folder)
