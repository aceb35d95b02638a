"""Find movies by polling, without asking every file every time.

A directory's modification time changes when a name appears in it or leaves it: only directories whose time moved
are listed again. What such times miss (coarse clocks, caching servers, files written again) is caught by keeping a
directory hot for a while, by a full rescan of names now and then, and by a slow sweep over sizes and times.
"""
# ruff: noqa: PTH114, PTH116, PTH208
# Plain strings throughout: a Path for each of 50,000 names would cost more than the whole poll.

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.domain.movie import FileIdentity
from daemon.sessions.no_movies import FOLDER_OUTSIDE, LINK_OUTSIDE, NAME_NOT_UTF8
from daemon.sessions.series_names import TILT_SERIES
from daemon.watchers.entries import CopiesUnderWay, Directory, Entry, FileRecord
from daemon.watchers.found import ChangedFile, FoundFile, IgnoredFile, KnownFile, PollResult
from daemon.watchers.others import OtherFiles
from daemon.watchers.paths import Places, identify, is_utf8, stat_directory
from daemon.watchers.problems import FOLDER_NOT_UTF8, LEADS_NOWHERE, UNMOUNTED, Problems, refusal
from daemon.watchers.selection import MovieSelection, NameClass, is_temporary
from daemon.watchers.series import TiltSeries
from daemon.watchers.sweep import Sweep

_GONE = (errno.ENOENT, errno.ENOTDIR)


@dataclass(frozen=True)
class PollSettings:
    """How a directory tree is polled.

    `hot_s`: a directory is listed in every poll for this long after its time moved (twice the coarsest granularity of
    a server's times, plus skew). `rescan_s`: time between full listings. `large_names`: a directory of so many names
    is too long a list to be read for each new name that is told (`name`): it is listed `hot_s` later instead.
    `sweep_files_per_poll`: known files whose size and time are compared in one poll.
    `named_others_per_suffix`: non-movies told by name before they are only counted.
    """

    hot_s: float = 5.0
    rescan_s: float = 300.0
    large_names: int = 2000
    sweep_files_per_poll: int = 200
    verify_files_per_poll: int = 5000
    named_others_per_suffix: int = 20


