"""Import of a session: its directory and manifest become a session, image records and one job in the ledger."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import structlog

from daemon.config.acquisition import AcquisitionSettings
from daemon.domain.identity import stable_id
from daemon.domain.movie import LedgerEntry
from daemon.domain.names import readable_path
from daemon.domain.session import ImageRecord, Session
from daemon.errors import CommandRefused, FileUnreadable
from daemon.formats.detached import PatientCalls
from daemon.messages import events
from daemon.messages.events import JobRef, SessionRef
from daemon.messages.subjects import Subjects
from daemon.pipeline.graph import StageGraph
from daemon.sessions.acquisition import ReferencePlaces, merge_acquisition, missing_values
from daemon.sessions.book import SessionBook
from daemon.sessions.folders import SessionFolders
from daemon.sessions.found_orientation import known_orientation
from daemon.sessions.image_records import find_news, in_commits, records_of, renew_images
from daemon.sessions.intake import USUAL_FRAME_COUNT
from daemon.sessions.lifecycle import reopening
from daemon.sessions.manifest import Manifest, find_manifest, parse_manifest, read_stored
from daemon.sessions.mark_journal import take_up_words
from daemon.sessions.moving import find_moved, move_session, try_unread_again
from daemon.sessions.outdated import Reopening, plan_reopening
from daemon.sessions.place_mark import PlaceMark, read_place_mark
from daemon.sessions.renewal import commit_renewal
from daemon.sessions.roots import resolve_under
from daemon.sessions.session_identity import identify_session, refuse_folder_of_sessions, refuse_foreign_home
from daemon.sessions.session_record import write_session_record
from daemon.sessions.taken_places import facts_of_manifest, find_left, leave_place, refuse_left_place
from daemon.sessions.telling import notice, queue
from daemon.store import ledger
from daemon.store import sessions as session_table
from daemon.store.changes import Change, DropImages, PutJob, PutSession
from daemon.store.store import Store

log = structlog.get_logger(__name__)

LIMIT_S = 30.0
"""How long a raw directory may take to answer."""

_NAME_ONE = "Name the raw directory of a session; one that was moved goes on as soon as its new place is imported."


@dataclass(frozen=True)
class ImportRequest:
    """What to import, and how the configuration says it was taken."""

    directory: Path
    name: str | None = None
    acquisition: AcquisitionSettings | None = None
    stages: tuple[str, ...] = ()
    asked_by: str = ""


async def _as_it_is(request: ImportRequest) -> ImportRequest:
    return request


@dataclass(frozen=True)
class ImportRules:
    """What every import obeys."""

    roots: Sequence[Path]
    home: Path
    umask: int
    group: str | None
    categories: tuple[str, ...]
    """Folders to make in the session home."""
    holders: Sequence[Path] = ()
    """Folders whose sub-folders are sessions: none of them is a session itself."""
    graph: StageGraph = field(default_factory=lambda: StageGraph(()))
    """The stages, which say what a corrected acquisition concerns."""
    deciding: AbstractAsyncContextManager[Any] = field(default_factory=anyio.Lock)
    """Held while someone reads the states of tasks and commits what follows from them."""
    calls: PatientCalls = field(default_factory=lambda: PatientCalls(LIMIT_S))
    """Looks at the raw directory, which may not answer."""
    under_way: dict[Path, Session] = field(default_factory=dict)
    """Sessions that are being imported now, by raw directory: no other may have their name or their id meanwhile."""
    leaving: Callable[[Session, Path], AbstractAsyncContextManager[Any]] = lambda *_: nullcontext()
    """Ends whatever goes on in the raw directory of a session; held while the session leaves it, as the directory
    that is imported shows: which it was moved to, or which is that very place."""
    renew: Callable[[ImportRequest], Awaitable[ImportRequest]] = _as_it_is
    """Asks again what the configuration says of a session once that was moved to a directory: it may name the old."""
    copied: dict[Path, Path] = field(default_factory=dict)
    """Directories that are copies of another session's: each is its new place once that one is gone."""


@dataclass(frozen=True)
class ImportedSession:
    """An open session, ready to be watched."""

    book: SessionBook
    folders: SessionFolders
    unknown: tuple[str, ...] = ()
    """What neither config.toml nor session.json says of how it was taken; of the pixel size, movies' headers may."""
    reopened: Reopening = field(default_factory=Reopening)
    """What is to run again, as the acquisition was corrected: its movies are to be offered."""
    unread: Sequence[LedgerEntry] = ()
    """Movies that could not be read while the session was moved, and are to be offered."""
    place_mark: PlaceMark | None = None
    """Which directory was imported: another one of its name is none of the session."""


@dataclass(frozen=True)
class _Found:
    """What is known of a session before it is entered."""

    request: ImportRequest
    manifest: Manifest | None
    session: Session
    folders: SessionFolders
    places: ReferencePlaces
    is_new: bool
    place_mark: PlaceMark | None
    manifest_facts: Mapping[str, Any]


