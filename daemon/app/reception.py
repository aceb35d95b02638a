"""Receives sessions: found under a root, named in the configuration or by a command, each imported and then watched."""

import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import structlog
from anyio.abc import TaskGroup

from daemon.app.directories import Directories, sweep_home
from daemon.app.parameters import stage_parameters
from daemon.app.refusals import Refusals
from daemon.app.rules import import_rules, watch_plan
from daemon.app.watched import WatchedSession, WatchedSessions
from daemon.bus.service import Bus
from daemon.config.loader import load_settings
from daemon.config.schema import SessionEntry, Settings
from daemon.domain.identity import stable_id
from daemon.domain.movie import FileIdentity
from daemon.domain.session import Session
from daemon.domain.states import MovieState, SessionState
from daemon.engine.engine import Engine
from daemon.errors import (
    CommandRefused,
    ConfigurationInvalid,
    ElcanoError,
    FileUnanswered,
    ImportFailed,
    StoreUnavailable,
)
from daemon.messages import commands
from daemon.sessions.importing import LIMIT_S, ImportedSession, ImportRequest, import_session
from daemon.sessions.intake import SessionIntake
from daemon.sessions.mount_proof import refuse_other_session
from daemon.stages import MOVIE_STAGES
from daemon.store import ledger, sessions
from daemon.store.changes import PutNotification
from daemon.store.store import Store
from daemon.watchers.found import KnownFile, WatchProblem
from daemon.watchers.passed_over import outside_sessions
from daemon.watchers.session_finder import SessionFinder, watch_sessions
from daemon.watchers.session_watch import watch_session
from daemon.watchers.settle import UNREADABLE

log = structlog.get_logger(__name__)

_LOOKS_TO_BELIEVE = 2


