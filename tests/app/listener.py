"""A service manager that only listens."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PATIENCE_S = 60.0


class Listener:
    """The other end of $NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)

    @classmethod
    @contextmanager
    def at(cls, folder: Path) -> Iterator["Listener"]:
        """Listen on a socket in a folder."""
        listener = cls(str(folder / "notify"))
        try:
            yield listener
        finally:
            listener.close()

    def close(self) -> None:
        """Hear nothing any more."""
        self._socket.close()

    def hear(self, *, patience_s: float = _PATIENCE_S) -> dict[str, str]:
        """Return the next thing said. Raises TimeoutError after long silence."""
        self._socket.settimeout(patience_s)
        lines = self._socket.recv(65536).decode().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def hear_until(self, key: str) -> list[dict[str, str]]:
        """Return everything said until something with `key` was."""
        said = [self.hear()]
        while key not in said[-1]:
            said.append(self.hear())
        return said

    def forget(self) -> None:
        """Throw away what was said so far."""
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.recv(65536)
        except BlockingIOError:
            return

    def listen_for_silence(self, seconds: float, then: threading.Event) -> dict[str, str] | None:
        """Return what is said within so many seconds, None when nothing is; sets `then` in the end."""
        try:
            self.forget()
            return self.hear(patience_s=seconds)
        except TimeoutError:
            return None
        finally:
            then.set()
