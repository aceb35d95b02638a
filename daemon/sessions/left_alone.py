"""Movies that were left alone, and files that look like movies, counted by session and kind."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from daemon.domain.names import readable_path, spell_controls
from daemon.domain.session import Session
from daemon.sessions.no_movies import FOLDER_OUTSIDE, LINK_OUTSIDE, NAME_NOT_UTF8, NAME_UNWRITABLE, SINGLE_IMAGE
from daemon.sessions.series_names import DIFFRACTION, TILT_SERIES, name_series
from daemon.store import ledger
from daemon.store.reading import Reads

_SERIES: Mapping[str, tuple[str, str, str]] = {
    TILT_SERIES: ("tilt_series", "tilt series", "tilt series"),
    DIFFRACTION: ("diffraction", "diffraction data set", "diffraction data sets"),
}
"""For each reason its key, one such set of movies, and several, in words."""


@dataclass(frozen=True)
class Kind:
    """Files that are left alone for one reason: `one` and `several` of them in words, and what to do about it."""

    key: str
    one: str
    several: str
    advice: str


OUTSIDE_ROOTS = "add where they lead to [watch] roots, or name that folder in a [[session]] entry"
KINDS: Mapping[str, Kind] = {
    SINGLE_IMAGE: Kind(
        "single_image",
        "image of a single frame, not a movie,",
        "images of a single frame, not movies,",
        "set [watch] min_frames = 1",
    ),
    LINK_OUTSIDE: Kind(
        "link_outside",
        "movie behind a symbolic link that leaves the allowed roots",
        "movies behind symbolic links that leave the allowed roots",
        OUTSIDE_ROOTS,
    ),
    FOLDER_OUTSIDE: Kind(
        "folder_outside",
        "folder behind a symbolic link that leaves the allowed roots",
        "folders behind symbolic links that leave the allowed roots",
        OUTSIDE_ROOTS,
    ),
    NAME_UNWRITABLE: Kind(
        "name_unwritable",
        "movie with a line break or another control character in its name",
        "movies with a line break or another control character in their names",
        "rename them",
    ),
    NAME_NOT_UTF8: Kind(
        "name_not_utf8", "file whose name is not UTF-8", "files whose names are not UTF-8", "rename them"
    ),
}
"""For each reason what is said of such files."""


@dataclass(frozen=True)
class LeftAlone:
    """How many files of one kind were left alone; `first` is the first one seen, inside the raw directory."""

    kind: str
    movies: int
    series: int
    first: str
    said: str


async def find_left_alone(store: Reads, session: Session) -> list[LeftAlone]:
    """Return what was left alone of a session, nothing for a kind of which there is no file."""
    ignored = await ledger.ignored_for(store, session.session_id, [*_SERIES, *KINDS])
    raw = session.raw_directory
    inside = [(path.relative_to(raw) if path.is_relative_to(raw) else path, reason) for path, reason in ignored]
    return await anyio.to_thread.run_sync(count_left_alone, inside) if inside else []


def count_left_alone(ignored: Iterable[tuple[Path, str]]) -> list[LeftAlone]:
    """Count ignored files, each with its reason, by kind; movies also by the series that their names tell apart."""
    files: dict[str, list[str]] = {}
    for path, reason in ignored:
        files.setdefault(reason, []).append(readable_path(path))
    found = []
    for reason, (kind, one, several) in _SERIES.items():
        names = files.get(reason)
        if names:
            series = len({name_series(name) for name in names})
            of = f"of {series} {one if series == 1 else several}"
            many = f"{len(names)} movie{'' if len(names) == 1 else 's'}"
            found.append(LeftAlone(kind, len(names), series, names[0], f"{many} {of} left alone, first {names[0]}"))
    for reason, other in KINDS.items():
        names = files.get(reason)
        if names:
            many, first = say_count(other, len(names)), spell_controls(names[0])
            said = f"{many} left alone, first {first}; to have them processed, {other.advice}"
            found.append(LeftAlone(other.key, len(names), 0, names[0], said))
    return found


def say_count(kind: Kind, count: int) -> str:
    """Say how many files of a kind there are."""
    return f"{count} {kind.one if count == 1 else kind.several}"
