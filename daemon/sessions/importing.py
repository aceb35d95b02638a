"""Import of a session: its directory and manifest become a session, image records and one job in the ledger."""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import structlog

from daemon.config.acquisition import AcquisitionSettings
from daemon.domain.acquisition import Acquisition
from daemon.domain.identity import stable_id
from daemon.domain.names import readable_path
from daemon.domain.session import ImageRecord, Session
from daemon.errors import CommandRefused, FileUnreadable
from daemon.formats.detached import PatientCalls
from daemon.messages import events
from daemon.messages.events import JobRef, SessionRef
from daemon.messages.subjects import Subjects
from daemon.pipeline.graph import StageGraph
from daemon.sessions.acquisition import ReferencePlaces, merge_acquisition
from daemon.sessions.book import SessionBook
from daemon.sessions.folders import SessionFolders
from daemon.sessions.found_orientation import known_orientation
from daemon.sessions.image_records import find_news, in_commits, records_of, renew_images
from daemon.sessions.intake import USUAL_FRAME_COUNT
from daemon.sessions.lifecycle import reopening
from daemon.sessions.manifest import Manifest, find_manifest, parse_manifest, read_stored
from daemon.sessions.outdated import Reopening, plan_reopening
from daemon.sessions.roots import resolve_under
from daemon.sessions.session_record import write_session_record
from daemon.sessions.telling import notice, queue
from daemon.store import ledger
from daemon.store import sessions as session_table
from daemon.store.changes import Change, DropImages, PutImages, PutJob, PutSession
from daemon.store.rows import encode_path
from daemon.store.store import Store

log = structlog.get_logger(__name__)


LIMIT_S = 30.0
"""How long a raw directory may take to answer."""


@dataclass(frozen=True)
class ImportRequest:
    """What to import, and how the configuration says it was taken."""

    directory: Path
    name: str | None = None
    acquisition: AcquisitionSettings | None = None
    stages: tuple[str, ...] = ()
    asked_by: str = ""


@dataclass(frozen=True)
class ImportRules:
    """What every import obeys."""

    roots: Sequence[Path]
    home: Path
    umask: int
    group: str | None
    categories: tuple[str, ...]
    """Folders to make in the session home."""
    graph: StageGraph = field(default_factory=lambda: StageGraph(()))
    """The stages, which say what a corrected acquisition concerns."""
    deciding: AbstractAsyncContextManager[Any] = field(default_factory=anyio.Lock)
    """Held while someone reads the states of tasks and commits what follows from them."""
    calls: PatientCalls = field(default_factory=lambda: PatientCalls(LIMIT_S))
    """Looks at the raw directory, which may not answer."""
    under_way: dict[Path, Session] = field(default_factory=dict)
    """Sessions that are being imported now, by raw directory: no other may have their name or their id meanwhile."""


@dataclass(frozen=True)
class ImportedSession:
    """An open session, ready to be watched."""

    book: SessionBook
    folders: SessionFolders
    unknown: tuple[str, ...] = ()
    """What neither config.toml nor session.json says of how it was taken; of the pixel size, movies' headers may."""
    reopened: Reopening = field(default_factory=Reopening)
    """What is to run again, as the acquisition was corrected: its movies are to be offered."""


@dataclass(frozen=True)
class _Found:
    """What is known of a session before it is entered."""

    request: ImportRequest
    manifest: Manifest | None
    session: Session
    folders: SessionFolders
    places: ReferencePlaces
    is_new: bool


@dataclass(frozen=True)
class _News:
    """What an import makes known, beside images that nobody knew."""

    changed: Sequence[ImageRecord]
    image_count: int
    job: JobRef
    reopened: Reopening


