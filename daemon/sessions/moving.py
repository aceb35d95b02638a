"""Sessions whose raw directory was moved or renamed: they go on at the new place, and nothing is made again.

A directory is the new place of a session when the old one is gone, and it holds the same session: its session.json has
the oid of that session, or, where none has an oid, its movies are those that the session knows, by path in the
directory, size and time of change to the nanosecond. In either case none of them may be another one; without an oid at
least half of them must be there: some may have been removed since they were processed. What several sessions could be
is none of them.

The entries of the ledger just change their paths, as no movie changes its place in the session: what is made of that
place, as the ids are, stays true. Records of tasks keep the paths of their time.

Gone is a place only where that is sure: a file system that is not mounted hides a session as well.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from functools import partial
from itertools import islice
from pathlib import Path

import structlog

from daemon.domain.movie import MOVIE_SUFFIXES, FileIdentity, LedgerEntry
from daemon.domain.names import readable_path
from daemon.domain.session import Session
from daemon.domain.states import MovieState, TaskState
from daemon.errors import CommandRefused, FileUnreadable, IllegalMove, MovieChanged, MovieUnreadable
from daemon.formats.detached import PatientCalls
from daemon.messages.events import SessionRef
from daemon.messages.subjects import Subjects
from daemon.sessions.manifest import Manifest
from daemon.sessions.present_place import follow_acquisition
from daemon.sessions.raw_files import NO_LINKS, raw_files
from daemon.sessions.taken_places import compare_movies, holds_another, ids_of
from daemon.sessions.telling import notice, queue
from daemon.store import ledger, sessions, tasks
from daemon.store.changes import MoveFiles, MoveMovie, PutBackTasks, PutDecision, PutSession
from daemon.store.moved_files import owners_of
from daemon.store.rows import SessionRow, TaskRow
from daemon.store.store import Store

log = structlog.get_logger(__name__)

MOVED = "moved"
"""Key of the session-level decision that a session was moved and what could not be read meanwhile is to be tried again;
None once it is."""

_MOST_PROBED = 64
_UNREAD = frozenset({MovieUnreadable.kind, FileUnreadable.kind, MovieChanged.kind})
_CAUSE = "session moved"


class OldPlace(StrEnum):
    """How the place stands where a session was."""

    THERE = "there"
    GONE = "gone"
    HIDDEN = "hidden"
    """Not there, and nothing tells whether its file system is."""


async def find_moved(
    store: Store, raw_directory: Path, manifest: Manifest | None, calls: PatientCalls, copied: dict[Path, Path]
) -> SessionRow | None:
    """Return the session that was moved to this directory, None where it is of another one or known already.

    `copied` takes a directory that is refused as a copy, with what it is a copy of.

    Raises CommandRefused where it cannot be told whether the session was moved, for a copy without an oid and for
    other movies under the id of a session, FileUnreadable, FileUnanswered.
    """
    known = await sessions.sessions(store)
    if any(_lie_one_in_the_other(row.session.raw_directory, raw_directory) for row in known):
        return None  # which is refused
    oid = None if manifest is None else manifest.session_oid
    if oid is not None:
        alike = [row for row in known if oid in ids_of(row)]
    else:
        alike = await _with_its_movies(store, known, raw_directory, calls)
    found: list[tuple[SessionRow, OldPlace]] = []
    for row in alike:
        stands = await _look_whether_moved(store, row, raw_directory, calls, by_id=oid is not None)
        if stands is OldPlace.THERE and oid is None:
            copied[raw_directory] = row.session.raw_directory
            raise _copied(row.session, raw_directory)
        if stands in {OldPlace.GONE, OldPlace.HIDDEN}:
            found.append((row, stands))
    if len(found) > 1:
        names = [row.session.name for row, _ in found]
        log.warning("may be any of several sessions, and is none", directory=str(raw_directory), sessions=names)
    if len(found) != 1:
        return None
    ((row, stands),) = found
    if stands is OldPlace.HIDDEN:
        old = row.session.raw_directory
        raise CommandRefused(
            f"{raw_directory} holds session {row.session.name}, whose directory {old} is not there: either it was "
            "moved, or its file system is not mounted.",
            hint=f"Mount it; where the session was moved, put any file into {old.parent} and import it again.",
        )
    return row


async def _look_whether_moved(
    store: Store, row: SessionRow, raw_directory: Path, calls: PatientCalls, *, by_id: bool
) -> OldPlace | None:
    """Say how the old place of a session stands that a directory may be the new one of; None where it is not.

    `by_id`: the directory has the id of the session. Raises CommandRefused where its movies are not the session's.
    """
    old = row.session.raw_directory
    stands = await calls.call(old, partial(look_at_old, old, raw_directory))
    if stands is OldPlace.THERE and await calls.call(old, partial(holds_another, old, row)):
        stands = OldPlace.GONE
    if by_id and stands is OldPlace.THERE:
        return stands
    standing = await compare_movies(store, row.session, raw_directory, calls)
    if not by_id:
        is_it = not standing.other and standing.same > 0 and 2 * standing.same >= standing.known
        return stands if is_it else None
    if standing.other:
        raise CommandRefused(
            f"The session.json of {raw_directory} carries the id of session {row.session.name} but other movies: give "
            "it an id of its own.",
            hint="A copied session.json needs an msession.oid and a name of its own; a session that was moved keeps "
            "the times of its movies (cp -p).",
        )
    return stands


async def move_session(store: Store, subjects: Subjects, row: SessionRow, raw_directory: Path, asked_by: str) -> None:
    """Have a session be at its new place: all that is kept of it, in one commit."""
    before, now_s = row.session, time.time()
    former = (*(place for place in before.former_directories if place != raw_directory), before.raw_directory)
    acquisition = follow_acquisition(before.acquisition, [before.raw_directory], raw_directory)
    now = replace(before, raw_directory=raw_directory, former_directories=former, acquisition=acquisition)
    old, new = readable_path(before.raw_directory), readable_path(raw_directory)
    change, event = notice(
        subjects,
        SessionRef(now.session_id, now.name),
        kind="session_moved",
        message=f"Session {now.name} was moved from {old} to {new}, and goes on there: nothing is processed again.",
        hint="",
        at_s=now_s,
        severity="info",
        fact=f"{now_s:.6f}",
    )
    told = PutDecision(now.session_id, MOVED, {"from": old, "asked_by": asked_by})
    await store.commit(PutSession(now, row.facts), MoveFiles(before, now), told, change, queue(subjects, event))
    log.info("session moved, it goes on at its new place", session=now.name, before=old, now=new)


async def try_unread_again(store: Store, session_id: str, asked_by: str) -> list[LedgerEntry]:
    """Put back what could not be read while a session was moved; return its movies, which are to be offered.

    To be called while nobody else decides. Once: the move keeps that it is to be done, also for a later daemon.
    """
    if (await sessions.decisions(store, session_id)).get(MOVED) is None:
        return []
    asked_by = asked_by or "import"
    failed: dict[str, list[TaskRow]] = {}
    for task in await tasks.tasks(store, session_id=session_id, states=(TaskState.FAILED, TaskState.SKIPPED)):
        failed.setdefault(task.movie_id or "", []).append(task)
    taken: list[LedgerEntry] = []
    for movie in await ledger.movies(store, session_id, (MovieState.FAILED, MovieState.QUARANTINED)):
        owed = failed.get(movie.movie_id, [])
        again = tuple(task.task_id for task in owed if task.state is TaskState.SKIPPED or task.error_kind in _UNREAD)
        if not any(task.error_kind in _UNREAD for task in owed):
            continue
        why = "tried again where the session was moved to"
        try:
            await store.commit(
                PutBackTasks(again, why, asked_by, cause=_CAUSE),
                MoveMovie(movie.movie_id, MovieState.COMPLETE, why, cause=_CAUSE, asked_by=asked_by),
            )
        except IllegalMove as error:  # it was written anew, removed or taken up by a person meanwhile
            log.info("movie not tried again", path=readable_path(movie.identity.path), reason=error.message)
        else:
            taken.append(movie)
    await store.commit(PutDecision(session_id, MOVED, None))
    return taken


async def _with_its_movies(
    store: Store, known: Sequence[SessionRow], raw_directory: Path, calls: PatientCalls
) -> list[SessionRow]:
    """Return the sessions that know any of the first movies in a directory by their paths in it."""
    first = await calls.call(raw_directory, partial(_first_movies, raw_directory))
    here = {_mark(file, raw_directory) for file in first}
    owned = await owners_of(store, first) if first else {}
    return [
        row
        for row in known
        if any(
            _mark(file, row.session.raw_directory) in here
            for file in owned.get(row.session.session_id, ())
            if file.path.is_relative_to(row.session.raw_directory)
        )
    ]


def _first_movies(raw_directory: Path) -> list[FileIdentity]:
    movies = (path for path in raw_files(raw_directory, NO_LINKS, _pass) if path.suffix.lower() in MOVIE_SUFFIXES)
    found = []
    for path in islice(movies, _MOST_PROBED):
        try:
            status = path.stat()
        except OSError:
            continue  # watching tells of what cannot be looked at
        found.append(FileIdentity(path, status.st_size, status.st_mtime_ns))
    return found


def _pass(_folder: Path, _error: OSError) -> None:
    """Watching tells of folders that cannot be read."""


def _mark(file: FileIdentity, root: Path) -> tuple[Path, int, int]:
    return file.path.relative_to(root), file.size_bytes, file.mtime_ns


def _copied(session: Session, raw_directory: Path) -> CommandRefused:
    old = session.raw_directory
    return CommandRefused(
        f"{raw_directory} holds the movies of session {session.name}, which is imported from {old} already.",
        hint="A copied session needs a session.json with an msession.oid and a name of its own; one that was moved "
        f"goes on here once nothing is left of {old}.",
    )


def _lie_one_in_the_other(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


def look_at_old(old: Path, new: Path) -> OldPlace:
    """Say whether the place where a session was is gone; one that has become a link to the new place is."""
    try:
        old.lstat()
        return OldPlace.GONE if old.resolve() != old and old.resolve() == new else OldPlace.THERE
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, RuntimeError):
        return OldPlace.HIDDEN
    try:
        nearest = next(place for place in old.parents if place.is_dir())
        if nearest.stat().st_dev == new.stat().st_dev or (nearest == old.parent and any(nearest.iterdir())):
            return OldPlace.GONE
    except OSError:
        pass
    return OldPlace.HIDDEN
