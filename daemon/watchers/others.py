"""Files that are no movies of this session: the first few of each suffix are told by name, the rest are counted."""

from daemon.domain.movie import FileIdentity
from daemon.sessions.no_movies import FOLDER_OUTSIDE, LINK_OUTSIDE
from daemon.sessions.series_names import DIFFRACTION, TILT_SERIES
from daemon.watchers.found import IgnoredFile, PollResult
from daemon.watchers.paths import is_utf8
from daemon.watchers.session_finder import MANIFEST_NAME

_ALWAYS_NAMED = frozenset({TILT_SERIES, DIFFRACTION, LINK_OUTSIDE, FOLDER_OUTSIDE})
"""Movies of another kind or out of reach: a person may ask after each of them."""


class OtherFiles:
    """Keeps count of what was told by name."""

    def __init__(self, named_per_suffix: int) -> None:
        self._named_per_suffix = named_per_suffix
        self._met: dict[str, int] = {}

    def add(self, file: FileIdentity, reason: str, result: PollResult) -> None:
        """Take a file that is left alone for this reason, into the result of a poll."""
        if file.path.name == MANIFEST_NAME:
            return  # it is read, not left alone
        suffix = file.path.suffix.lower()
        self._met[suffix] = self._met.get(suffix, 0) + 1
        is_few = self._met[suffix] <= self._named_per_suffix
        if is_few or reason in _ALWAYS_NAMED or not is_utf8(file.path.name):
            result.other.append(IgnoredFile(file, reason))
        else:
            result.tallied[suffix] = result.tallied.get(suffix, 0) + 1
