"""One look at one file: the only place where a candidate's bytes are touched."""

import errno
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from daemon.domain.movie import MOVIE_SUFFIXES, MovieFormat
from daemon.errors import FileUnreadable
from daemon.formats.structure import MovieStructure
from daemon.watchers.settle import History, Observation, SettleRule
from daemon.watchers.tail import measure_zero_tail

Inspect = Callable[[Path], MovieStructure]


def look_at(
    path: Path,
    history: History,
    *,
    rule: SettleRule,
    renamed_into_place: bool,
    clock: Callable[[], float],
    inspect: Inspect,
) -> Observation | None:
    """Observe a file; read its structure if it has been silent for long enough. None: there is no such file."""
    at_s = clock()
    try:
        status = path.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        return replace(
            history.last, at_s=at_s, structure=None, problem=f"cannot be looked at: {error.strerror or error}"
        )
    if not stat.S_ISREG(status.st_mode):
        return None
    now = Observation(at_s, status.st_size, status.st_mtime_ns)
    if not rule.needs_structure(history, now, renamed_into_place=renamed_into_place):
        return now
    opened = _open(path, now, inspect)
    return opened if _is_untouched(path, now) else replace(now, at_s=clock())


def _is_untouched(path: Path, now: Observation) -> bool:
    """Whether nobody wrote while the file was being read; if not, the next look sees the change."""
    try:
        after = path.stat()
    except OSError:
        return False
    return (after.st_size, after.st_mtime_ns) == (now.size_bytes, now.mtime_ns)


def _open(path: Path, now: Observation, inspect: Inspect) -> Observation:
    try:
        structure = inspect(path)
        is_mrc = MOVIE_SUFFIXES.get(path.suffix.lower()) is MovieFormat.MRC
        tail = measure_zero_tail(path, structure) if is_mrc and structure.whole and structure.tail_is_zero else None
    except FileUnreadable as error:
        return replace(now, problem=error.message.removeprefix(f"{path}: "))
    except Exception as error:  # noqa: BLE001 - a fault of a reader costs this movie, not the watch
        return replace(now, problem=f"cannot be inspected ({type(error).__name__}: {error})")
    # The verdict stands beside the file's name wherever it is shown.
    structure = replace(structure, reason=structure.reason.removeprefix(f"{path}: "))
    return replace(now, structure=structure, zero_tail=tail)
