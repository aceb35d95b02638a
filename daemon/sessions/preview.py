"""What a session would be taken as, were its directory imported now. Looks at the disk and changes nothing."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from daemon.domain.acquisition import Acquisition
from daemon.domain.names import readable_path
from daemon.domain.session import Session
from daemon.errors import CommandRefused
from daemon.sessions.acquisition import KnownAcquisition, ReferencePlaces, merge_acquisition, missing_values
from daemon.sessions.folders import SessionFolders
from daemon.sessions.importing import (
    ImportRequest,
    real_directory,
    stored_manifest,
)
from daemon.sessions.manifest import Manifest, parse_manifest
from daemon.sessions.naming import parse_leginon_name
from daemon.sessions.session_identity import identify_session, refuse_folder_of_sessions, refuse_foreign_home

_LEVELS = {1: "grid", 2: "square", 3: "hole", 4: "exposure"}
_MOST_ENTRIES = 20_000
_MOST_TROUBLES = 5


@dataclass(frozen=True)
class Preview:
    """What an import would find; `refusal` says why it would be refused and what to do, empty where it would not."""

    directory: Path
    name: str
    home: Path
    refusal: str
    known: Session | None
    """The session that was imported from here already."""
    manifest: Manifest | None
    taken: KnownAcquisition
    missing: tuple[str, ...]
    levels: dict[str, int]


@dataclass
class FoundMovies:
    """Movies found so far in a directory and the folders in it; links are not followed."""

    count: int = 0
    suffixes: Counter[str] = field(default_factory=Counter)
    first: str = ""
    is_whole: bool = True
    troubles: list[str] = field(default_factory=list)


def preview_import(
    request: ImportRequest, roots: Sequence[Path], holders: Sequence[Path], home: Path, known: Sequence[Session]
) -> Preview:
    """Look at a directory as an import does.

    Raises PathOutsideRoots, CommandRefused for what is no directory, FileUnreadable and ManifestInvalid.
    """
    directory = real_directory(request.directory, roots)
    stored = stored_manifest(directory, roots)
    manifest = parse_manifest(*stored) if stored else None
    here = next((session for session in known if session.raw_directory == directory), None)
    former = here.former_directories if here is not None else ()
    places = ReferencePlaces(directory, [*roots, directory], former)
    taken = merge_acquisition(places, configured=request.acquisition, manifest=manifest)
    images = [
        merge_acquisition(places, configured=request.acquisition, manifest=manifest, image=image).acquisition
        for image in (manifest.images if manifest else ())
    ]
    name, refusal = directory.name, ""
    try:
        refuse_folder_of_sessions(directory, known, holders)
        session_id, name = identify_session(directory, manifest, request.name, known, {})
        folders = SessionFolders.of(home, name)
        refuse_foreign_home(Session(session_id, name, directory, folders.home, Acquisition()), known)
    except CommandRefused as error:
        refusal = str(error)
    return Preview(
        directory=directory,
        name=name,
        home=home / name,
        refusal=refusal,
        known=here,
        manifest=manifest,
        taken=taken,
        missing=missing_values([taken.acquisition, *images]),
        levels=_count_levels(manifest),
    )


def count_movies(directory: Path, selects: Callable[[Path], bool]) -> FoundMovies:
    """Count the movies in a directory and the folders in it; `selects` takes paths relative to it.

    The search is cut short after 20,000 entries, and what cannot be read is told.
    """
    found, looked, pending = FoundMovies(), 0, [directory]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    looked += 1
                    if looked > _MOST_ENTRIES:
                        found.is_whole = False
                        return found
                    path = Path(entry.path)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(path)
                    elif selects(path.relative_to(directory)):
                        _count(found, path.relative_to(directory))
        except OSError as error:
            if len(found.troubles) < _MOST_TROUBLES:
                found.troubles.append(f"{readable_path(folder)} cannot be read: {error.strerror or error}")
    return found


def _count(found: FoundMovies, path: Path) -> None:
    found.count += 1
    found.suffixes["".join(path.suffixes[-1:]).lower()] += 1
    name = readable_path(path)
    if not found.first or name < found.first:
        found.first = name


def _count_levels(manifest: Manifest | None) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for image in manifest.images if manifest else ():
        grammar = parse_leginon_name(image.name)
        level = image.level or (grammar.kind.level if grammar else None)
        counts[_LEVELS.get(level or 0, "other")] += 1
    order = [*_LEVELS.values(), "other"]
    return {level: counts[level] for level in order if counts[level]}