class DirectoryPoller:
    """Watches one raw directory. Synchronous and single-threaded; the caller's monotonic time is its only clock."""

    def __init__(
        self,
        root: Path,
        *,
        selection: MovieSelection | None = None,
        settings: PollSettings | None = None,
        allowed_roots: Sequence[Path] = (),
        forbidden: Sequence[Path] = (),
        known: Iterable[KnownFile] = (),
    ) -> None:
        """Watch `root`. Symbolic links may lead under `allowed_roots`; nothing under `forbidden` is entered.

        `known` files are not announced again; those among them that are gone or different are.
        """
        self.root = root
        self._selection = selection or MovieSelection()
        self._settings = settings or PollSettings()
        self._allowed = Places((root, *allowed_roots))
        self._forbidden = Places(forbidden)
        self._directories: dict[str, Directory] = {}
        self._watched: dict[tuple[int, int], str] = {}
        self._restored: dict[str, dict[str, FileRecord]] = {}
        self._copies = CopiesUnderWay()
        self._others = OtherFiles(self._settings.named_others_per_suffix)
        self._problems = Problems()
        self._series = TiltSeries()
        self._links: list[tuple[Directory, str]] = []
        self._sweep = Sweep()
        self._unsettled: list[FileIdentity] = []
        self._next_rescan_s = float("-inf")
        for file in known:
            self._restore(file)
        self._add_directory(str(root), os.path.realpath(root))

    @property
    def unsettled(self) -> Sequence[FileIdentity]:
        """Restored files that had not been judged."""
        return tuple(self._unsettled)

    def poll(self, now_s: float, *, everything: bool = False) -> PollResult:
        """Look once and tell what is new, changed, gone or wrong; `everything` lists all, whatever times say."""
        result = PollResult()
        self._problems.troubled = {}
        self._copies.begin_poll()
        rescan = everything or now_s >= self._next_rescan_s
        if rescan:
            self._next_rescan_s = now_s + self._settings.rescan_s
        for path in list(self._directories):
            directory = self._directories.get(path)  # one listed before it may have dropped it
            if directory is not None:
                self._visit(directory, now_s, rescan=rescan, result=result)
        while self._links:
            self._follow(*self._links.pop(0), now_s, result)
        self._forget_unfound(result)
        self._compare_known(now_s, result)
        self._problems.tell(result)
        return result

    def rebase(self, settled: Iterable[FileIdentity], now_s: float) -> None:
        """Take these as the state of judged files: a later difference is a rewrite. Compared often at first."""
        for identity in settled:
            folder, _, name = str(identity.path).rpartition("/")
            directory = self._directories.get(folder)
            if directory is not None and isinstance(directory.entries.get(name), FileRecord):
                directory.entries[name] = FileRecord(identity.size_bytes, identity.mtime_ns)
                self._sweep.watch_closely(folder, name, now_s)

    def name(self, path: str) -> None:
        """Take word from the kernel that something happened under this name; for the next poll.

        Only of use in a large directory, which is then not listed for the sake of this name; the others are.
        """
        folder, _, name = path.rpartition("/")
        directory = self._directories.get(folder)
        if directory is not None and len(directory.entries) >= self._settings.large_names:
            directory.named.add(name)

    def suspect(self, path: Path) -> bool:
        """List the directory of `path` in the next poll, whatever its time says; False if it is not under watch."""
        text = str(path)
        for candidate in (text, text.rpartition("/")[0]):
            if candidate in self._directories:
                self._directories[candidate].suspect = True
                return True
        # A path in a directory not met yet: its nearest watched ancestor will find it.
        for ancestor in path.parents:
            if str(ancestor) in self._directories:
                self._directories[str(ancestor)].suspect = True
                return True
        return False

    def _restore(self, file: KnownFile) -> None:
        folder, _, name = str(file.identity.path).rpartition("/")
        record = FileRecord(file.identity.size_bytes, file.identity.mtime_ns)
        self._unsettled += [] if file.settled else [file.identity]
        self._restored.setdefault(folder, {})[name] = record
        self._series.take(self._relative(str(file.identity.path)))
        self._sweep.verify_first(folder, name)

    def _add_directory(self, path: str, real_path: str) -> Directory:
        directory = Directory(path, real_path)
        directory.entries.update(self._restored.pop(path, {}))
        self._directories[path] = directory
        return directory

    def _relative(self, path: str) -> str:
        return path[len(str(self.root)) :].lstrip("/")

    def _visit(self, directory: Directory, now_s: float, *, rescan: bool, result: PollResult) -> None:
        """List a directory again if anything speaks for it, and everything newly found below it."""
        pending = [directory]
        while pending:
            current = pending.pop()
            try:
                status = stat_directory(current.path)
                if current.named:
                    pending += self._take_named(current, now_s, result)
                has_moved = status.st_mtime_ns != current.mtime_ns
                if has_moved:
                    current.hot_until_s = now_s + self._settings.hot_s
                if not (has_moved or rescan or current.suspect or now_s < current.hot_until_s):
                    continue
                is_due = current.listing_due_s is None or now_s >= current.listing_due_s
                if not (is_due or rescan or current.suspect):
                    continue
                names = os.listdir(current.path)
            except OSError as error:
                self._stumble(current, error, result)
                continue
            if self._looks_unmounted(current, status, names):
                self._problems.troubled[current.path] = UNMOUNTED
                continue
            current.device, current.mtime_ns, current.suspect = status.st_dev, status.st_mtime_ns, False
            current.listing_due_s = None
            self._watched[status.st_dev, status.st_ino] = current.path
            pending += self._compare_names(current, names, now_s, rescan=rescan, result=result)

    def _take_named(self, directory: Directory, now_s: float, result: PollResult) -> list[Directory]:
        """Take in what the kernel named; all else that happened meanwhile, the listing shows that follows later."""
        named, directory.named = sorted(directory.named), set()
        if directory.listing_due_s is None:
            directory.listing_due_s = now_s + self._settings.hot_s
        entered = []
        for name in named:
            if name not in directory.entries:
                entered.append(self._admit(directory, name, now_s, result))
            elif not os.path.lexists(f"{directory.path}/{name}"):
                if directory.entries[name] is Entry.TEMPORARY:
                    self._remove(directory, name, result)
                else:
                    directory.suspect = True  # removed or moved away: where to, must be known in the same poll
        return [folder for folder in entered if folder is not None]

    def _stumble(self, directory: Directory, error: OSError, result: PollResult) -> None:
        # Where all is gone at once, it was moved or unmounted as a whole: nothing is taken as removed from it.
        if error.errno in _GONE and directory.path != str(self.root) and os.path.lexists(self.root):
            self._drop_tree(directory.path, result)
        else:
            directory.mtime_ns = -1  # so that it is listed as soon as it can be again
            self._problems.troubled[directory.path] = refusal("cannot be watched", error)

    def _looks_unmounted(self, directory: Directory, status: os.stat_result, names: list[str]) -> bool:
        """An unmounted directory is an empty one of another file system: never take that for a deletion."""
        if names or directory.device == status.st_dev:
            return False
        return bool(directory.entries) or any(folder.startswith(f"{directory.path}/") for folder in self._restored)

    def _compare_names(
        self, directory: Directory, names: list[str], now_s: float, *, rescan: bool, result: PollResult
    ) -> list[Directory]:
        entries = directory.entries
        fresh = [name for name in names if name not in entries]
        if len(names) - len(fresh) != len(entries):
            for name in sorted(entries.keys() - set(names)):
                self._remove(directory, name, result)
        if rescan:
            fresh += [name for name, entry in entries.items() if entry is Entry.DANGLING]
        # Sorted: the order of announcements must not depend on hashing.
        found = (self._admit(directory, name, now_s, result) for name in sorted(fresh))
        return [entered for entered in found if entered is not None]

    def _admit(self, directory: Directory, name: str, now_s: float, result: PollResult) -> Directory | None:
        """Take a new name in; return the directory it names, when that is to be watched."""
        path, real_path = f"{directory.path}/{name}", f"{directory.real_path}/{name}"
        self._problems.standing.pop(path, None)
        try:
            status = os.lstat(path)
            if is_link := stat.S_ISLNK(status.st_mode):
                real_path, status = os.path.realpath(path), os.stat(path)
        except OSError as error:
            self._note_unseen(directory, name, error)
            return None
        if not is_utf8(name) and stat.S_ISDIR(status.st_mode):
            directory.entries[name] = Entry.PASSED_OVER
            self._problems.standing[path] = FOLDER_NOT_UTF8
        elif not is_utf8(name):
            self._pass_over(directory, name, status, NAME_NOT_UTF8, result)
        elif is_temporary(name):
            directory.entries[name] = Entry.TEMPORARY
            self._copies.add(path, status)
        elif is_link and not self._allowed.hold(real_path):
            is_folder = stat.S_ISDIR(status.st_mode)
            reason = FOLDER_OUTSIDE if is_folder else self._selection.reason_against(self._relative(path))
            self._pass_over(directory, name, status, reason or LINK_OUTSIDE, result)
        elif stat.S_ISDIR(status.st_mode) and is_link:
            directory.entries[name] = Entry.PASSED_OVER
            self._links.append((directory, name))  # after all real directories, whose names come first
        elif stat.S_ISDIR(status.st_mode):
            return self._enter(directory, name, status, real_path)
        else:
            self._admit_file(directory, name, status, now_s, result)
        return None

    def _follow(self, parent: Directory, name: str, now_s: float, result: PollResult) -> None:
        path = f"{parent.path}/{name}"
        try:
            entered = self._enter(parent, name, os.stat(path), os.path.realpath(path))
        except OSError as error:
            self._note_unseen(parent, name, error)
            return
        if entered is not None:
            self._visit(entered, now_s, rescan=True, result=result)

    def _note_unseen(self, directory: Directory, name: str, error: OSError) -> None:
        path = f"{directory.path}/{name}"
        if error.errno not in (*_GONE, errno.ELOOP):
            self._note_refused(directory, error)
        elif os.path.islink(path):  # its target may come later: tried again at every rescan
            directory.entries[name] = Entry.DANGLING
            self._problems.standing[path] = LEADS_NOWHERE

    def _note_refused(self, directory: Directory, error: OSError) -> None:
        """One problem for a directory, however many of its files are refused; looked into again at the next poll."""
        obstacle = refusal("files in it cannot be looked at", error)
        self._problems.troubled.setdefault(directory.path, obstacle)
        directory.suspect = True

    def _enter(self, parent: Directory, name: str, status: os.stat_result, real_path: str) -> Directory | None:
        path = f"{parent.path}/{name}"
        watched_as = self._watched.get((status.st_dev, status.st_ino))
        # A link back to a directory that is watched already is a loop or would show its movies twice.
        is_again = watched_as is not None and watched_as != path and os.path.lexists(watched_as)
        if is_again or self._selection.excludes(self._relative(path)) or self._forbidden.hold(real_path):
            parent.entries[name] = Entry.PASSED_OVER
            return None
        parent.entries[name] = Entry.DIRECTORY
        self._watched[status.st_dev, status.st_ino] = path
        return self._add_directory(path, real_path)

    def _admit_file(
        self, directory: Directory, name: str, status: os.stat_result, now_s: float, result: PollResult
    ) -> None:
        relative = self._relative(f"{directory.path}/{name}")
        if not stat.S_ISREG(status.st_mode):
            self._pass_over(directory, name, status, "not a regular file", result)
        elif self._selection.classify(relative) is NameClass.MOVIE:
            directory.entries[name] = FileRecord(status.st_size, status.st_mtime_ns)
            identity = identify(f"{directory.path}/{name}", status)
            if self._selection.leaves_series and self._is_of_a_series(relative, result):
                result.other.append(IgnoredFile(identity, TILT_SERIES))
                return
            result.new.append(FoundFile(identity, now_s, renamed_into_place=self._copies.became(status)))
        else:
            self._pass_over(directory, name, status, self._selection.reason_against(relative), result)

    def _is_of_a_series(self, relative: str, result: PollResult) -> bool:
        """Whether a movie is of a tilt series; those that came before it and did not show it yet are named as well."""
        members = self._series.take(relative)
        result.series += [self.root / member for member in members if member != relative]
        return bool(members)

    def _pass_over(
        self, directory: Directory, name: str, status: os.stat_result, reason: str, result: PollResult
    ) -> None:
        directory.entries[name] = Entry.OTHER
        self._others.add(identify(f"{directory.path}/{name}", status), reason, result)

    def _remove(self, directory: Directory, name: str, result: PollResult) -> None:
        entry = directory.entries.pop(name)
        path = f"{directory.path}/{name}"
        self._problems.standing.pop(path, None)
        if entry is Entry.TEMPORARY:
            self._copies.remove(path)
        elif isinstance(entry, FileRecord):
            result.vanished.append(FileIdentity(Path(path), entry.size_bytes, entry.mtime_ns))
        elif entry is Entry.DIRECTORY:
            self._drop_tree(path, result)

    def _drop_tree(self, path: str, result: PollResult) -> None:
        """Stop watching a directory that is gone, and all below it."""
        for below in [known for known in self._directories if known == path or known.startswith(f"{path}/")]:
            directory = self._directories.pop(below)
            self._problems.forget_below(below)
            for name, entry in directory.entries.items():
                if isinstance(entry, FileRecord):
                    result.vanished.append(FileIdentity(Path(below) / name, entry.size_bytes, entry.mtime_ns))
        self._watched = {key: watched for key, watched in self._watched.items() if watched in self._directories}
        parent = self._directories.get(path.rpartition("/")[0])
        if parent is not None:
            parent.entries.pop(path.rpartition("/")[2], None)

    def _forget_unfound(self, result: PollResult) -> None:
        """Restored files whose directory was not met are gone, unless a place could not be looked at."""
        if self._restored and not self._problems.troubled:
            for folder, records in sorted(self._restored.items()):
                for name, record in sorted(records.items()):
                    result.vanished.append(FileIdentity(Path(folder) / name, record.size_bytes, record.mtime_ns))
            self._restored.clear()

    def _compare_known(self, now_s: float, result: PollResult) -> None:
        due = self._sweep.due(
            self._directories,
            now_s,
            files=self._settings.sweep_files_per_poll,
            unverified_files=self._settings.verify_files_per_poll,
        )
        for folder, name in due:
            directory = self._directories.get(folder)
            record = directory.entries.get(name) if directory is not None else None
            if directory is None or not isinstance(record, FileRecord):
                continue
            path = f"{folder}/{name}"
            try:
                status = os.stat(path)
            except OSError as error:
                if error.errno in _GONE:
                    directory.suspect = True
                else:
                    self._note_refused(directory, error)
                    self._sweep.watch_closely(folder, name, now_s)
                continue
            if not stat.S_ISREG(status.st_mode):
                self._remove(directory, name, result)
                directory.suspect = True
            elif (status.st_size, status.st_mtime_ns) != (record.size_bytes, record.mtime_ns):
                directory.entries[name] = FileRecord(status.st_size, status.st_mtime_ns)
                if not self._selection.reason_against(self._relative(path)):  # what its name makes no movie stays none
                    found = FoundFile(identify(path, status), now_s)
                    result.changed.append(ChangedFile(FileIdentity(Path(path), *record), found))
        result.unverified = self._sweep.unverified