class Reception:
    """The sessions of one daemon and their watchers; `open` begins, all else follows from what is found or asked."""

    def __init__(
        self, settings: Settings, store: Store, engine: Engine, bus: Bus, *, once: bool, limit_s: float = LIMIT_S
    ) -> None:
        """`once` settles files at the shortest waits; `limit_s` is how long a directory may take to answer."""
        self._settings = settings
        self._store = store
        self._engine = engine
        self._bus = bus
        self._once = once
        self._directories = Directories(limit_s)
        self.watched = WatchedSessions()
        self._refused = Refusals()
        self._known: set[Path] = set()
        self._awaited: set[Path] = set()
        """Directories that do not answer: each is imported when it does."""
        self._passed_over: dict[Path, Path] = {}
        """Folders told of, and where they really are."""
        self._finder = SessionFinder(
            settings.watched_roots,
            allowed_roots=settings.allowed_roots,
            pattern=settings.watch.pattern,
        )
        self._looked = anyio.Event()
        self._looks = 0
        self._importing: defaultdict[Path, anyio.Lock] = defaultdict(anyio.Lock)
        self._under_way: dict[Path, Session] = {}
        self._busy = 0
        """What still goes on beside: sweeps of homes, and looks for another file of a quarantined movie's exposure."""
        self._set_aside: dict[str, list[Path]] = {}
        """Movies of sessions not watched yet that were quarantined meanwhile, by session id."""
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
        return not self._busy and self.watched.is_settled

    @property
    def refused_sessions(self) -> Mapping[Path, str]:
        """Directories that could not be imported, and why."""
        return self._refused

    def passed_over_folders(self) -> list[str]:
        """Return the folders under the watched roots that hold movies and belong to no session."""
        return [str(folder) for folder in self._outside_sessions(self._finder.passed_over)]

    @property
    def watch_problems(self) -> Mapping[Path, str]:
        """Places that cannot be watched, and why: movies in them are not known."""
        return {**self._finder.problems, **self.watched.problems}

    @property
    def open_sessions(self) -> dict[str, str]:
        """Ids and names of the sessions that are watched."""
        return self.watched.names

    def take_entries(self, settings: Settings, entries: Sequence[SessionEntry]) -> None:
        """Go on with other settings and import these `[[session]]` entries; ones that are open are renewed."""
        self._settings = settings
        assert self._group is not None, "sessions are received once the reception is open"
        for entry in entries:
            self._group.start_soon(self._try_directory, entry.directory)

    async def import_directory(self, request: ImportRequest) -> ImportedSession:
        """Import a session and watch it; importing again renews what is known of it, and watching goes on."""
        await self._directories.look(request.directory)  # here, where it holds up no other import
        real = await self._directories.real_path(request.directory)
        async with self._importing[real]:
            open_already = self.watched.get(real)
            book = None if open_already is None else open_already.imported.book
            rules = import_rules(self._settings, self._engine, self._directories.calls, self._under_way)
            imported = await import_session(self._store, self._bus.subjects, request, rules, book=book)
            self._refused.pop(imported.book.session.raw_directory, None)
            self._refused.pop(request.directory, None)
            self._known.add(imported.book.session.raw_directory)
            if open_already is None:
                await self._begin_watching(imported)
            for movie in imported.reopened.movies:
                self._engine.scheduler.offer_anew(movie.movie_id, movie.last_write_s)
            self._bus.publisher.wake()
            self._go_on_beside(self.watched[imported.book.session.raw_directory].intake.look_back, real)
            return imported

    async def import_by_command(self, command: commands.SessionImport, asked_by: str) -> dict[str, Any]:
        """Import what a command names, as the configuration says it now.

        Raises CommandRefused for a path that is not absolute, MountMismatch where the asker sees another session
        there, and ConfigurationInvalid.
        """
        directory = Path(command.directory)
        if not directory.is_absolute():
            raise CommandRefused(
                f"{directory} is not an absolute path.", hint="Name it from the root, as the daemon sees it."
            )
        await self._read_entries()
        if command.mark is not None:
            roots = self._settings.allowed_roots
            prove = partial(refuse_other_session, directory, roots, command.mark)
            await self._directories.calls.call(directory, prove)
        imported = await self.import_directory(await self._request(directory, name=command.name, asked_by=asked_by))
        session = imported.book.session
        return {
            "session": session.name,
            "session_id": session.session_id,
            "job_id": imported.book.job_id,
            "home": str(session.home),
            "unknown": list(imported.unknown),
            "tasks_again": imported.reopened.tasks,
        }

    async def _read_entries(self) -> None:
        """Take the `[[session]]` entries as they stand in the file now. Raises ConfigurationInvalid, FileUnanswered."""
        source = self._settings.source
        if source is not None:
            read = partial(load_settings, source, stage_parameters(), os.environ)
            fresh = await self._directories.calls.call(source, read)
            self._settings = replace(self._settings, sessions=fresh.sessions)

    async def _try_read_entries(self) -> None:
        """Likewise, where nobody would hear of a refusal: with a wrong file the entries stay as they were."""
        try:
            await self._read_entries()
        except (ConfigurationInvalid, FileUnanswered) as error:
            log.warning("configuration not read again; the sessions it named before hold", reason=str(error))

    def take_set_aside(self, session_id: str, movie: Path) -> None:
        """Look for another file of the exposure of a movie that was quarantined while it was processed.

        Movies are processed before their session is watched again: then it waits for that.
        """
        watched = self.watched.of(session_id)
        if watched is not None:
            self._go_on_beside(watched.intake.set_aside, movie)
        else:
            self._set_aside.setdefault(session_id, []).append(movie)

    def look_again(self, session_id: str, movie: FileIdentity, why: str) -> bool:
        """Judge a quarantined movie anew, as its next revision; False where nobody watches its session."""
        watched = self.watched.of(session_id)
        if watched is not None:
            self._go_on_beside(partial(watched.judge_anew, movie, why), movie.path)
        return watched is not None

    def _go_on_beside(self, work: Callable[[Path], Awaitable[None]], path: Path) -> None:
        async def count_down_after() -> None:
            try:
                await work(path)
            finally:
                self._busy -= 1

        assert self._group is not None, "sessions are received once the reception is open"
        self._busy += 1
        self._group.start_soon(count_down_after)

    def _reconsider(self, raw_directory: Path, identity: FileIdentity) -> None:
        if raw_directory in self.watched:  # else watching has not begun: it finds the file not judged yet
            self.watched[raw_directory].discoverer.reconsider(identity)

    def take_hint(self, path: Path) -> None:
        """Look at a path that someone says may be worth it; paths of no open session are not for us."""
        if not any(watched.discoverer.hint(path) for watched in self.watched.values()):
            log.info("hint about a path of no open session", path=str(path))

    async def session_found(self, manifest: FileIdentity) -> None:
        """Take a session directory that appeared under a watched root."""
        directory = manifest.path.parent
        if await self._directories.real_path(directory) not in self.watched:
            await self._try_read_entries()
            await self._try_directory(directory)

    async def session_updated(self, manifest: FileIdentity) -> None:
        """Take a manifest that was written anew."""
        await self._try_read_entries()
        await self._try_directory(manifest.path.parent)

    async def troubled(self, problems: Sequence[WatchProblem]) -> None:
        """Say what keeps roots from being watched."""
        for problem in problems:
            log.warning("cannot watch", path=str(problem.path), reason=problem.what)

    async def recovered(self, paths: Sequence[Path]) -> None:
        """Say which roots can be watched again."""
        for path in paths:
            log.info("watched again", path=str(path))

    async def passed_over(self, folders: Sequence[Path]) -> None:
        """Say which folders hold movies that nobody processes, and how they would be."""
        self._passed_over |= await self._directories.real_paths(folders)
        for folder in self._outside_sessions(folders):
            log.warning(
                "movies are passed over: their folder has no session.json",
                folder=str(folder),
                hint=f"elcano import {folder}, or a [[session]] entry, or a session.json in it takes it up",
            )

    def _outside_sessions(self, folders: Sequence[Path]) -> list[Path]:
        real_paths = {folder: self._passed_over.get(folder, folder) for folder in folders}
        return outside_sessions(real_paths, (*self._known, *self._refused))

    async def _begin_watching(self, imported: ImportedSession) -> None:
        session = imported.book.session
        intake = SessionIntake(
            self._store,
            imported.book,
            imported.folders,
            self._bus.subjects,
            link_frames=self._settings.output.link_frames,
            on_complete=self._engine.scheduler.offer,
            on_withdrawn=self._engine.scheduler.cancel,
            on_event=self._bus.publisher.wake,
            on_reconsider=partial(self._reconsider, session.raw_directory),
            on_gain_found=partial(self._go_on_beside, self._try_directory, session.raw_directory),
            slugs={stage.name: stage.slug for stage in MOVIE_STAGES},
        )
        await intake.take_heirs()
        known = await ledger.known_files(self._store, session.session_id)
        discoverer = watch_session(
            watch_plan(self._settings, once=self._once),
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
            stage_of=imported.book.stage_of,
            given_up=await self._find_given_up(session.session_id),
            pattern=session.acquisition.movie_pattern,
        )
        self.watched[session.raw_directory] = WatchedSession(imported, intake, discoverer)
        assert self._group is not None, "sessions are received once the reception is open"
        self._group.start_soon(discoverer.run)
        self._go_on_beside(sweep_home, imported.folders.home)
        for movie in self._set_aside.pop(session.session_id, ()):
            self.take_set_aside(session.session_id, movie)

    async def _find_given_up(self, session_id: str) -> list[FileIdentity]:
        """Return the movies that could not be read; of a file that stands otherwise now, watching sees that itself."""
        broken = await ledger.movies(self._store, session_id, (MovieState.QUARANTINED,))
        return [movie.identity for movie in broken if movie.reason.endswith(UNREADABLE)]

    async def _request(self, directory: Path, *, name: str | None = None, asked_by: str = "") -> ImportRequest:
        """Return the request for a directory, with what a `[[session]]` entry says about it."""
        real = await self._directories.real_paths([directory, *(entry.directory for entry in self._settings.sessions)])
        entry = next((entry for entry in self._settings.sessions if real[entry.directory] == real[directory]), None)
        stages = self._engine.graph.names
        if entry is None:
            return ImportRequest(directory, name, None, stages, asked_by)
        chosen = stages if entry.pipeline is None else tuple(stage for stage in stages if stage in entry.pipeline)
        return ImportRequest(directory, name or entry.name, entry.acquisition, chosen, asked_by)

    async def _try_directory(self, directory: Path, name: str | None = None) -> None:
        await self._try_import(await self._request(directory, name=name))

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
            if isinstance(unexpected, FileUnanswered):
                self._await_answer(request, unexpected.path)
            directory = await self._directories.real_path(request.directory)
            if self._refused.get(directory) == str(error):
                return
            self._refused[directory] = str(error)
            log.error("session not imported", directory=str(request.directory), reason=str(error))  # noqa: TRY400
            notification = stable_id("not_imported", str(directory))
            await self._store.commit(
                PutNotification(notification, "error", "session_not_imported", error.message, error.hint)
            )

    def _await_answer(self, request: ImportRequest, path: Path) -> None:
        """Import once the file system answers again, beside all else."""

        async def import_then() -> None:
            await self._directories.calls.wait_answered(path)
            self._awaited.discard(path)
            log.info("answers again", path=str(path))
            await self._try_import(request)

        if path not in self._awaited:
            assert self._group is not None, "sessions are received once the reception is open"
            self._awaited.add(path)
            self._group.start_soon(import_then)

    async def _restore_sessions(self) -> None:
        rows = {row.session.raw_directory: row.session for row in await sessions.sessions(self._store)}
        self._known |= rows.keys()
        entries = await self._directories.real_paths(entry.directory for entry in self._settings.sessions)
        new = {named: real for named, real in entries.items() if real not in rows}
        async with anyio.create_task_group() as group:
            for named, real in new.items():
                group.start_soon(self._restore, named, real, None)
            for real, session in rows.items():
                # A late file reopens a closed session; one whose directory was archived gets none.
                if session.state is SessionState.OPEN or real in entries.values():
                    group.start_soon(self._restore, real, real, session.name)
                else:
                    group.start_soon(self._restore_closed, real, session.name)

    async def _restore_closed(self, raw_directory: Path, name: str) -> None:
        if not await self._directories.is_archived(raw_directory):
            await self._restore(raw_directory, raw_directory, name)

    async def _restore(self, directory: Path, real: Path, name: str | None) -> None:
        stood = await self._directories.manifest_of(directory)
        await self._try_directory(directory, name)
        if stood is not None and real in self.watched:
            self._finder.know(stood)

    async def _find_sessions(self) -> None:
        watched_roots = self._settings.watched_roots
        if all([await self._directories.is_archived(root) for root in watched_roots]):
            log.warning("no watched root is there yet", roots=[str(root) for root in watched_roots])
        await watch_sessions(self._finder, self, poll_s=self._settings.watch.poll_min_s, on_look=self._note_look)

    def _note_look(self) -> None:
        """Count looks for sessions: a manifest is believed when two looks find it the same."""
        self._looks += 1
        if self._refused and self._group is not None:
            expected = {*self._known, *(entry.directory for entry in self._settings.sessions)}
            self._group.start_soon(self._refused.drop_gone, self._directories, expected)
        if self._looks >= _LOOKS_TO_BELIEVE:
            self._looked.set()
