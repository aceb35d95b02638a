"""Does everything add up? Raw directory, ledger, the session's own records and outputs, one against the other."""

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio.to_thread

from daemon.domain.movie import MOVIE_SUFFIXES, LedgerEntry
from daemon.domain.names import readable_path
from daemon.domain.session import Session
from daemon.domain.states import MovieState, TaskState
from daemon.errors import FileUnreadable
from daemon.formats.atomic import TEMPORARY_PREFIX
from daemon.pipeline.result import OutputFile, TaskCompleted
from daemon.sessions.book import SAME_EXPOSURE
from daemon.sessions.left_alone import find_left_alone
from daemon.sessions.matching import image_key
from daemon.sessions.raw_files import NO_LINKS, RawPlaces, raw_files, real_places
from daemon.sessions.records import TaskRecord, read_record, record_path, records_folder
from daemon.store import artifacts, ledger, sessions, tasks
from daemon.store.rows import TaskRow
from daemon.store.store import Store
from daemon.store.untold import Untold, untold_moves

_REFERENCES = frozenset({"gains", "defects"})
"""Folders directly under a raw directory that hold no movies."""
_SERVING = frozenset({*(state for state in MovieState if not state.is_terminal), MovieState.DONE, MovieState.FAILED})
"""States of a movie that stands for its exposure: it is done, or will be, or waits for a person."""


_NOT_JUDGED_BY_CONTENT = frozenset(
    {MovieState.SEEN, MovieState.SETTLING, MovieState.IGNORED, MovieState.VANISHED, MovieState.SUPERSEDED}
)
"""States in which a file may change and nothing that was made of it is wrong."""


@dataclass(frozen=True)
class Gap:
    """Something that does not add up: what kind, where, and in words."""

    kind: str
    path: str
    what: str


@dataclass(frozen=True)
class AuditReport:
    """One session's account: how many movies ended how, how many are still open, and every gap."""

    session: str
    movies: Mapping[str, int]
    open_movies: int
    tasks: Mapping[str, int]
    gaps: Sequence[Gap] = field(default_factory=list)
    notes: Sequence[Gap] = field(default_factory=list)
    """What a person may want to know and is as it should be: raw files that went to an archive."""
    partly_cancelled: int = 0
    """How many movies are done of which a step was cancelled."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing is unaccounted for."""
        return not self.gaps


Selects = Callable[[Path], bool]
"""Whether a path inside the raw directory is one that the watcher would take for a movie."""


def is_movie_name(relative: Path) -> bool:
    """Take every visible file with a movie's suffix for a movie, but for gains and defects."""
    is_hidden = any(part.startswith(".") for part in relative.parts)
    return relative.suffix.lower() in MOVIE_SUFFIXES and not is_hidden and relative.parts[0] not in _REFERENCES


async def audit_session(
    store: Store,
    session: Session,
    folders: Sequence[str],
    *,
    selects: Selects = is_movie_name,
    deep: bool = False,
    unseen_for_s: float = 0.0,
    places: RawPlaces = NO_LINKS,
) -> AuditReport:
    """Reconcile one session, which may be in work: only what a second look finds as well is a gap.

    `folders` are the categories outputs may lie in; `deep` reads every output's bytes. A file that was
    written within the last `unseen_for_s` and is not in the ledger as it is now is no gap: watching gets to it.
    `places` says where links in the raw directory may lead.
    """
    rules = _Rules(folders, selects, deep, unseen_for_s, places)
    report = await _look(store, session, rules)
    if report.is_clean:
        return report
    first = {(gap.kind, gap.path) for gap in report.gaps}
    again = await _look(store, session, rules)
    return replace(again, gaps=[gap for gap in again.gaps if (gap.kind, gap.path) in first])


@dataclass(frozen=True)
class _Rules:
    folders: Sequence[str]
    selects: Selects
    deep: bool
    unseen_for_s: float
    places: RawPlaces


