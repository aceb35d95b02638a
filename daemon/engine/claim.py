"""The right to work in a home, kept while the daemon lives: a second daemon, also on another node, is refused.

A lock of the kernel tells daemons of one node apart and goes with its process, however that dies. Between nodes
the file's own time is the sign of life, compared with the time the file system itself gives to a new file:
clocks of nodes differ.
"""

import errno
import fcntl
import json
import os
import secrets
import socket
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
"""The file under the home; empty while nobody works there."""

_BEAT_S = 10.0
_DEAD_AFTER_S = 60.0
_NO_LOCKS_HERE = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


@dataclass(frozen=True)
class _Claimant:
    host: str
    pid: int
    state: str
    token: str

    @property
    def words(self) -> str:
        """Who it is, for people."""
        return f"the daemon with process {self.pid} on {self.host} (state in {self.state})"


class HomeClaim:
    """One daemon's claim to a home. `take` it, `keep` it, `release` it."""

    def __init__(self, home: Path, state: Path, *, host: str = "", beat_s: float = _BEAT_S) -> None:
        self._home = home
        self._path = home / CLAIM_NAME
        self._me = _Claimant(host or socket.gethostname(), os.getpid(), str(state), secrets.token_hex(8))
        self._beat_s = beat_s
        self._file: IO[str] | None = None

    def check(self) -> None:
        """Tell early, and without claiming anything, that another daemon works there. Raises HomeTaken."""
        try:
            with self._path.open("r+", encoding="utf-8") as file:
                self._refuse_if_taken(file)
        except OSError as error:
            # Nobody ever worked there, or it cannot be told: `take` decides.
            log.debug("the home is not claimed yet", path=str(self._path), reason=error.strerror or str(error))

    def take(self) -> None:
        """Claim the home, which is made if it is not there. Raises HomeTaken, FileNotWritten."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = self._path.open("a+", encoding="utf-8")
        except OSError as error:
            raise FileNotWritten(self._path, error) from error
        try:
            dead = self._refuse_if_taken(file)
            if dead is not None:
                log.warning("the home of a daemon that died is taken over", home=str(self._home), dead=dead.words)
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
                log.warning("no sign of life in the home", path=str(self._path), reason=error.strerror or str(error))
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
            log.warning("claim to the home not released", path=str(self._path), reason=error.strerror or str(error))
        self._file = None

    def _refuse_if_taken(self, file: IO[str]) -> _Claimant | None:
        """Return the daemon that died here, None where nobody did. Raises HomeTaken."""
        is_locked_by_us = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = self._read()
            who = "another daemon" if other is None else other.words
            raise HomeTaken(
                self._home, who, hint="Stop it first, or give this one a [paths] home of its own."
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS_HERE:
                raise
            is_locked_by_us = False
        other = self._read()
        if other is None or (other.host == self._me.host and is_locked_by_us):
            return None  # of this node's daemons the kernel would have told
        silent_s = self._silent_s()
        if silent_s < _DEAD_AFTER_S:
            raise HomeTaken(
                self._home,
                other.words,
                hint=f"Its last sign of life is {max(0.0, silent_s):.0f} s old. Stop it first; if it died, "
                f"try again when that is {_DEAD_AFTER_S:.0f} s.",
            )
        return other

    def _read(self) -> _Claimant | None:
        """Return who claims the home; None when nobody does, or it cannot be read as a claim."""
        try:
            return _Claimant(**json.loads(self._path.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
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