async def import_session(
    store: Store, subjects: Subjects, request: ImportRequest, rules: ImportRules, *, book: SessionBook | None = None
) -> ImportedSession:
    """Import a session, or renew what is known of it; movies and results that exist stay.

    `book`: that of the session when it is open already; it is renewed in place, so that whoever watches
    with it goes on.

    Raises PathOutsideRoots, ManifestInvalid, FileUnreadable, FileUnanswered, CommandRefused and FileNotWritten.
    """
    if not request.stages:
        raise CommandRefused(f"{request.directory}: no stage is to be run.", hint="Name some, or leave pipeline unset.")
    named = request.directory
    raw_directory = await rules.calls.call(named, partial(_real_directory, named, rules.roots))
    stored = await rules.calls.call(named, partial(_stored_manifest, raw_directory, rules.roots))
    # What is computed of a manifest takes as long as it is large: that is no sign of a file system that hangs.
    manifest = await anyio.to_thread.run_sync(parse_manifest, *stored) if stored else None
    places = ReferencePlaces(raw_directory, [*rules.roots, raw_directory])
    merge = partial(merge_acquisition, places, configured=request.acquisition, manifest=manifest)
    taken = await rules.calls.call(named, merge)
    under_way = list(rules.under_way.values())
    known_sessions = [row.session for row in await session_table.sessions(store)]
    others = [*known_sessions, *(session for session in (*under_way, *rules.under_way.values()))]
    session_id, name = _identify(raw_directory, manifest, request, others)
    folders = SessionFolders.of(rules.home, name, umask=rules.umask, group=rules.group)
    session = Session(session_id, name, raw_directory, folders.home, taken.acquisition)
    _refuse_foreign_home(session, others)
    is_new = all(known.session_id != session_id for known in known_sessions)
    found = _Found(request, manifest, session, folders, places, is_new=is_new)
    rules.under_way[raw_directory] = session
    try:
        imported, records = await _enter(store, subjects, found, rules, book)
    finally:
        del rules.under_way[raw_directory]
    for warning in manifest.warnings if manifest else ():
        log.warning("session.json", session=name, said=warning)
    unknown = _unknown(taken.acquisition, records)
    more = {"not known": ", ".join(unknown)} if unknown else {}
    log.info("session imported", session=name, directory=readable_path(raw_directory), known=taken.describe(), **more)
    reopened = imported.reopened
    if reopened.tasks:
        log.info("acquisition changed", session=name, values=reopened.values, tasks_again=reopened.tasks)
    return replace(imported, unknown=unknown)


async def _enter(
    store: Store, subjects: Subjects, found: _Found, rules: ImportRules, book: SessionBook | None
) -> tuple[ImportedSession, list[ImageRecord]]:
    """Enter a session and its images in the ledger and in its book; return both it and the manifest's records."""
    session, request, folders = found.session, found.request, found.folders
    session_id, acquisition = session.session_id, session.acquisition
    await anyio.to_thread.run_sync(folders.prepare, rules.categories)
    merge = partial(records_of, session, found.manifest, request.acquisition, found.places)
    records = await anyio.to_thread.run_sync(merge)
    await _refuse_foreign_images(store, session, records, rules)
    if found.is_new:
        await _forget_interrupted_imports(store, session, records, rules)
    job = JobRef(stable_id("job", session_id, "import"), session_id, session.name, "import")
    write = partial(write_session_record, folders, session, found.manifest, request.stages)
    await anyio.to_thread.run_sync(write)
    default = ImageRecord("", session_id, "", None, None, acquisition)
    is_open = book is not None
    book = book or SessionBook(session, job.job_id, request.stages, default)
    # A movie that is seen or placed meanwhile waits: it must neither miss what is found here nor be forgotten by it.
    async with book.in_hand:
        known_images = await session_table.images(store, session_id)
        orientation = await known_orientation(store, session_id)
        images = await anyio.to_thread.run_sync(renew_images, known_images, records, acquisition, orientation)
        fresh, changed = await anyio.to_thread.run_sync(find_news, known_images, images)
        # Of an image that nobody knew nothing was made: it may be there before its session is. The next import of a
        # new session takes over or forgets what an interrupted one has left.
        for put in in_commits(fresh):
            await store.commit(put)
        async with rules.deciding:
            reopened = await plan_reopening(store, rules.graph, session_id, known_images, images, request.asked_by)
            news = _News(changed, len(images), job, reopened)
            await _commit_import(store, subjects, session, request, news, is_new=found.is_new)
        if not is_open:
            await _restore(store, book, session_id, images)
        await anyio.to_thread.run_sync(book.renew, session, request.stages, default, records, images)
    return ImportedSession(book, folders, (), reopened), records


def _unknown(acquisition: Acquisition, records: Sequence[ImageRecord]) -> tuple[str, ...]:
    """Name what steps need and nobody gave: neither for the session nor for any image."""
    taken = (acquisition, *(record.acquisition for record in records))
    missing = [
        name
        for name in ("voltage_kv", "spherical_aberration_mm", "pixel_size_ang")
        if all(getattr(known, name) is None for known in taken)
    ]
    if all(known.dose_per_frame(1) is None for known in taken):
        missing.append("dose")
    return (*missing, "gain") if acquisition.gain is None else tuple(missing)


def _real_directory(directory: Path, roots: Sequence[Path]) -> Path:
    real = resolve_under(directory, roots)
    if not real.is_dir():
        raise CommandRefused(f"{directory} is not a directory.", hint="Name the raw directory of a session.")
    try:
        next(real.iterdir(), None)
    except OSError as error:
        raise FileUnreadable(real, error) from error
    return real


def _stored_manifest(raw_directory: Path, roots: Sequence[Path]) -> tuple[Path, bytes] | None:
    path = find_manifest(raw_directory)
    return None if path is None else (path, read_stored(resolve_under(path, [*roots, raw_directory])))


