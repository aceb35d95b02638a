"""The right to work in a home, or with a state, while the daemon lives: a second one, also on another node, is refused.

A lock of the kernel tells daemons of one running kernel apart and goes with its process, however that dies. Another
kernel, which its boot id tells, may not see our locks: there the file's own time is the sign of life, compared with
the time the file system itself gives to a new file, since clocks of nodes differ. A node that was started again has
another boot id; names of nodes tell nothing, many are called alike.

Where the clock was set back a sign of life is dated in the future, and has no age: whether others follow decides.
"""

import errno
import fcntl
import json
import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import anyio
import anyio.to_thread
import structlog

from daemon.errors import FileNotWritten, HomeTaken
from daemon.formats.atomic import make_temporary_name

log = structlog.get_logger(__name__)

CLAIM_NAME = ".elcano/daemon.json"
"""The file under the folder; empty while nobody works there."""

_BEAT_S = 10.0
_DEAD_AFTER_S = 60.0
_CLOCK_PLAY_S = 1.0
"""Two times that one file system gave may be out of order by so much."""
_LOOKS = 20
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NO_LOCKS_HERE = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


@dataclass(frozen=True)
class _Claimant:
    host: str
    pid: int
    state: str
    token: str
    boot_id: str = ""
    """Of the kernel it runs on; claims of earlier versions do not say."""

    @property
    def words(self) -> str:
        """Who it is, for people."""
        return f"the daemon with process {self.pid} on {self.host} (state in {self.state})"