@dataclass(frozen=True)
class _News:
    """What an import makes known, beside images that nobody knew."""

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
    await refuse_left_place(store, named)
    raw_directory = await rules.calls.call(named, partial(real_directory, named, rules.roots))
    stored = await rules.calls.call(named, partial(stored_manifest, raw_directory, rules.roots))
    # What is computed of a manifest takes as long as it is large: that is no sign of a file system that hangs.
    manifest = await anyio.to_thread.run_sync(parse_manifest, *stored) if stored else None
    rules.copied.pop(raw_directory, None)
    left, moved = await _settle_place(store, subjects, raw_directory, manifest, request, rules)
    if left is not None and request.name == left.name:  # who knew it by its place, as a start does
        request = replace(request, name=None)
    if left is not None or moved is not None:
        request, book = await rules.renew(request), None
    known_sessions = [row.session for row in await session_table.sessions(store)]
    former = next((known.former_directories for known in known_sessions if known.raw_directory == raw_directory), ())
    places = ReferencePlaces(raw_directory, [*rules.roots, raw_directory], former)
    merge = partial(merge_acquisition, places, configured=request.acquisition, manifest=manifest)
    taken = await rules.calls.call(named, merge)
    mark = await rules.calls.call(named, partial(read_place_mark, raw_directory))
    facts = await facts_of_manifest(store, raw_directory, manifest, rules.calls)
    under_way = list(rules.under_way.values())
    known_sessions = [row.session for row in await session_table.sessions(store)]
    others = [*known_sessions, *(session for session in (*under_way, *rules.under_way.values()))]
    refuse_folder_of_sessions(raw_directory, others, rules.holders)
    session_id, name = identify_session(raw_directory, manifest, request.name, others, rules.copied)
    folders = SessionFolders.of(rules.home, name, umask=rules.umask, group=rules.group)
    session = Session(session_id, name, raw_directory, folders.home, taken.acquisition, former_directories=former)
    refuse_foreign_home(session, others)
    is_new = all(known.session_id != session_id for known in known_sessions)
    found = _Found(request, manifest, session, folders, places, is_new, mark, facts)
    rules.under_way[raw_directory] = session
    try:
        imported, records = await _enter(store, subjects, found, rules, book)
    finally:
        del rules.under_way[raw_directory]
    for warning in manifest.warnings if manifest else ():
        log.warning("something in session.json is not used", session=name, what=warning)
    unknown = missing_values([taken.acquisition, *(record.acquisition for record in records)])
    more = {"not known": ", ".join(unknown)} if unknown else {}
    log.info("session imported", session=name, directory=readable_path(raw_directory), known=taken.describe(), **more)
    reopened = imported.reopened
    if reopened.tasks:
        log.info("acquisition changed", session=name, values=reopened.values, tasks_again=reopened.tasks)
    return replace(imported, unknown=unknown)


async def _settle_place(
    store: Store,
    subjects: Subjects,
    raw_directory: Path,
    manifest: Manifest | None,
    request: ImportRequest,
    rules: ImportRules,
) -> tuple[Session | None, Session | None]:
    """Have the session leave that was in a directory, and the one go on that was moved there; return both."""
    left = await find_left(store, raw_directory, manifest, rules.calls)
    if left is not None:
        with anyio.CancelScope(shield=True):
            async with rules.leaving(left.session, raw_directory):
                await leave_place(store, subjects, left)
    moved = await find_moved(store, raw_directory, manifest, rules.calls, rules.copied)
    if moved is not None:
        with anyio.CancelScope(shield=True):  # who asked may go away; the session must not stay without its watching
            async with rules.leaving(moved.session, raw_directory):
                await move_session(store, subjects, moved, raw_directory, request.asked_by)
    return (None if left is None else left.session), (None if moved is None else moved.session)


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
            reopened = await plan_reopening(store, rules.graph, session_id, known_images, images)
            again = await commit_renewal(store, changed, reopened.again, request.asked_by)
            reopened = replace(reopened, again=again)
            await _commit_import(store, subjects, found, _News(len(images), job, reopened))
            unread = await try_unread_again(store, session_id, request.asked_by)
        # Before any movie is judged: the database may be new, and its images not.
        await take_up_words(store, subjects, session, rules.deciding, rules.calls)
        if not is_open:
            await _restore(store, book, session_id, images)
        await anyio.to_thread.run_sync(book.renew, session, request.stages, default, records, images)
    return ImportedSession(book, folders, (), reopened, unread, found.place_mark), records


def real_directory(directory: Path, roots: Sequence[Path]) -> Path:
    """Return where a raw directory really is. Raises PathOutsideRoots, CommandRefused, FileUnreadable."""
    real = resolve_under(directory, roots)
    if not real.is_dir():
        raise CommandRefused(f"{directory} is not a directory.", hint=_NAME_ONE)
    try:
        next(real.iterdir(), None)
    except OSError as error:
        raise FileUnreadable(real, error) from error
    return real


def stored_manifest(raw_directory: Path, roots: Sequence[Path]) -> tuple[Path, bytes] | None:
    """Return the session.json of a raw directory and its bytes, None where there is none. Raises as `read_stored`."""
    path = find_manifest(raw_directory)
    return None if path is None else (path, read_stored(resolve_under(path, [*roots, raw_directory])))


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


async def _commit_import(store: Store, subjects: Subjects, found: _Found, news: _News) -> None:
    session, request = found.session, found.request
    job, reopened = news.job, news.reopened
    now_s = time.time()
    facts: dict[str, Any] = {"stages": list(request.stages), "asked_by": request.asked_by}
    facts |= found.manifest_facts
    if found.place_mark is not None:
        facts |= found.place_mark.as_facts()
    ref = SessionRef(session.session_id, session.name)
    changes: list[Change] = [
        PutSession(session, facts),
        PutJob(job.job_id, session.session_id, "import", {"stages": list(request.stages)}),
    ]
    told = []
    if found.is_new:
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
