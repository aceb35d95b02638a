"""The session home: its folders, their owners, and the links to the raw movies."""

import contextlib
import errno
import grp
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.domain.names import name_problem
from daemon.errors import CommandRefused, FileNotWritten
from daemon.formats.atomic import TEMPORARY_PREFIX
from daemon.sessions.present_place import follow_path

RECORDS = ".elcano"
FRAMES = "frames"
TABLES = "tables"


@dataclass(frozen=True)
class SessionFolders:
    """Everything under `<home>/<session>/`. Nothing is made before `prepare`."""

    home: Path
    umask: int = 0o027
    group: str | None = None

    @classmethod
    def of(cls, home: Path, session_name: str, *, umask: int = 0o027, group: str | None = None) -> "SessionFolders":
        """Return the folders of a session. Raises CommandRefused for a name that cannot be a folder."""
        problem = name_problem(session_name)
        if problem:
            raise CommandRefused(
                f"Session name {session_name!r} {problem}.", hint="Give another one: name under [[session]]."
            )
        return cls(home / session_name, umask, group)

    @property
    def frames(self) -> Path:
        """Links to the raw movies."""
        return self.home / FRAMES

    @property
    def tables(self) -> Path:
        """Parquet snapshots."""
        return self.home / TABLES

    @property
    def records(self) -> Path:
        """The session's own records, from which the database can be rebuilt."""
        return self.home / RECORDS

    @property
    def session_record(self) -> Path:
        """What the session was when it was last written down."""
        return self.records / "session.json"

    @property
    def file_mode(self) -> int:
        """Permissions of a file written here."""
        return 0o666 & ~self.umask

    @property
    def folder_mode(self) -> int:
        """Permissions of a folder made here."""
        return 0o777 & ~self.umask

    def prepare(self, categories: Iterable[str]) -> None:
        """Make the home and its folders; those that exist are left as they are. Raises FileNotWritten."""
        for folder in (self.home, self.records, *(self.home / category for category in categories)):
            self.make(folder)

    def make(self, folder: Path) -> None:
        """Make a folder and the missing ones above it, with the configured mode and group."""
        missing = [place for place in (folder, *folder.parents) if not place.is_dir()]
        for place in reversed(missing):
            try:
                self._make_one(place)
            except OSError as error:
                raise FileNotWritten(place, error) from error

    def link_frames(self, image_name: str, movie: Path) -> Path:
        """Link `frames/<image name><suffix>` to a raw movie and return the link; the raw file is not touched.

        A link that points elsewhere is turned; anything else of that name is not ours and raises
        FileNotWritten.
        """
        link = self.frames / f"{image_name}{movie.suffix.lower()}"
        target = movie.absolute()
        if not self.frames.is_dir():
            self.make(self.frames)
        try:
            _place_link(link, target)
        except OSError as error:
            raise FileNotWritten(link, error) from error
        return link

    def turn_links(self, former: Sequence[Path], now: Path) -> int:
        """Turn every link that leads into a former raw directory to where that was moved; return how many.

        Raises FileNotWritten.
        """
        turned = 0
        try:
            for link in self.frames.iterdir() if self.frames.is_dir() else ():
                target = link.readlink() if link.is_symlink() else None
                if target is not None and (followed := follow_path(target, former, now)) != target:
                    _place_link(link, followed)
                    turned += 1
        except OSError as error:
            raise FileNotWritten(self.frames, error) from error
        return turned

    def _make_one(self, folder: Path) -> None:
        try:
            folder.mkdir(self.folder_mode)
        except FileExistsError:
            if folder.is_dir():  # made by another thread since we looked
                return
            raise
        # The process's own umask may have taken more away; a set-group bit inherited from above must survive.
        present = stat.S_IMODE(folder.stat().st_mode)
        if present & self.folder_mode != self.folder_mode:
            folder.chmod(present | self.folder_mode)
        if self.group is not None:
            os.chown(folder, -1, _group_id(self.group))


def _group_id(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise OSError(errno.EINVAL, f"this machine knows no group {name}") from error


def _place_link(link: Path, target: Path) -> None:
    """Make or turn a symbolic link in one step, so that nobody ever sees it missing."""
    try:
        link.symlink_to(target)
    except FileExistsError:
        if not link.is_symlink():
            raise
    else:
        return
    if link.readlink() == target:
        return
    # One name for each link: what a killed process left behind is taken away by the next attempt.
    temporary = link.with_name(f"{TEMPORARY_PREFIX}{link.name}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    try:
        temporary.replace(link)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