class HomeClaim:
    """One daemon's claim to a home, or to its state. `take` it, `keep` it, `release` it."""

    def __init__(
        self,
        home: Path,
        state: Path,
        *,
        key: str = "home",
        boot_id: str | None = None,
        beat_s: float = _BEAT_S,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """`home` is the folder that is claimed, `key` which of [paths] names it."""
        self._home = home
        self._key = key
        self._path = home / CLAIM_NAME
        boot_id = read_boot_id() if boot_id is None else boot_id
        self._me = _Claimant(socket.gethostname(), os.getpid(), str(state), secrets.token_hex(8), boot_id)
        self._beat_s = beat_s
        self._pause = pause
        self._file: IO[str] | None = None

    def check(self) -> None:
        """Tell early, and without claiming or awaiting anything, that another daemon works there. Raises HomeTaken."""
        try:
            with self._path.open("r+", encoding="utf-8") as file:
                self._refuse_if_taken(file, may_watch=False)
        except OSError as error:
            # Nobody ever worked there, or it cannot be told: `take` decides.
            log.debug("the home is not claimed yet", path=str(self._path), reason=error.strerror or str(error))

    def find_living_elsewhere(self) -> str | None:
        """Say which daemon on another node works there; None where none does that can be seen. Locks nothing."""
        try:
            other = self._read()
            if other is None or other.boot_id == self._me.boot_id:
                return None
            # What is dated in the future may be dead as well: only `take` has the time to find out.
            if not -_CLOCK_PLAY_S <= self._silent_s() < _DEAD_AFTER_S:
                return None
        except OSError:
            return None  # nobody ever worked there, or this user may not look: there is nothing to tell
        return other.words

    def take(self) -> None:
        """Claim the home, which is made if it is not there. Raises HomeTaken, FileNotWritten.

        Takes two beats longer where the last sign of life is dated in the future.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = self._path.open("a+", encoding="utf-8")
        except OSError as error:
            raise FileNotWritten(self._path, error) from error
        try:
            dead = self._refuse_if_taken(file, may_watch=True)
            if dead is not None:
                log.warning(
                    "the folder of a daemon that died is taken over",
                    key=self._key,
                    folder=str(self._home),
                    dead=dead.words,
                )
            file.seek(0)
            file.truncate()
            file.write(json.dumps(vars(self._me)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            file.close()
            raise FileNotWritten(self._path, error) from error
        except BaseException:
            file.close()
            raise
        self._file = file

    async def keep(self) -> None:
        """Give signs of life until cancelled. Raises HomeTaken when another daemon has taken over meanwhile."""
        while True:
            try:
                # Abandoned when the daemon ends: a hanging file system must not keep it.
                await anyio.to_thread.run_sync(self._beat, abandon_on_cancel=True)
            except OSError as error:
                log.warning(
                    "the sign of life cannot be written; if it stays so, another node may take over",
                    path=str(self._path),
                    reason=error.strerror or str(error),
                )
            await anyio.sleep(self._beat_s)

    def release(self) -> None:
        """Let another daemon have the home. A file left behind by a death does no harm."""
        if self._file is None:
            return
        try:
            if self._read() == self._me:
                self._file.truncate(0)
            self._file.close()
        except OSError as error:
            log.warning(
                "the folder could not be given free; another node waits a minute for it",
                path=str(self._path),
                reason=error.strerror or str(error),
            )
        self._file = None

    def _refuse_if_taken(self, file: IO[str], *, may_watch: bool) -> _Claimant | None:
        """Return the daemon that died here, None where nobody did. Raises HomeTaken."""
        is_locked_by_us = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = self._read()
            who = "another daemon" if other is None else other.words
            raise HomeTaken(
                self._home, who, hint=f"Stop it first, or give this one a [paths] {self._key} of its own."
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS_HERE:
                raise
            is_locked_by_us = False
        other = self._read()
        if other is None or (is_locked_by_us and other.boot_id == self._me.boot_id):
            return None  # of the daemons of this kernel it would have told
        silent_s = self._silent_s()
        if silent_s < -_CLOCK_PLAY_S:
            return self._refuse_if_it_lives(other, ahead_s=-silent_s) if may_watch else other
        if silent_s < _DEAD_AFTER_S:
            raise HomeTaken(
                self._home,
                other.words,
                hint=f"Its last sign of life is {max(0.0, silent_s):.0f} s old. Stop it first; if it died, "
                f"try again when that is {_DEAD_AFTER_S:.0f} s.",
            )
        return other

    def _refuse_if_it_lives(self, other: _Claimant, *, ahead_s: float) -> _Claimant | None:
        """Return who died here, None where nobody did. Raises HomeTaken when signs of life follow."""
        watched_s = 2 * _BEAT_S
        log.warning(
            "the last sign of life in this folder is dated in the future, as after a clock was set back: it is watched",
            key=self._key,
            folder=str(self._home),
            of=other.words,
            ahead_s=round(ahead_s),
            watched_s=watched_s,
        )
        before = self._read_time_ns()
        for _ in range(_LOOKS):
            self._pause(watched_s / _LOOKS)
            if self._read_time_ns() == before:
                continue
            now_there = self._read()
            if now_there is None:
                return None
            hint = "Its last sign of life was dated in the future, but others followed: it lives. Stop it first."
            raise HomeTaken(self._home, now_there.words, hint=hint)
        return other

    def _read_time_ns(self) -> int:
        with self._path.open("rb") as file:  # opened, for a network file system keeps the times it has seen
            return os.fstat(file.fileno()).st_mtime_ns

    def _read(self) -> _Claimant | None:
        """Return who claims the home; None when nobody does, or it cannot be read as a claim."""
        try:
            claim = json.loads(self._path.read_text(encoding="utf-8"))
            return _Claimant(**{name: value for name, value in claim.items() if name in _Claimant.__annotations__})
        except (ValueError, TypeError, AttributeError):
            return None

    def _silent_s(self) -> float:
        """Return the age of the last sign of life, by the file system's own clock."""
        probe = self._path.parent / make_temporary_name(".now")
        try:
            probe.write_bytes(b"now")
            return probe.stat().st_mtime - self._path.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)

    def _beat(self) -> None:
        other = self._read()
        if other is not None and other != self._me:
            raise HomeTaken(self._home, other.words, hint="It took over; this daemon ends. Start only one of them.")
        os.utime(self._path)


def read_boot_id() -> str:
    """Return what tells this running kernel from every other; empty where it does not say."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
