"""What lies in a raw directory, seen as the watcher sees it: links are followed, and what cannot be read is told."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.domain.names import is_left_alone
from daemon.errors import PathOutsideRoots
from daemon.sessions.roots import resolve_under

Tell = Callable[[Path, OSError], object]
"""Takes a folder that cannot be read, and why."""


@dataclass(frozen=True)
class RawPlaces:
    """Links in a raw directory may lead under `roots` (and in itself); nothing under `forbidden` is entered."""

    roots: Sequence[Path] = ()
    forbidden: Sequence[Path] = ()


NO_LINKS = RawPlaces()
"""Links lead nowhere but within the raw directory."""


def raw_files(raw: Path, places: RawPlaces, tell: Tell) -> Iterator[Path]:
    """Return every file below, each folder once: real folders before links to them, never those that are left alone."""
    roots = (raw, *places.roots)
    forbidden = [folder.resolve() for folder in places.forbidden]
    pending, links = deque([raw]), deque[Path]()
    seen: set[tuple[int, int]] = set()
    while pending or links:
        folder = pending.popleft() if pending else links.popleft()
        try:
            status, real = folder.stat(), resolve_under(folder, roots)
            if (status.st_dev, status.st_ino) in seen or any(real.is_relative_to(place) for place in forbidden):
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except PathOutsideRoots:
            continue  # the watcher names such a link and leaves it alone
        except OSError as error:
            tell(folder, error)
            continue
        for entry in entries:
            if not _is_folder(entry):
                yield folder / entry.name
            elif not is_left_alone(entry.name):
                (links if entry.is_symlink() else pending).append(folder / entry.name)


def real_places(paths: Iterable[Path]) -> set[Path]:
    """Return the paths with the links on the way to them followed, each file's own name kept."""
    folders: dict[Path, Path] = {}
    places = set()
    for path in paths:
        if path.parent not in folders:
            folders[path.parent] = Path(os.path.realpath(path.parent))
        places.add(folders[path.parent] / path.name)
    return places


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """A link that leads nowhere is a file here: it is told by its name."""
    try:
        return entry.is_dir()
    except OSError:
        return False