async def _look(store: Store, session: Session, rules: _Rules) -> AuditReport:
    entries = await ledger.movies(store, session.session_id)
    owed = await tasks.tasks(store, session_id=session.session_id)
    done = {entry.movie_id for entry in entries if entry.state is MovieState.DONE}
    names = {image.image_id: image.name for image in await sessions.images(store, session.session_id)}
    sums = {artifact.path: artifact.sha256 for artifact in await artifacts.artifacts(store, session.session_id)}
    untold = await untold_moves(store, session.session_id)
    audit = _Audit(session, rules, entries, owed, names, sums, untold)
    gaps = await anyio.to_thread.run_sync(audit.run)
    left = [_gap("left_alone", session.raw_directory, kind.said) for kind in await find_left_alone(store, session)]
    notes = left + await anyio.to_thread.run_sync(lambda: list(audit.notes()))
    return AuditReport(
        session=session.name,
        movies=dict(sorted(Counter(str(entry.state) for entry in entries).items())),
        open_movies=sum(not entry.state.is_terminal for entry in entries),
        tasks=dict(sorted(Counter(str(task.state) for task in owed).items())),
        gaps=gaps,
        notes=notes,
        partly_cancelled=len(done & {task.movie_id for task in owed if task.state is TaskState.CANCELLED}),
    )


