"""Receives sessions: found under a root, named in the configuration or by a command, each imported and then watched."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import structlog
from anyio.abc import TaskGroup

from daemon.app.beside import Beside
from daemon.app.directories import Directories, absolute_path, tidy_home
from daemon.app.entries import present_place, read_entries, request_for, try_read_entries
from daemon.app.guarded_intake import GuardedIntake, holds_still
from daemon.app.passed_over_folders import PassedOverFolders
from daemon.app.refusals import Refusals
from daemon.app.rules import import_rules, watch_plan
from daemon.app.turns import Turns
from daemon.app.watched import WatchedSession, WatchedSessions, begin_account, begin_watch
from daemon.bus.service import Bus
from daemon.config.schema import SessionEntry, Settings
from daemon.domain.movie import FileIdentity
from daemon.domain.session import Session
from daemon.domain.states import SessionState
from daemon.engine.engine import Engine
from daemon.errors import ElcanoError, FileUnanswered, ImportFailed, StoreUnavailable
from daemon.messages import commands
from daemon.sessions.importing import LIMIT_S, ImportedSession, ImportRequest, import_session
from daemon.sessions.intake import SessionIntake
from daemon.sessions.manifest import FILE_NAME
from daemon.sessions.mount_proof import refuse_other_session
from daemon.sessions.taken_places import refuse_led_elsewhere
from daemon.sessions.troubles import PlaceTrouble, PlaceTroubles
from daemon.stages import MOVIE_STAGES
from daemon.store import sessions
from daemon.store.store import Store
from daemon.watchers.found import WatchProblem
from daemon.watchers.session_finder import SessionFinder, watch_sessions

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
        self._refused = Refusals(bus.subjects)
        self._known: set[Path] = set()
        self._awaited: set[Path] = set()
        """Directories that do not answer: each is imported when it does."""
        self._manifests: dict[Path, Path] = {}
        """Manifests that were found, by real directory, each as it was named then."""
        self._passed_over = PassedOverFolders(self._directories, store)
        self._finder = SessionFinder(
            settings.watched_roots,
            allowed_roots=settings.allowed_roots,
            pattern=settings.watch.pattern,
        )
        self._roots = PlaceTroubles(store, bus.subjects, bus.publisher.wake)
        self._looked = anyio.Event()
        self._looks = 0
        self._turns = Turns()
        self._under_way: dict[Path, Session] = {}
        self._beside = Beside()
        """Watching, and what goes on beside it: sweeps of homes, looks for another file of a movie's exposure."""
        self._set_aside: dict[str, list[Path]] = {}
        """Movies of sessions not watched yet that were quarantined meanwhile, by session id."""

    async def open(self, group: TaskGroup) -> None:
        """Watch again what was open and what the configuration names, then look for new sessions, in `group`."""
        self._beside.open(group)
        await self._restore_sessions()
        group.start_soon(self._find_sessions)

    async def wait_looked(self) -> None:
        """Return when the watched roots were looked at often enough to have found every session there."""
        await self._looked.wait()

    @property
    def is_settled(self) -> bool:
        """Whether every movie that is there has been judged."""
        return not self._beside.is_busy and self.watched.is_settled

    @property
    def refused_sessions(self) -> Mapping[Path, str]:
        """Directories that could not be imported, and why."""
        return self._refused

    def passed_over_folders(self) -> list[str]:
        """Return the folders under the watched roots that hold movies and belong to no session."""
        taken = (*self._known, *self._refused)
        return [str(folder) for folder in self._passed_over.outside(self._finder.passed_over, taken)]

    @property
    def watch_problems(self) -> Mapping[Path, str]:
        """Places that cannot be watched, and why: movies in them are not known."""
        return {**self._finder.problems, **self.watched.problems}

    @property
    def not_watched(self) -> list[PlaceTrouble]:
        """Places in which movies or sessions are not seen, since when, and what to do."""
        return list({each.path: each for each in (*self._roots.lasting(), *self.watched.not_watched)}.values())

    @property
    def open_sessions(self) -> dict[str, str]:
        """Ids and names of the sessions that are watched."""
        return self.watched.names

    def take_entries(self, settings: Settings, entries: Sequence[SessionEntry]) -> None:
        """Go on with other settings and import these `[[session]]` entries; ones that are open are renewed."""
        self._settings = settings
        for entry in entries:
            self._beside.start(partial(self._restore_entry, entry))

    async def import_directory(self, request: ImportRequest) -> ImportedSession:
        """Import a session and watch it; importing again renews what is known of it, and watching goes on."""
        await self._directories.look(request.directory)  # here, where it holds up no other import
        real = await self._directories.real_path(request.directory)
        if real in {row.session.raw_directory for row in await sessions.sessions(self._store)}:
            await refuse_led_elsewhere(self._store, request.directory, real)
        return await self._turns.take(real, partial(self._import_at, real, request))

    async def _import_at(self, real: Path, request: ImportRequest) -> ImportedSession:
        open_already = self.watched.get(real)
        book = None if open_already is None else open_already.imported.book
        rules = import_rules(self._settings, self._engine, self._directories.calls, self._under_way)
        rules = replace(rules, leaving=self._leave, renew=self._renew_request, copied=self._refused.copied)
        imported = await import_session(self._store, self._bus.subjects, request, rules, book=book)
        await self._refused.settle(self._store, real, request.directory)
        self._known.add(real)
        if real not in self.watched:  # also where another session has left it just now
            await self._begin_watching(imported)
        for movie in (*imported.reopened.movies, *imported.unread):
            self._engine.scheduler.offer_anew(movie.movie_id, movie.last_write_s)
        self._bus.publisher.wake()
        self._beside.start(partial(self.watched[real].intake.look_back, real), owner=real)
        return imported

    async def import_by_command(self, command: commands.SessionImport, asked_by: str) -> dict[str, Any]:
        """Import what a command names, as the configuration says it now.

        Raises CommandRefused for a path that is not absolute, MountMismatch where the asker sees another session
        there, and ConfigurationInvalid.
        """
        directory = absolute_path(command.directory)
        self._settings = await read_entries(self._settings, self._directories)
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

    @asynccontextmanager
    async def _leave(self, session: Session, imported: Path) -> AsyncIterator[None]:
        """End all that goes on in the raw directory of a session, which has left it, and forget that directory.

        `imported` is the directory whose import shows that, and which nobody else imports meanwhile.
        """
        old = session.raw_directory
        async with self._turns.hold_also(old) if old != imported else nullcontext():
            watched = await self._end_watching(old)
            yield
            if watched is not None:
                await watched.places.end([trouble.path for trouble in watched.places.lasting()])
            self._finder.forget(self._manifests.pop(old, old / FILE_NAME))
            self._known.discard(old)
            await self._refused.settle(self._store, old)

    async def _end_watching(self, raw_directory: Path) -> WatchedSession | None:
        watched = self.watched.pop(raw_directory, None)
        await self._beside.end(raw_directory)
        return watched

    async def _take_replaced(self, raw_directory: Path) -> None:
        """Import a directory that is another one than was watched under its name, whichever session it is of."""
        async with self._turns.of(raw_directory):
            watched = await self._end_watching(raw_directory)
        await self._try_directory(raw_directory)
        if watched is not None and raw_directory not in self.watched:
            await watched.places.end([trouble.path for trouble in watched.places.lasting()])

    def take_set_aside(self, session_id: str, movie: Path) -> None:
        """Look for another file of the exposure of a movie that was quarantined while it was processed.

        Movies are processed before their session is watched again: then it waits for that.
        """
        watched = self.watched.of(session_id)
        if watched is not None:
            self._beside.start(partial(watched.intake.set_aside, movie), owner=watched.raw_directory)
        else:
            self._set_aside.setdefault(session_id, []).append(movie)

    def look_again(self, session_id: str, movie: FileIdentity, why: str) -> bool:
        """Judge a quarantined movie anew, as its next revision; False where nobody watches its session."""
        watched = self.watched.of(session_id)
        if watched is not None:
            self._beside.start(partial(watched.judge_anew, movie, why), owner=watched.raw_directory)
        return watched is not None

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
        real = await self._directories.real_path(directory)
        self._manifests[real] = manifest.path
        if real not in self.watched:
            self._settings = await try_read_entries(self._settings, self._directories)
            await self._try_directory(directory)

    async def session_updated(self, manifest: FileIdentity) -> None:
        """Take a manifest that was written anew."""
        self._settings = await try_read_entries(self._settings, self._directories)
        await self._try_directory(manifest.path.parent)

    async def troubled(self, problems: Sequence[WatchProblem]) -> None:
        """Say what keeps roots from being watched."""
        for problem in problems:
            log.warning("new sessions may not be seen here", path=str(problem.path), reason=problem.what)
        await self._roots.begin([(problem.path, problem.what, problem.hint) for problem in problems])

    async def recovered(self, paths: Sequence[Path]) -> None:
        """Say which roots can be watched again."""
        for path in paths:
            log.info("watched again", path=str(path))
        await self._roots.end(paths)

    async def passed_over(self, folders: Sequence[Path]) -> None:
        """Say which folders hold movies that nobody processes, and how they would be."""
        await self._passed_over.tell(folders, (*self._known, *self._refused))

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
            on_gain_found=partial(self._beside.start, partial(self._renew, session.session_id)),
            slugs={stage.name: stage.slug for stage in MOVIE_STAGES},
        )
        await intake.take_heirs()
        # Beside, and of no owner: it ends what belongs to the directory, the one who asks included.
        on_replaced = partial(self._beside.start, partial(self._take_replaced, session.raw_directory))
        places = begin_account(self._store, self._bus, session)
        where = session.raw_directory, self._settings.allowed_roots, self._directories.calls
        still = partial(holds_still, self._store, *where)
        guarded = GuardedIntake(intake, imported.book, imported.place_mark, holds_still=still, on_replaced=on_replaced)
        plan = watch_plan(self._settings, once=self._once)
        discoverer = await begin_watch(plan, self._store, imported, guarded, places)
        self.watched[session.raw_directory] = WatchedSession(imported, intake, discoverer, places)
        self._beside.start(discoverer.run, owner=session.raw_directory, ends_by_itself=False)
        self._beside.start(partial(tidy_home, imported.folders, session), owner=session.raw_directory)
        for movie in self._set_aside.pop(session.session_id, ()):
            self.take_set_aside(session.session_id, movie)

    async def _request(self, directory: Path, *, name: str | None = None, asked_by: str = "") -> ImportRequest:
        asked = ImportRequest(directory, name, asked_by=asked_by)
        return await request_for(self._settings, self._engine.graph.names, self._store, self._directories, asked)

    async def _renew_request(self, asked: ImportRequest) -> ImportRequest:
        return await self._request(asked.directory, name=asked.name, asked_by=asked.asked_by)

    async def _renew(self, session_id: str) -> None:
        """Import a session again that is watched, wherever it is by now."""
        watched = self.watched.of(session_id)
        if watched is not None:
            await self._try_directory(watched.raw_directory)

    async def _try_directory(self, directory: Path, name: str | None = None) -> None:
        await self._try_import(await self._request(directory, name=name))

    async def _try_import(self, request: ImportRequest) -> None:
        """Import; a session that cannot be is told and remembered, and does not stop the others."""
        try:
            imported = await self.import_directory(request)
            await refuse_led_elsewhere(self._store, request.directory, imported.book.session.raw_directory)
        except StoreUnavailable:
            raise
        except Exception as unexpected:
            if not isinstance(unexpected, ElcanoError):
                log.exception("import failed", directory=str(request.directory))
            error = unexpected if isinstance(unexpected, ElcanoError) else ImportFailed(request.directory, unexpected)
            if isinstance(unexpected, FileUnanswered):
                self._await_answer(request, unexpected.path)
            directory = request.directory
            if directory not in self._known:  # where a link in place of a session's directory leads may be another's
                directory = await self._directories.real_path(directory)
            await self._refused.tell(self._store, directory, request.directory, request.name, error)
            self._bus.publisher.wake()

    def _await_answer(self, request: ImportRequest, path: Path) -> None:
        """Import once the file system answers again, beside all else."""

        async def import_then() -> None:
            await self._directories.calls.wait_answered(path)
            self._awaited.discard(path)
            log.info("answers again", path=str(path))
            await self._try_import(request)

        if path not in self._awaited:
            self._awaited.add(path)
            self._beside.start(import_then, ends_by_itself=False)

    async def _restore_sessions(self) -> None:
        rows = {row.session.raw_directory: row.session for row in await sessions.sessions(self._store)}
        self._known |= rows.keys()
        places = [
            await present_place(entry.directory, self._store, self._directories) for entry in self._settings.sessions
        ]
        entries = await self._directories.real_paths(places)
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

    async def _restore_entry(self, entry: SessionEntry) -> None:
        await self._try_directory(await present_place(entry.directory, self._store, self._directories))

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

    async def _try_again(self) -> None:
        for directory in await self._refused.moved_by_now(self._directories):
            await self._try_directory(directory)
        for directory, name in self._refused.take_due():
            await self._try_directory(directory, name)

    def _note_look(self) -> None:
        """Count looks for sessions: a manifest is believed when two looks find it the same."""
        self._looks += 1
        if self._refused:
            expected = {*self._known, *(entry.directory for entry in self._settings.sessions)}
            drop_gone = partial(self._refused.drop_gone, self._store, self._directories, expected)
            self._beside.start(drop_gone, ends_by_itself=False)
            self._beside.start(self._try_again)
        if self._looks >= _LOOKS_TO_BELIEVE:
            self._looked.set()
