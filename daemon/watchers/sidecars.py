"""What lies beside a movie and says how the stage was tilted for it: SerialEM's mdoc, EPU's XML."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from daemon.domain.stage_position import StagePosition
from daemon.errors import FileUnreadable
from daemon.formats.detached import DetachedCall
from daemon.formats.epu_xml import read_stage_position
from daemon.formats.mdoc import MdocSection, read_mdoc
from daemon.sessions.matching import image_stem, movie_stem
from daemon.watchers.series import TiltSeries, goes_up_in_steps

_LAST_PART = re.compile(r"(?:[_-]|(?=\[))[^_-]*$")
_MOST_PARTS = 4
"""How many parts of a movie's name a series' name may lack: counter, angle, date, time."""
_SERIES_SUFFIXES = (".mrc.mdoc", ".st.mdoc", ".mdoc")


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
        limit_s: float = 5.0,
    ) -> None:
        """`stage_of` says where the stage stood for movies beside which nothing lies; `limit_s`: a look at most."""
        self._root = root
        self._stage_of = stage_of
        self._leaves_series = leaves_series
        self._limit_s = limit_s
        self._series = TiltSeries()

    async def find_series(self, movie: Path) -> list[Path] | None:
        """Return the other movies of a whole movie's tilt series, as far as it shows only now; None where it has none.

        A note that does not come in time is none: the movie itself has been read a moment ago.
        """
        if not self._leaves_series:
            return None
        call = DetachedCall(partial(read_tilt_note, movie, self._root))
        note = call.result() if await call.wait(self._limit_s) else TiltNote(None)
        stage, relative = note.stage or self._stage_of(movie), movie.relative_to(self._root).as_posix()
        members = [] if stage is None else self._series.take_stage(relative, stage)
        if not (note.is_in_series or members):
            return None
        return [self._root / member for member in members if member != relative]


def read_tilt_note(movie: Path, root: Path) -> TiltNote:
    """Read what lies beside a movie under `root`; of what is absent or cannot be read, nothing is known."""
    stem = movie_stem(movie.name) or movie.stem
    names = {stem, image_stem(movie.name) or stem}
    for mdoc in (movie.with_name(f"{name}.mdoc") for name in (movie.name, *sorted(names, reverse=True))):
        sections = _sections(mdoc)
        if sections:
            own = next((section for section in sections if section.movie_name == movie.name), sections[0])
            return TiltNote(own.stage, _lists(sections, movie.name))
    for mdoc in _series_notes(movie, stem, root):
        sections = _sections(mdoc)
        own_sections = [section for section in sections if section.movie_name == movie.name]
        if own_sections:
            return TiltNote(own_sections[0].stage, _lists(sections, movie.name))
    for xml in (movie.with_name(f"{name}.xml") for name in sorted(names)):
        stage = _stage_of(xml)
        if stage is not None:
            return TiltNote(stage)
    return TiltNote(None)


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
    """Whether a note lists this movie among the tilts of a series, each of which is a movie of its own."""
    tilts = {section.movie_name: section.stage.alpha_deg for section in sections if section.movie_name is not None}
    return name in tilts and goes_up_in_steps(set(tilts.values()))


def _sections(mdoc: Path) -> list[MdocSection]:
    try:
        return read_mdoc(mdoc)
    except FileUnreadable:
        return []


def _stage_of(xml: Path) -> StagePosition | None:
    try:
        return read_stage_position(xml)
    except FileUnreadable:
        return None
