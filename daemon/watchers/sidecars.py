"""What lies beside a movie and says how the stage was tilted for it: SerialEM's mdoc, EPU's XML."""

import heapq
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio

from daemon.domain.movie import FileIdentity
from daemon.domain.stage_position import StagePosition
from daemon.errors import FileUnanswered, FileUnreadable, PathOutsideRoots
from daemon.formats.detached import PatientCalls
from daemon.formats.epu_xml import read_stage_position
from daemon.formats.mdoc import MdocSection, read_mdoc
from daemon.sessions.matching import image_stem, movie_stem
from daemon.sessions.roots import resolve_under
from daemon.watchers.found import KnownFile, WatchProblem
from daemon.watchers.series import StagePlaces, TiltSeries, goes_up_in_steps

T = TypeVar("T")

_LAST_PART = re.compile(r"(?:[_-]|(?=\[))[^_-]*$")
_MOST_PARTS = 4
"""How many parts of a movie's name a series' name may lack: counter, angle, date, time."""
_SERIES_SUFFIXES = (".mrc.mdoc", ".st.mdoc", ".mdoc")
_MOST_RECALLED = 200
"""Newest movies of a folder whose stage is looked up again after a restart: some tilts at each place remembered."""
_RECALL_LIMIT_S = 30.0
_AT_ONCE = 4
"""Notes that are read beside each other: as many threads may hang before a folder is known to."""
_SILENT = "holds notes of the stage (.mdoc, .xml) that do not answer: its file system hangs"
_SILENT_HINT = (
    "Until they do, movies of tilt series are taken for single particles unless their names tell: check the mount."
)


@dataclass(frozen=True)
class TiltNote:
    """How the stage stood for a movie, and whether the note of a whole series lists it."""

    stage: StagePosition | None
    is_in_series: bool = False


class TiltNotes:
    """Tells the movies of tilt series in one raw directory by what was noted of the stage."""

    def __init__(
        self,
        root: Path,
        stage_of: Callable[[Path], StagePosition | None] = lambda _: None,
        *,
        leaves_series: bool = True,
        allowed_roots: Sequence[Path] = (),
        known: Iterable[KnownFile] = (),
        limit_s: float = 5.0,
    ) -> None:
        """`stage_of` says where the stage stood for movies beside which nothing lies; `limit_s`: a look at most.

        Links beside movies may lead under `allowed_roots`. `known`: files judged before, among them maybe the first
        tilts of a series that still goes on.
        """
        self._root = root
        self._allowed_roots = allowed_roots
        self._stage_of = stage_of
        self._leaves_series = leaves_series
        # By folder: where one note hangs, the next one would only hang beside it.
        self._calls, self._recalls = PatientCalls(limit_s), PatientCalls(_RECALL_LIMIT_S)
        self._turns = anyio.CapacityLimiter(_AT_ONCE)
        self._silent: set[Path] = set()
        self._news: list[WatchProblem] = []
        self._series = TiltSeries()
        self._judged: dict[Path, list[FileIdentity]] = {}
        self._recalling = anyio.Lock()
        for file in known:
            if leaves_series and file.settled and movie_stem(file.identity.path.name) is not None:
                self._judged.setdefault(file.identity.path.parent, []).append(file.identity)

    async def find_series(self, movie: Path) -> list[Path] | None:
        """Return the other movies of a whole movie's tilt series, as far as it shows only now; None where it has none.

        A note that does not come in time is none: the movie itself has been read a moment ago. That is told.
        """
        if not self._leaves_series:
            return None
        read = partial(read_tilt_note, movie, self._root, self._allowed_roots)
        note = await self._ask(self._calls, movie.parent, read) or TiltNote(None)
        stage, relative = note.stage or self._stage_of(movie), self._relative(movie)
        members = []
        if stage is not None:
            await self._recall(movie)
            members = self._series.take_stage(relative, stage)
        if not (note.is_in_series or members):
            return None
        return [self._root / member for member in members if member != relative]

    async def _recall(self, movie: Path) -> None:
        """Look up how the stage stood for the newest movies of this folder that were judged before a restart."""
        async with self._recalling:
            judged = self._judged.pop(movie.parent, [])
            newest = heapq.nlargest(_MOST_RECALLED, judged, key=lambda identity: (identity.mtime_ns, identity.path))
            paths = [identity.path for identity in reversed(newest) if identity.path != movie]
            read = partial(_read_stages, paths, self._root, self._allowed_roots)
            stages = await self._ask(self._recalls, movie.parent, read) if paths else None
            for path, stage in zip(paths, stages or (None,) * len(paths), strict=True):
                stood = stage or self._stage_of(path)
                if stood is not None:
                    self._series.take_stage(self._relative(path), stood)

    def take_news(self) -> tuple[list[WatchProblem], list[Path]]:
        """Return the folders whose notes have ceased to answer since the last call, and those that answer again."""
        news, self._news = self._news, []
        over = [folder for folder in self._silent if not (self._calls.hangs(folder) or self._recalls.hangs(folder))]
        self._silent.difference_update(over)
        return news, over

    async def _ask(self, calls: PatientCalls, folder: Path, question: Callable[[], T]) -> T | None:
        async with self._turns:
            try:
                return await calls.call(folder, question)
            except FileUnanswered:
                if folder not in self._silent:
                    self._silent.add(folder)
                    self._news.append(WatchProblem(folder, _SILENT, _SILENT_HINT))
                return None

    def _relative(self, movie: Path) -> str:
        return movie.relative_to(self._root).as_posix()


