"""Answers by which a session to import is found: folders under the roots, and what a session there would be taken as.

Every look is done away from the event loop and waited for so long only: mounts hang.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from daemon.app.directories import Directories, absolute_path
from daemon.app.entries import find_entry, try_read_entries
from daemon.app.folder_look import FolderLook, list_folder, look_at_folder
from daemon.config.schema import Settings
from daemon.domain.names import readable_path
from daemon.domain.session import Session
from daemon.domain.states import MovieState
from daemon.engine.answers import Handler
from daemon.engine.engine import Engine
from daemon.errors import CommandRefused, FileUnanswered
from daemon.messages.browsing import (
    FolderAnswer,
    FolderEntry,
    FolderQuery,
    MovieCount,
    PreviewAnswer,
    PreviewQuery,
    PreviewValue,
)
from daemon.sessions.importing import ImportRequest
from daemon.sessions.manifest import describe_manifest, project_of
from daemon.sessions.preview import FoundMovies, count_movies, preview_import
from daemon.store import sessions
from daemon.watchers.session_watch import selects

_LIST_LIMIT_S = 5.0
_LOOK_LIMIT_S = 3.0
_PREVIEW_LIMIT_S = 30.0
_MOST_HANGING = 64
"""Threads that may be stuck in folders that do not answer; who browses on is refused until some have answered."""


class Browsing:
    """Handlers by name, as the responder wants them; they change nothing."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        *,
        passed_over: Callable[[], Iterable[str]] = tuple,
        look_limit_s: float = _LOOK_LIMIT_S,
    ) -> None:
        """`passed_over` names the folders whose movies nobody processes; `look_limit_s` is how long one folder may
        take to say what is in it."""
        self._settings = settings
        self._passed_over = passed_over
        self._store = engine.store
        self._graph = engine.graph
        self._directories = Directories(_LIST_LIMIT_S)
        self._looks = Directories(look_limit_s)
        self._previews = Directories(_PREVIEW_LIMIT_S)

    def handlers(self) -> Mapping[str, Handler]:
        """Return every handler this class has."""
        return {"folder": self.folder, "session.preview": self.preview}

    async def folder(self, query: FolderQuery, asked_by: str) -> FolderAnswer:
        """The folders in a directory, or the roots. Raises PathOutsideRoots, FileUnreadable, FileUnanswered."""
        del asked_by
        self._refuse_stuck()
        known = {row.session.raw_directory: row.session for row in await sessions.sessions(self._store)}
        if query.directory is None:
            self._settings = await try_read_entries(self._settings, self._directories)
            roots = [(readable_path(root), root) for root in self._settings.allowed_roots]
            return _answer("", None, await self._look_at(roots, known), query, len(roots), FolderLook(), False)
        directory, roots_now = _absolute(query.directory), self._settings.allowed_roots
        is_movie = selects(self._settings.watch.pattern)
        listed = await self._directories.calls.call(
            directory, partial(list_folder, directory, roots_now, query.offset, query.limit, is_movie)
        )
        inside = [(name, listed.directory / name) for name in listed.names]
        entries = await self._look_at(inside, known)
        parent = listed.directory.parent
        is_root = listed.directory in roots_now or not any(parent.is_relative_to(root) for root in listed.roots)
        up, holds = None if is_root else str(parent), self._holds_sessions(listed.directory, known)
        return _answer(str(listed.directory), up, entries, query, listed.total, listed.look, holds)

    async def preview(self, query: PreviewQuery, asked_by: str) -> PreviewAnswer:
        """What importing a directory would mean.

        Raises PathOutsideRoots, CommandRefused, FileUnreadable, FileUnanswered, ManifestInvalid.
        """
        del asked_by
        self._refuse_stuck()
        directory = _absolute(query.directory)
        self._settings = await try_read_entries(self._settings, self._directories)
        settings = self._settings
        entry = await find_entry(settings.sessions, directory, self._store, self._directories)
        stages = self._graph.names
        if entry is not None and entry.entry.pipeline is not None:
            stages = tuple(stage for stage in stages if stage in entry.entry.pipeline)
        configured = None if entry is None else entry.entry.acquisition
        name = query.name or (entry.entry.name if entry is not None and entry.is_of_this_place else None)
        request = ImportRequest(directory, name, configured, stages)
        known = [row.session for row in await sessions.sessions(self._store)]
        look = partial(
            preview_import, request, settings.allowed_roots, settings.session_holders, settings.paths.home, known
        )
        found = await self._previews.calls.call(directory, look)
        pattern = found.taken.acquisition.movie_pattern
        leaves = settings.watch.leave_tilt_series and pattern is None
        is_movie = selects(pattern or settings.watch.pattern, leaves_series=leaves)
        movies = await self._count(found.directory, is_movie, found.known)
        facts = describe_manifest(found.manifest) if found.manifest else {}
        jobs = [] if found.known is None else await sessions.jobs(self._store, found.known.session_id)
        return PreviewAnswer(
            directory=str(found.directory),
            name=found.name,
            home=readable_path(found.home),
            refusal=found.refusal,
            session_state="" if found.known is None else found.known.state,
            job_id=jobs[0].job_id if jobs else "",
            has_manifest=found.manifest is not None,
            description=facts.get("session.description", ""),
            project=project_of(facts),
            images=len(found.manifest.images) if found.manifest else 0,
            levels=found.levels,
            values=[PreviewValue(key=key, said=said, source=source) for key, said, source in found.taken.told()],
            missing=list(found.missing),
            warnings=list(found.manifest.warnings) if found.manifest else [],
            stages=list(stages),
            movies=movies,
        )

    async def _count(self, directory: Path, is_movie: Any, known: Session | None) -> MovieCount:
        """Count the movies of a directory; of a session that is imported, those that are known."""
        if known is not None:
            counted = self._store.count_movies(known.session_id)
            left = (MovieState.IGNORED, MovieState.VANISHED, MovieState.SUPERSEDED)
            movies = sum(number for state, number in counted.items() if state not in left)
            return MovieCount(movies=movies, suffixes={}, first="", is_whole=True, troubles=[])
        try:
            found = await self._previews.calls.call(directory, partial(count_movies, directory, is_movie))
        except FileUnanswered as error:
            found = FoundMovies(is_whole=False, troubles=[str(error)])
        return MovieCount(
            movies=found.count,
            suffixes=dict(found.suffixes.most_common()),
            first=found.first,
            is_whole=found.is_whole,
            troubles=found.troubles,
        )

    async def _look_at(self, named: list[tuple[str, Path]], known: Mapping[Path, Session]) -> list[FolderEntry]:
        """Look into each folder, all beside each other: one that does not answer costs its limit once."""
        found: dict[str, FolderEntry] = {}
        roots = self._settings.allowed_roots
        passed_over = {Path(folder) for folder in self._passed_over()}

        async def look(name: str, path: Path) -> None:
            try:
                real, has_manifest, trouble = await self._looks.calls.call(path, partial(look_at_folder, path, roots))
            except FileUnanswered:
                real, has_manifest, trouble = path, False, "does not answer: its file system hangs"
            session = known.get(real)
            found[name] = FolderEntry(
                name=readable_path(Path(name)),
                path=readable_path(path),
                has_manifest=has_manifest,
                holds_sessions=self._holds_sessions(real, known),
                passed_over=not passed_over.isdisjoint({path, real}),
                session="" if session is None else session.name,
                session_state="" if session is None else session.state,
                trouble=trouble,
            )

        async with anyio.create_task_group() as group:
            for name, path in named:
                group.start_soon(look, name, path)
        return [found[name] for name, _ in named]

    def _holds_sessions(self, real: Path, known: Mapping[Path, Session]) -> bool:
        return real not in known and any(root.is_relative_to(real) for root in self._settings.session_holders)

    def _refuse_stuck(self) -> None:
        hanging = sum(places.calls.hanging for places in (self._directories, self._looks, self._previews))
        if hanging >= _MOST_HANGING:
            raise CommandRefused(
                f"{hanging} folders do not answer already.", hint="Their file system hangs: check the mount."
            )


def _absolute(named: str) -> Path:
    """Return a path without its `..`. Raises CommandRefused for what no file system can look up."""
    return Path(os.path.normpath(absolute_path(named)))


def _answer(
    directory: str,
    parent: str | None,
    entries: list[FolderEntry],
    query: FolderQuery,
    total: int,
    look: FolderLook,
    holds_sessions: bool,
) -> FolderAnswer:
    return FolderAnswer(
        directory=directory, parent=parent, entries=entries, offset=query.offset, total=total,
        holds_sessions=holds_sessions,
        **{key: getattr(look, key) for key in ("movies", "others", "has_manifest", "is_whole")},
    )  # fmt: skip
