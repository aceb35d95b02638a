"""Which movie belongs to which image record. Pure: paths in, records out, no disk.

A movie belongs to a record when its stem is the record's `frame_name` or `name`, or that plus a
suffix that acquisition software adds. Stems are compared whole, so `x_1` never takes `x_10`.
"""

from collections.abc import Iterable
from pathlib import PurePath
from typing import Generic, Protocol, TypeVar

from daemon.domain.movie import MOVIE_SUFFIXES

_ADDED = ("_fractions", "_eer", "_frames", ".frames")
_RANK = {suffix: rank for rank, suffix in enumerate(MOVIE_SUFFIXES)}


class NamedRecord(Protocol):
    """What matching needs of an image record."""

    @property
    def name(self) -> str:
        """The image's name."""
        ...

    @property
    def frame_name(self) -> str | None:
        """The name of its movie, where the acquisition noted one."""
        ...


R = TypeVar("R", bound=NamedRecord)


def movie_stem(file_name: str) -> str | None:
    """Return a movie file's name without its suffixes (`x` of `x.mrc.tif`); None when it is no movie."""
    stem = _cut_suffix(file_name)
    if stem is None:
        return None
    while (shorter := _cut_suffix(stem)) is not None:
        stem = shorter
    return stem


def image_stem(file_name: str) -> str | None:
    """Return the stem without what acquisition software adds to it: `x` of `x_fractions.tiff`."""
    stem = movie_stem(file_name)
    return None if stem is None else _possible_names(stem)[-1]


def preference(movie: PurePath) -> tuple[int, bool, str]:
    """Order the files of one image: by kind of file, a stem that says movie first, then by path."""
    rank = _RANK.get(movie.suffix.lower(), len(_RANK))
    return rank, image_stem(movie.name) == movie_stem(movie.name), movie.as_posix()


def image_key(movie: PurePath) -> str:
    """Return what all files of one image in one folder share (`frames/x` of `frames/x_EER.eer`)."""
    return (movie.parent / (image_stem(movie.name) or movie.name)).as_posix()


class RecordIndex(Generic[R]):
    """Finds the record of a movie in a time that does not grow with the session."""

    def __init__(self, records: Iterable[R]) -> None:
        self._by_frame_name: dict[str, R] = {}
        self._by_name: dict[str, R] = {}
        for record in records:
            # Summed versions of one exposure share its frames: the first record is the exposure itself.
            if record.frame_name:
                frame_name = PurePath(record.frame_name.replace("\\", "/")).name
                self._by_frame_name.setdefault(movie_stem(frame_name) or frame_name, record)
            self._by_name.setdefault(record.name, record)

    def find(self, movie: PurePath) -> R | None:
        """Return the record this movie belongs to, or None."""
        stem = movie_stem(movie.name)
        if stem is None:
            return None
        for name in _possible_names(stem):
            record = self._by_frame_name.get(name) or self._by_name.get(name)
            if record is not None:
                return record
        return None


def _cut_suffix(name: str) -> str | None:
    stem, dot, suffix = name.rpartition(".")
    return stem if stem and f"{dot}{suffix}".lower() in MOVIE_SUFFIXES else None


def _possible_names(stem: str) -> list[str]:
    """List the stem, then ever shorter ones as known additions are taken off its end."""
    names = [stem]
    while True:
        lower = names[-1].lower()
        added = next((end for end in _ADDED if lower.endswith(end) and len(lower) > len(end)), None)
        if added is None:
            return names
        names.append(names[-1][: -len(added)])