def read_tilt_note(movie: Path, root: Path, allowed_roots: Sequence[Path] = ()) -> TiltNote:
    """Read what lies beside a movie under `root`; of what is absent or cannot be read, nothing is known.

    Nothing is read through a link that leads neither under `root` nor under `allowed_roots`.
    """
    allowed = (root, *allowed_roots)
    stem = movie_stem(movie.name) or movie.stem
    names = {stem, image_stem(movie.name) or stem}
    for mdoc in (movie.with_name(f"{name}.mdoc") for name in (movie.name, *sorted(names, reverse=True))):
        sections = _sections(mdoc, allowed)
        if sections:
            own = next((section for section in sections if section.movie_name == movie.name), sections[0])
            return TiltNote(own.stage, _lists(sections, movie.name))
    for mdoc in _series_notes(movie, stem, root):
        sections = _sections(mdoc, allowed)
        own_sections = [section for section in sections if section.movie_name == movie.name]
        if own_sections:
            return TiltNote(own_sections[0].stage, _lists(sections, movie.name))
    for xml in (movie.with_name(f"{name}.xml") for name in sorted(names)):
        stage = _stage_of(xml, allowed)
        if stage is not None:
            return TiltNote(stage)
    return TiltNote(None)


def _read_stages(movies: Sequence[Path], root: Path, allowed_roots: Sequence[Path]) -> list[StagePosition | None]:
    return [read_tilt_note(movie, root, allowed_roots).stage for movie in movies]


def _series_notes(movie: Path, stem: str, root: Path) -> Iterator[Path]:
    """Yield where a series' note may lie: named as the movie's name begins, beside the movie or one folder above."""
    for _ in range(_MOST_PARTS):
        shorter = _LAST_PART.sub("", stem)
        if not shorter or shorter == stem:
            return
        stem = shorter
        for folder in (movie.parent, movie.parent.parent):
            if folder.is_relative_to(root):
                yield from (folder / f"{stem}{suffix}" for suffix in _SERIES_SUFFIXES)


def _lists(sections: list[MdocSection], name: str) -> bool:
    """Whether a note lists this movie among the tilts of a series: each a movie of its own, all at one place.

    The places count as far as the note gives them: the note of a whole single-particle session lists many.
    """
    places, number = StagePlaces(), None
    tilts: dict[int | None, dict[str, float]] = {}
    for section in sections:
        if section.movie_name is None:
            continue
        place_um = section.stage.place_um
        here = None if place_um is None else places.find(place_um)[0]
        tilts.setdefault(here, {})[section.movie_name] = section.stage.alpha_deg
        number = here if section.movie_name == name else number
    own = tilts.get(number, {})
    return name in own and goes_up_in_steps(set(own.values()))


def _sections(mdoc: Path, roots: Sequence[Path]) -> list[MdocSection]:
    try:
        real = _find_note(mdoc, roots)
        return [] if real is None else read_mdoc(real)
    except (FileUnreadable, PathOutsideRoots):
        return []


def _stage_of(xml: Path, roots: Sequence[Path]) -> StagePosition | None:
    try:
        real = _find_note(xml, roots)
        return None if real is None else read_stage_position(real)
    except (FileUnreadable, PathOutsideRoots):
        return None


def _find_note(path: Path, roots: Sequence[Path]) -> Path | None:
    """Return where a note really is, None where there is none. Raises PathOutsideRoots, which the watcher tells."""
    # Most names that are tried are not there: one question for each, on a file system that may be slow.
    return resolve_under(path, roots) if os.path.lexists(path) else None
