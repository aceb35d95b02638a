"""A folder in which another program works, gone when it has ended; what a killed daemon left is cleared by the next.

Each folder holds a lock that its owner keeps as long as it lives: whoever gets the lock of another's folder has proof
that nobody works there any more.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.errors import ProgramFailed

_PREFIX = "elcano-program-"
_LOCK = "in-use"


@contextmanager
def open_scratch(parent: Path | None, needed_bytes: int, program: str) -> Iterator[Path]:
    """Give a new private folder under `parent` (None: where the system keeps temporary files), removed at the end.

    Raises ProgramFailed where there is no folder to be made, or no room for `needed_bytes`.
    """
    place = Path(tempfile.gettempdir()) if parent is None else parent
    hint = "Set scratch_folder to a folder on a disk with room, which the user that runs elcano may write to."
    try:
        _clear_abandoned(place)
        free_bytes = shutil.disk_usage(place).free
        if free_bytes < needed_bytes:
            room = f"{needed_bytes / 2**30:.2f} GiB of scratch space in {place}, {free_bytes / 2**30:.2f} GiB are free"
            raise ProgramFailed(program, f"needs {room}", hint=hint)
        folder, lock = _make(place)
    except OSError as error:
        raise ProgramFailed(
            program, f"has no scratch folder in {place}: {error.strerror or error}", hint=hint
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # what can't be removed now is cleared by the next who works here
        os.close(lock)


def _make(place: Path) -> tuple[Path, int]:
    """Make a folder and lock it. Another may have taken it for abandoned before the lock was held: then a new one."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        try:
            lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / _LOCK).exists():
            return folder, lock
        os.close(lock)


def _clear_abandoned(place: Path) -> None:
    for folder in place.glob(f"{_PREFIX}*"):
        try:
            if folder.lstat().st_uid != os.getuid():
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue  # just being made, or removed
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)
