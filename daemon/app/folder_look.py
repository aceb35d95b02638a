"""One look at a folder that a person browses, on whatever thread it is done."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from daemon.errors import CommandRefused, FileUnreadable, PathOutsideRoots
from daemon.sessions.manifest import FILE_NAME
from daemon.sessions.roots import resolve_under

_MOST_ENTRIES = 100_000


@dataclass
class FolderLook:
    """What is in a folder beside the folders in it."""

    movies: int = 0
    others: int = 0
    has_manifest: bool = False
    is_whole: bool = True


@dataclass(frozen=True)
class ListedFolder:
    """The folders in a directory, from one on; `directory` and `roots` have their links followed."""

    directory: Path
    roots: tuple[Path, ...]
    names: list[str]
    total: int
    look: FolderLook = field(default_factory=FolderLook)


def list_folder(
    directory: Path, roots: Sequence[Path], offset: int, limit: int, is_movie: Callable[[Path], bool]
) -> ListedFolder:
    """Return the folders in a directory by name, hidden ones left out, and count its files.

    Raises PathOutsideRoots, CommandRefused for what is no directory, FileUnreadable.
    """
    real = resolve_under(directory, roots)
    look, names, looked = FolderLook(), [], 0
    try:
        with os.scandir(real) as entries:
            for entry in entries:
                looked += 1
                if looked > _MOST_ENTRIES:
                    look.is_whole = False
                    break
                if entry.name.startswith("."):
                    continue
                # A link may lead to a mount that hangs: what it is, the look at that folder alone says.
                if entry.is_symlink() or entry.is_dir(follow_symlinks=False):
                    names.append(entry.name)
                else:
                    _count(look, entry.name, is_movie)
    except NotADirectoryError as error:
        raise CommandRefused(f"{directory} is not a directory.", hint="Name a folder under the roots.") from error
    except OSError as error:
        raise FileUnreadable(real, error) from error
    names.sort()
    real_roots = tuple(Path(os.path.realpath(root)) for root in roots if directory.is_relative_to(root)) or tuple(roots)
    return ListedFolder(real, real_roots, names[offset : offset + limit], len(names), look)


def look_at_folder(path: Path, roots: Sequence[Path]) -> tuple[Path, bool, str]:
    """Return where a folder really is, whether a session.json lies in it, and why it cannot be opened."""
    try:
        real = resolve_under(path, roots)
        if not real.is_dir():
            return real, False, "is a link to a file" if path.is_symlink() and real.exists() else "is not there"
        with os.scandir(real):
            pass
        return real, (real / FILE_NAME).is_file(), ""
    except PathOutsideRoots:
        return path, False, "leads outside the roots"
    except OSError as error:
        return path, False, f"cannot be opened: {error.strerror or error}"


def _count(look: FolderLook, name: str, is_movie: Callable[[Path], bool]) -> None:
    look.has_manifest |= name == FILE_NAME
    if is_movie(Path(name)):
        look.movies += 1
    else:
        look.others += 1
