"""Which files count as movies, which names belong to copies under way, and which are something else."""

import fnmatch
import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import PurePosixPath

from daemon.domain.movie import MOVIE_SUFFIXES
from daemon.domain.names import is_left_alone
from daemon.sessions.series_names import recognise

# Names under which transfer programs write before they rename: WinSCP, browsers, murfey, GridFTP and friends.
# rsync's `.name.XXXXXX` and everything else hidden is caught by its leading dot.
_TEMPORARY_SUFFIXES = (".tmp", ".temp", ".part", ".partial", ".filepart", ".downloading", ".crdownload", ".!sync")


class NameClass(Enum):
    """What a file's name says about it."""

    MOVIE = "movie"
    TEMPORARY = "temporary"
    OTHER = "other"


def is_temporary(name: str) -> bool:
    """Whether a name is one that a copy uses while it is under way, or is hidden."""
    return name.startswith(".") or name.lower().endswith(_TEMPORARY_SUFFIXES)


@dataclass(frozen=True)
class MovieSelection:
    """Which files under a raw directory are movies.

    `pattern` is a shell pattern on the file's name, or on its path relative to the raw directory when it
    contains a slash (`*` then also crosses directories). `excluded` names directories directly under the raw
    directory that hold references, never movies. `leaves_series`: tilt series and diffraction are no movies.
    """

    pattern: str | None = None
    excluded: tuple[str, ...] = ("gains", "defects")
    leaves_series: bool = True
    _compiled: re.Pattern[str] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        compiled = re.compile(fnmatch.translate(self.pattern)) if self.pattern else None
        object.__setattr__(self, "_compiled", compiled)

    def classify(self, relative: str) -> NameClass:
        """Say what the file at this path (relative to the raw directory, with slashes) is by its name."""
        name = relative.rpartition("/")[2]
        if is_temporary(name):
            return NameClass.TEMPORARY
        return NameClass.OTHER if self.reason_against(relative) else NameClass.MOVIE

    def reason_against(self, relative: str) -> str:
        """Say why the file at this path is no movie of this session; empty when it is one."""
        name = relative.rpartition("/")[2]
        suffix = PurePosixPath(name).suffix
        if suffix.lower() not in MOVIE_SUFFIXES:
            return f"not a movie: {suffix or 'no'} suffix"
        if self._compiled is not None and not self._compiled.match(relative if "/" in (self.pattern or "") else name):
            return f"does not match the movie pattern {self.pattern}"
        return recognise(relative) if self.leaves_series else ""

    def excludes(self, relative: str) -> bool:
        """Whether the directory at this path (relative to the raw directory) is never searched."""
        return relative in self.excluded or is_left_alone(relative.rpartition("/")[2])
