"""Movies of tilt series and diffraction that were left alone, counted by session and kind."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from daemon.domain.names import readable_path
from daemon.domain.session import Session
from daemon.sessions.series_names import DIFFRACTION, TILT_SERIES, name_series
from daemon.store import ledger
from daemon.store.reading import Reads

_KINDS: Mapping[str, tuple[str, str, str]] = {
    TILT_SERIES: ("tilt_series", "tilt series", "tilt series"),
    DIFFRACTION: ("diffraction", "diffraction data set", "diffraction data sets"),
}
"""For each reason its key, one such set of movies, and several, in words."""


@dataclass(frozen=True)
class LeftAlone:
    """How many movies of one kind were left alone; `first` is the first one seen, inside the raw directory."""

    kind: str
    movies: int
    series: int
    first: str
    said: str


async def find_left_alone(store: Reads, session: Session) -> list[LeftAlone]:
    """Return what was left alone of a session, nothing for a kind of which there is no movie."""
    ignored = await ledger.ignored_for(store, session.session_id, _KINDS)
    raw = session.raw_directory
    inside = [(path.relative_to(raw) if path.is_relative_to(raw) else path, reason) for path, reason in ignored]
    return await anyio.to_thread.run_sync(count_left_alone, inside) if inside else []


def count_left_alone(ignored: Iterable[tuple[Path, str]]) -> list[LeftAlone]:
    """Count ignored movies, each with its reason, by kind and by the series that their names tell apart."""
    movies: dict[str, list[str]] = {}
    for path, reason in ignored:
        movies.setdefault(reason, []).append(readable_path(path))
    found = []
    for reason, (kind, one, several) in _KINDS.items():
        names = movies.get(reason)
        if names:
            series = len({name_series(name) for name in names})
            of = f"of {series} {one if series == 1 else several}"
            many = f"{len(names)} movie{'' if len(names) == 1 else 's'}"
            found.append(LeftAlone(kind, len(names), series, names[0], f"{many} {of} left alone, first {names[0]}"))
    return found
