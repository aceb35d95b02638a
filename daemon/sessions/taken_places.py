"""Directories that hold another session than the one that was imported from there: neither is mixed into the other.

A place is known by its mark (`place_mark`), by its session.json and by its movies. Where the oid of its session.json is
none of its session's and none of the movies that the session knows is there as it was, the session has left: it is kept
as one whose raw directory is missing until it is found again, and what is there now is imported by itself. Where its
session.json has another name, has lost its oid or is gone, nobody can say which session it is: the import is refused.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from daemon.domain.identity import stable_id
from daemon.domain.movie import MOVIE_SUFFIXES, FileIdentity
from daemon.domain.names import readable_path
from daemon.domain.session import Session
from daemon.errors import CommandRefused, ElcanoError, FileUnreadable
from daemon.formats.detached import PatientCalls
from daemon.messages.events import SessionRef
from daemon.messages.subjects import Subjects
from daemon.sessions.manifest import (
    FILE_NAME,
    NOT_USED,
    OF_MANIFEST,
    Manifest,
    describe_manifest,
    find_manifest,
    read_manifest,
    unused_keys,
)
from daemon.sessions.place_mark import known_manifest_mark, known_place_mark, read_manifest_mark, read_place_mark
from daemon.sessions.present_place import follow_acquisition
from daemon.sessions.raw_files import NO_LINKS, raw_files
from daemon.sessions.telling import notice, queue
from daemon.store import sessions
from daemon.store.changes import MoveFiles, PutSession
from daemon.store.moved_files import whole_files
from daemon.store.rows import SessionRow, encode_path
from daemon.store.store import Store

log = structlog.get_logger(__name__)

MANIFEST_OID = "manifest_oid"
"""Key among the facts of a session: the oid in its session.json, which may have come when its id was given already."""

_LEFT = ".left-"
"""How the name of the place begins that a session has which left its own: nothing is there."""

_NAME = "session.name"
"""Key of the name among what `describe_manifest` says."""

_AT_ONCE = 500
"""Files that one call looks at: a file system that answers does so in time."""


@dataclass(frozen=True)
class Standing:
    """How files that a session knows as whole stand in a directory."""

    known: int = 0
    same: int = 0
    other: int = 0
    """There, but of another size or time of change."""


def ids_of(row: SessionRow) -> set[str]:
    """Return every id that a session.json may give this session."""
    oid = row.facts.get(MANIFEST_OID)
    return {row.session.session_id, *([oid] if isinstance(oid, str) else [])}


async def compare_movies(
    store: Store, session: Session, place: Path, calls: PatientCalls, *, until_same: bool = False
) -> Standing:
    """Look how the movies of a session stand in a directory; to the first that is the same where that is enough.

    Raises FileUnreadable where a folder of them does not let them be looked at, FileUnanswered.
    """
    files = await whole_files(store, session.session_id)
    same, other = 0, 0
    for start in range(0, len(files), _AT_ONCE):
        part = files[start : start + _AT_ONCE]
        found = await calls.call(place, partial(_compare, part, session.raw_directory, place))
        same, other = same + found[0], other + found[1]
        if until_same and same:
            break
    return Standing(len(files), same, other)


def _compare(known: Sequence[FileIdentity], old: Path, new: Path) -> tuple[int, int]:
    same, other = 0, 0
    for file in known:
        if not file.path.is_relative_to(old):
            continue
        try:
            status = (new / file.path.relative_to(old)).stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise FileUnreadable(_nearest_folder(new / file.path.relative_to(old)), error) from error
        is_same = (status.st_size, status.st_mtime_ns) == (file.size_bytes, file.mtime_ns)
        same, other = same + is_same, other + (not is_same)
    return same, other


def _nearest_folder(path: Path) -> Path:
    """Return the deepest folder on the way to a file that can be looked at: the one that refuses what is in it."""
    for folder in path.parents:
        with suppress(OSError):
            folder.stat()
            return folder
    return path.parent


async def find_left(
    store: Store, raw_directory: Path, manifest: Manifest | None, calls: PatientCalls
) -> SessionRow | None:
    """Return the session of a directory that holds another one by now, None where it holds no other.

    Raises CommandRefused where that cannot be told, FileUnreadable, FileUnanswered.
    """
    known = await sessions.sessions(store)
    row = _at(known, raw_directory)
    oid = None if manifest is None else manifest.session_oid
    if row is None or (oid is not None and oid in ids_of(row)):
        return None
    both_named, is_told_otherwise = oid is not None and MANIFEST_OID in row.facts, _is_told_otherwise(row, manifest)
    was, stood = known_place_mark(row.facts), known_manifest_mark(row.facts)
    now = await calls.call(raw_directory, partial(read_place_mark, raw_directory))
    stands = await calls.call(raw_directory, partial(read_manifest_mark, raw_directory / FILE_NAME))
    is_same_place = was is None or (now is not None and was.may_be(now))
    is_as_it_was = stood is None or (stands is not None and stood.may_be(stands))
    if was is not None and now is not None and was.is_surely(now) and is_as_it_was and not is_told_otherwise:
        return None
    standing = await compare_movies(store, row.session, raw_directory, calls, until_same=True)
    if standing.same or (is_same_place and not standing.known):  # its id was corrected
        _refuse_others_id(raw_directory, oid, row, known)
        return None
    if both_named:
        return row
    # What is archived is gone, and the only movie of a session may have been copied again.
    is_it = is_same_place and not is_told_otherwise and (not standing.other or standing.known == 1)
    if is_same_place and manifest is None and not is_it:
        # One whose movies are archived, its session.json with them, is where it was for as long as nothing comes.
        is_it = not await calls.call(raw_directory, partial(_holds_movies, raw_directory))
    if is_it or not standing.known:
        return None
    has_own_name = manifest is not None and manifest.session_name not in {None, row.session.name}
    if oid is not None and (has_own_name or not is_same_place):
        return row
    raise _unnamed(raw_directory, row.session.name, is_same_place=is_same_place)


def _at(known: Sequence[SessionRow], place: Path) -> SessionRow | None:
    return next((row for row in known if row.session.raw_directory == place), None)


def _is_told_otherwise(row: SessionRow, manifest: Manifest | None) -> bool:
    """Whether a session.json has another oid or name than that of the session had, or is gone."""
    had_oid, had_name = row.facts.get(MANIFEST_OID), row.facts.get(OF_MANIFEST, {}).get(_NAME)
    if manifest is None:
        return bool(had_oid or had_name or known_manifest_mark(row.facts))
    return (manifest.session_oid, describe_manifest(manifest).get(_NAME)) != (had_oid, had_name)


def _holds_movies(place: Path) -> bool:
    return any(path.suffix.lower() in MOVIE_SUFFIXES for path in raw_files(place, NO_LINKS, lambda *_: None))


async def facts_of_manifest(
    store: Store, raw_directory: Path, manifest: Manifest | None, calls: PatientCalls
) -> dict[str, Any]:
    """Return what the facts of a session keep of its session.json.

    While none of its movies is there as it was, how the file stood stays what it was: one that came with another
    session must not be taken for the session's by the time that its movies come. So do its ids while it is gone.
    """
    row = _at(await sessions.sessions(store), raw_directory)
    stands = await calls.call(raw_directory, partial(read_manifest_mark, raw_directory / FILE_NAME))
    oid = None if manifest is None else manifest.session_oid
    facts: dict[str, Any] = {} if oid is None else {MANIFEST_OID: oid}
    if manifest is not None:
        facts |= {OF_MANIFEST: describe_manifest(manifest), NOT_USED: unused_keys(manifest)}
    stood = None if row is None else known_manifest_mark(row.facts)
    if row is not None and stood is not None and not (stands is not None and stood.may_be(stands)):
        standing = await compare_movies(store, row.session, raw_directory, calls, until_same=True)
        if standing.known and not standing.same and oid not in ids_of(row):
            kept = (OF_MANIFEST, MANIFEST_OID) if manifest is None else ()
            return facts | {key: row.facts[key] for key in kept if key in row.facts} | stood.as_facts()
    return facts | ({} if stands is None else stands.as_facts())


def _unnamed(place: Path, name: str, *, is_same_place: bool) -> CommandRefused:
    what = (
        f"{place} has the name of the directory of session {name}, but none of the movies that the session knows is in "
        "it as it was."
        if is_same_place
        else f"{place} is another directory than the one that session {name} was imported from, and none of the movies "
        "that the session knows is in it."
    )
    return CommandRefused(
        what,
        hint=f"Of another session: rename the directory, or give its session.json an msession.oid and a name of its "
        f"own. Of {name}: mount its file system, or put back its session.json as it was, and its movies with their "
        "times (cp -p).",
    )


def _refuse_others_id(place: Path, oid: str | None, row: SessionRow, known: Sequence[SessionRow]) -> None:
    other = next((each for each in known if each is not row and oid is not None and oid in ids_of(each)), None)
    if other is not None:
        raise CommandRefused(
            f"The session.json of {place}, which holds session {row.session.name}, carries the id {oid} of session "
            f"{other.session.name}.",
            hint="Give it the id that it had.",
        )


async def refuse_left_place(store: Store, directory: Path) -> None:
    """Raise CommandRefused where a path stands for the directory of a session that has left its own."""
    row = _at(await sessions.sessions(store), directory)
    if row is None or not directory.name.startswith(_LEFT):
        return
    name, old = row.session.name, row.session.former_directories[-1]
    raise CommandRefused(
        f"Session {name} has left {readable_path(old)}, where another one is now, and its raw directory is missing.",
        hint="Under a watched root its new place is found, any other one takes up elcano import NEWPLACE.",
    )


async def refuse_led_elsewhere(store: Store, named: Path, real: Path) -> None:
    """Raise CommandRefused where the directory of a session is a link that leads elsewhere: that would be imported, and
    the session be watched no more without a word."""
    row = None if named == real else _at(await sessions.sessions(store), named)
    if row is not None:
        raise CommandRefused(
            f"{readable_path(named)}, where session {row.session.name} was imported from, is a link that leads to "
            f"{readable_path(real)} now, which holds other data: nothing of session {row.session.name} is watched.",
            hint="Put its own directory back in place of the link; it goes on by itself.",
        )


def holds_another(place: Path, row: SessionRow) -> bool:
    """Whether the session.json of a directory that is there names another session than this one."""
    try:
        path = find_manifest(place)
        oid = None if path is None else read_manifest(path).session_oid
    except (OSError, ElcanoError):
        return False  # who imports it says what is wrong with it
    return oid is not None and MANIFEST_OID in row.facts and oid not in ids_of(row)


async def leave_place(store: Store, subjects: Subjects, row: SessionRow) -> None:
    """Have a session be where nothing is, as its directory is another session's: until it is found, its raw data are
    missing, and its paths are nobody else's."""
    before, now_s = row.session, time.time()
    old = before.raw_directory
    digest = stable_id("left", before.session_id, encode_path(old))[:12]
    nowhere = old.with_name(f"{_LEFT}{digest}")
    acquisition = follow_acquisition(before.acquisition, [old], nowhere)
    former = (*(place for place in before.former_directories if place not in {old, nowhere}), old)
    now = replace(before, raw_directory=nowhere, former_directories=former, acquisition=acquisition)
    change, event = notice(
        subjects,
        SessionRef(now.session_id, now.name),
        kind="session_left",
        message=f"Another session is in {readable_path(old)} now: session {now.name} has left it, and its raw "
        "directory is missing.",
        hint="Under a watched root its new place is found, any other one takes up elcano import NEWPLACE.",
        at_s=now_s,
        severity="warning",
        fact=f"{now_s:.6f}",
    )
    await store.commit(PutSession(now, row.facts), MoveFiles(before, now), change, queue(subjects, event))
    log.warning("another session is where this one was", session=now.name, place=readable_path(old))