class _Audit:
    def __init__(
        self,
        session: Session,
        rules: _Rules,
        entries: Sequence[LedgerEntry],
        owed: Sequence[TaskRow],
        names: Mapping[str, str],
        sums: Mapping[str, str],
        untold: Sequence[Untold],
    ) -> None:
        self._session = session
        self._rules = rules
        self._entries = entries
        self._names = names
        self._sums = sums
        self._untold = untold
        self._newest = {entry.identity.path: entry for entry in sorted(entries, key=lambda entry: entry.revision)}
        self._tasks: dict[str, list[TaskRow]] = {}
        for task in owed:
            self._tasks.setdefault(task.movie_id or "", []).append(task)
        self._tasked = {(task.stage, self._name(task)) for task in owed}
        self._in_work = {self._name(task) for task in owed if not task.state.is_terminal}
        self._something_runs = any(task.state is TaskState.RUNNING for task in owed)
        # What the store knows as ours is not foreign, also where a newer revision's record does not name it.
        self._claimed = set(sums)
        self._recorded: set[tuple[str, str]] = set()
        self._unread: dict[Path, OSError] = {}
        """Folders of the raw directory that could not be read, and why."""

    def run(self) -> list[Gap]:
        return [
            *self._unknown_files(),
            *self._movies(),
            *self._changed_files(),
            *self._unread_folders(),
            *self._unused_spares(),
            *self._untold_moves(),
            *self._records_without_task(),
            *self._foreign_outputs(),
        ]

    def notes(self) -> Iterator[Gap]:
        """Say which movies are over whose raw file is not there any more."""
        for path, entry in self._newest.items():
            is_over = entry.state.is_terminal and entry.state not in {MovieState.VANISHED, MovieState.SUPERSEDED}
            if is_over and entry.image_id is not None and _is_gone(path):
                yield _gap("raw_file_gone", path, f"{entry.state}; the raw file is not there any more (moved away?)")

    def _name(self, task: TaskRow) -> str:
        return self._names.get(task.image_id or "", "")

    def _unknown_files(self) -> Iterator[Gap]:
        known = {entry.identity.path for entry in self._entries}
        raw = self._session.raw_directory
        if not _may_be_folder(raw):
            yield _gap("raw_directory_missing", raw, "the raw directory is not there")
            return
        unknown = self._look_into_raw(known)
        # A folder with several names is watched under one of them, which need not be the one taken here.
        really_known = real_places(known) if unknown else set()
        for path in unknown:
            if real_places([path]) <= really_known:
                continue
            if path.is_symlink() and not path.exists():
                yield _gap("dangling_link", path, "a link that leads nowhere: restore its target, or remove it")
            else:
                yield _gap("unknown_file", path, "a movie on disk that the ledger has never seen")

    def _unread_folders(self) -> Iterator[Gap]:
        """Folders of the raw directory that could not be read, or whose files could not be looked at."""
        raw = self._session.raw_directory
        for folder, error in self._unread.items():
            if not self._unread.keys().isdisjoint(folder.parents):
                continue  # it cannot be reached: the folder above says so
            is_reference = folder != raw and not _REFERENCES.isdisjoint(folder.relative_to(raw).parts[:1])
            if not is_reference and not isinstance(error, FileNotFoundError | NotADirectoryError):
                what = f"cannot be read ({error.strerror or error}): movies in it are not accounted for"
                yield _gap("folder_unreadable", folder, what)

    def _look_into_raw(self, known: set[Path]) -> list[Path]:
        """Return movies that are not known and had their time."""
        raw, unread = self._session.raw_directory, self._unread
        unknown = []
        for path in raw_files(raw, self._rules.places, unread.setdefault):
            if path in known or not self._rules.selects(path.relative_to(raw)):
                continue
            try:
                unknown += [] if self._is_fresh(path.lstat()) else [path]  # of a link itself: it may lead nowhere
            except FileNotFoundError:
                continue  # came and went
            except OSError as error:
                unread.setdefault(path.parent, error)
        return unknown

    def _is_fresh(self, status: os.stat_result) -> bool:
        # A copy may keep the original's times; the change of its directory entry is the copy's own.
        return time.time() - max(status.st_mtime, status.st_ctime) < self._rules.unseen_for_s

    def _changed_files(self) -> Iterator[Gap]:
        """Files that are not those any more that were judged and processed."""
        for path, entry in self._newest.items():
            if entry.state in _NOT_JUDGED_BY_CONTENT:
                continue
            try:
                status = path.stat()
            except OSError as error:
                self._unread.setdefault(path.parent, error)  # where it is merely gone, that is told as well
                continue
            stands = (status.st_size, status.st_mtime_ns)
            was = (entry.identity.size_bytes, entry.identity.mtime_ns)
            if stands != was and not self._is_fresh(status):
                how = f"{was[0]} bytes, now {stands[0]}" if stands[0] != was[0] else "written at another time"
                yield _gap("raw_file_changed", path, f"{entry.state}, but not the file it was ({how})")

    def _movies(self) -> Iterator[Gap]:
        for entry in self._entries:
            owed = self._tasks.get(entry.movie_id, [])
            is_open = [task for task in owed if not task.state.is_terminal]
            path = entry.identity.path
            if entry.state is MovieState.DONE and not owed:
                yield _gap("movie_without_tasks", path, "done, but no task was ever made for it")
            if entry.state is MovieState.COMPLETE and not is_open:
                yield _gap("movie_left_open", path, "complete and without any open task, but it was never ended")
            if entry.state.is_terminal and is_open:
                listed = ", ".join(f"{task.stage} {task.state}" for task in is_open)
                yield _gap("task_left_open", path, f"the movie is {entry.state}, but: {listed}")
            if not entry.state.is_terminal and _is_gone(path):
                yield _gap("file_gone", path, f"{entry.state}, but the file is not there")
            # What was superseded without a newer revision was moved, or gave its image to another file.
            if self._newest[path] is entry and entry.state is not MovieState.SUPERSEDED:
                for task in owed:
                    if task.state is TaskState.COMPLETED:
                        yield from self._completed(task, entry)

    def _unused_spares(self) -> Iterator[Gap]:
        """Files that were left alone for another one of their exposure, though no file of it is processed."""
        raw = self._session.raw_directory
        keys = {path: image_key(path.relative_to(raw)) for path in self._newest}
        served = {keys[path] for path, entry in self._newest.items() if entry.state in _SERVING}
        for path, entry in self._newest.items():
            is_spare = entry.state is MovieState.IGNORED and entry.reason.startswith(SAME_EXPOSURE)
            if is_spare and keys[path] not in served:
                yield _gap("spare_not_used", path, f"ignored ({entry.reason}), which is not processed itself")

    def _untold_moves(self) -> Iterator[Gap]:
        movies = {entry.movie_id: entry.identity.path for entry in self._entries}
        owners = {task.task_id: task for owed in self._tasks.values() for task in owed}
        for move in self._untold:
            task = owners.get(move.subject_id)
            what = move.subject if task is None else f"{task.stage} of {self._name(task)}"
            movie_id = move.subject_id if task is None else task.movie_id or ""
            path = movies.get(movie_id, self._session.raw_directory)
            lacking = move.moves - move.events
            yield _gap("event_missing", path, f"{what} became {move.to_state}, {lacking} event(s) {move.event} lack")

    def _completed(self, task: TaskRow, entry: LedgerEntry) -> Iterator[Gap]:
        name = self._name(task)
        where = record_path(self._session.home, task.stage, name)
        self._recorded.add((task.stage, name))
        try:
            record = read_record(self._session.home, task.stage, name)
        except FileUnreadable as error:
            yield _gap("record_unreadable", where, error.message)
            return
        if record is None or not isinstance(record.outcome, TaskCompleted):
            yield _gap("record_missing", where, f"{task.stage} of {name} is completed, no whole record says so")
            return
        told_of = (record.movie.size_bytes, record.movie.mtime_ns)
        # A movie that was moved is the same movie.
        if told_of != (entry.identity.size_bytes, entry.identity.mtime_ns):
            yield _gap("record_of_another_file", where, f"it tells of {record.movie}, the ledger of {entry.identity}")
        for output in record.outcome.outputs:
            self._claimed.add(output.path)
            yield from self._output(output, record)

    def _output(self, output: OutputFile, record: TaskRecord) -> Iterator[Gap]:
        path = self._session.home / output.path
        made_by = f"{record.stage} of {record.image_name}"
        try:
            size_bytes = path.stat().st_size
        except OSError as error:
            yield _gap("output_missing", path, f"{made_by} wrote it: {error.strerror or error}")
            return
        if size_bytes != output.size_bytes:
            yield _gap("output_changed", path, f"has {size_bytes} bytes, {made_by} wrote {output.size_bytes}")
        elif self._rules.deep and (said := _compare(path, output.sha256)):
            yield _gap("output_changed", path, f"{said} {made_by} wrote")
        if self._sums.get(output.path) != output.sha256:
            yield _gap("store_differs", path, f"the store and the record of {made_by} give it different sums")

    def _records_without_task(self) -> Iterator[Gap]:
        for path in sorted(records_folder(self._session.home).glob("*/*.json")):
            key = (path.parent.name, path.stem)
            if path.name.startswith(TEMPORARY_PREFIX):
                if not self._something_runs:
                    yield _gap("unfinished_output", path, "left by a process that died while writing")
            elif key not in self._recorded and key not in self._tasked:
                yield _gap("record_without_task", path, "a record whose movie the ledger does not know")

    def _foreign_outputs(self) -> Iterator[Gap]:
        for folder in self._rules.folders:
            for path in _files_under(self._session.home / folder):
                if path.name.startswith(TEMPORARY_PREFIX):
                    if not self._something_runs:
                        yield _gap("unfinished_output", path, "left by a process that died while writing")
                elif not (path.relative_to(self._session.home).as_posix() in self._claimed or self._is_in_work(path)):
                    yield _gap("foreign_output", path, "no record says that Elcano wrote it")

    def _is_in_work(self, path: Path) -> bool:
        """Whether an open task may have written this file, before its record."""
        name = path.name
        ends = [position for position, character in enumerate(name) if character in "._"]
        return any(name[:end] in self._in_work for end in ends)


def _gap(kind: str, path: Path, what: str) -> Gap:
    return Gap(kind, readable_path(path), what)


def _may_be_folder(path: Path) -> bool:
    """Whether a folder is there, or one that cannot be looked at may be."""
    try:
        return path.is_dir()
    except OSError:
        return True


def _is_gone(path: Path) -> bool:
    """Whether there is no such file; of one in a folder that cannot be read nothing is known."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False  # the folder itself is told
    return False


def _files_under(folder: Path) -> Iterator[Path]:
    for place, directories, files in os.walk(folder):
        directories.sort()
        for name in sorted(files):
            yield Path(place) / name


def _compare(path: Path, sha256: str) -> str:
    """Say what is wrong with a file's bytes; empty when their sum is `sha256`."""
    try:
        with path.open("rb") as file:
            is_same = hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError as error:
        return f"cannot be read ({error.strerror or error}), which"
    return "" if is_same else "its bytes are not those that"