def _identify(
    raw_directory: Path, manifest: Manifest | None, request: ImportRequest, known: Sequence[Session]
) -> tuple[str, str]:
    """Return id and name of a session: those it was first imported with, whatever came to be known of it since.

    Raises CommandRefused for another name, and for a manifest that is a copy of another session's.
    """
    for session in known:
        if session.raw_directory == raw_directory:
            if request.name not in {None, session.name}:
                raise CommandRefused(
                    f"{raw_directory} is imported as {session.name!r} already.",
                    hint=f"Leave out the name {request.name!r}: results lie under the first one.",
                )
            return session.session_id, session.name
    name = request.name or (manifest.session_name if manifest else None) or raw_directory.name
    session_id = (manifest.session_oid if manifest else None) or stable_id("session", encode_path(raw_directory))
    for session in known:
        other = session.raw_directory
        if raw_directory.is_relative_to(other) or other.is_relative_to(raw_directory):
            raise CommandRefused(
                f"{raw_directory} and the session directory {other} lie one in the other.",
                hint="Import each session directory by itself: a movie belongs to one session.",
            )
        if session.session_id == session_id:
            raise CommandRefused(
                f"The session.json of {raw_directory} says it is session {session_id}, "
                f"which is imported from {session.raw_directory} already.",
                hint="A copied session needs an msession.oid and a name of its own; one that was renamed goes on when "
                f"it is {session.raw_directory.name} in {session.raw_directory.parent} again.",
            )
    return session_id, name


def _refuse_foreign_home(session: Session, known: Sequence[Session]) -> None:
    for other in known:
        if other.home == session.home and other.session_id != session.session_id:
            raise CommandRefused(
                f"Session name {session.name!r} belongs to {other.raw_directory} already.",
                hint=f"Give {session.raw_directory} another one: name under [[session]], or elcano import --name.",
            )


def _others_under_way(session: Session, rules: ImportRules) -> set[str]:
    return {other.session_id for other in rules.under_way.values()} - {session.session_id}


async def _refuse_foreign_images(
    store: Store, session: Session, records: Sequence[ImageRecord], rules: ImportRules
) -> None:
    image_ids, others = [record.image_id for record in records], _others_under_way(session, rules)
    foreign = await session_table.foreign_image(store, session.session_id, image_ids, others)
    if foreign is not None:
        raise CommandRefused(
            f"The session.json of {session.raw_directory} names image {foreign.image_id}, which is {foreign.name!r} of "
            f"another session already.",
            hint="A copied session.json needs oids of its own, or none.",
        )


async def _forget_interrupted_imports(
    store: Store, session: Session, records: Sequence[ImageRecord], rules: ImportRules
) -> None:
    """Forget images that an import left which was killed between its parts, but those that this one enters."""
    others = _others_under_way(session, rules)
    unfounded = await session_table.unfounded_sessions(store)
    # One that has begun meanwhile has images as well, and will be a session.
    left = set(unfounded) - others - _others_under_way(session, rules)
    if left:
        await store.commit(DropImages(tuple(sorted(left)), tuple(record.image_id for record in records)))


async def _commit_import(
    store: Store, subjects: Subjects, session: Session, request: ImportRequest, news: _News, *, is_new: bool
) -> None:
    job, reopened = news.job, news.reopened
    now_s = time.time()
    facts = {"stages": list(request.stages), "asked_by": request.asked_by}
    ref = SessionRef(session.session_id, session.name)
    changes: list[Change] = [
        PutSession(session, facts),
        PutImages(tuple(news.changed)),
        PutJob(job.job_id, session.session_id, "import", {"stages": list(request.stages)}),
        *reopened.changes,
    ]
    told = []
    if is_new:
        told = [
            events.session_imported(
                subjects,
                ref,
                job_id=job.job_id,
                raw_directory=readable_path(session.raw_directory),
                home=readable_path(session.home),
                image_count=news.image_count,
                at_s=now_s,
                asked_by=request.asked_by,
            ),
            events.job_started(subjects, job, steps=request.stages, at_s=now_s),
        ]
    elif request.asked_by:
        opening = await reopening(store, subjects, ref, reason="imported again", at_s=now_s, asked_by=request.asked_by)
        changes += opening[0]
        told += opening[1]
    if reopened.tasks:
        message = (
            f"The acquisition of {session.name} changed ({', '.join(reopened.values)}): "
            f"{reopened.tasks} step(s) of {len(reopened.movies)} movie(s) run again."
        )
        put, event = notice(
            subjects,
            ref,
            kind="acquisition_changed",
            message=message,
            hint="",
            at_s=now_s,
            severity="info",
            fact=f"{now_s:.6f}",
        )
        changes.append(put)
        told.append(event)
    await store.commit(*changes, *(queue(subjects, event) for event in told))


async def _restore(store: Store, book: SessionBook, session_id: str, images: Mapping[str, ImageRecord]) -> None:
    decisions = await session_table.decisions(store, session_id)
    usual = decisions.get(USUAL_FRAME_COUNT)
    movies = await ledger.movies(store, session_id)
    restore = partial(book.restore, movies, images, usual if isinstance(usual, int) else None)
    await anyio.to_thread.run_sync(restore)
