"""What is said to systemd: datagrams on $NOTIFY_SOCKET, as sd_notify(3) describes them.

Own code: the whole protocol is one datagram of KEY=VALUE lines. `sdnotify` on PyPI has not changed since 2017,
`systemd-python` needs libsystemd and a compiler where it is installed, `cysystemd` brings binaries for one socket.
"""

import os
import socket
import time
from collections.abc import MutableMapping

import structlog

log = structlog.get_logger(__name__)

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
_PATIENCE_S = 1.0


class ServiceManager:
    """Hears how this process is; without one (a daemon started by hand) everything said is dropped."""

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        """`address` is a path, or a name in the abstract space that begins with @; empty for nobody."""
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_s = watchdog_s if address else None
        """How long the manager waits for a ping before it restarts the daemon; None: it does not."""
        self._complained = False

    @classmethod
    def of(cls, environ: MutableMapping[str, str]) -> "ServiceManager":
        """Read the environment, and take out what no child process may use in our name."""
        told = {name: environ.pop(name, "") for name in _VARIABLES}
        is_for_us = told["WATCHDOG_PID"] in {"", str(os.getpid())}
        usec = told["WATCHDOG_USEC"]
        watchdog_s = int(usec) / 1e6 if usec.isdecimal() and int(usec) and is_for_us else None
        return cls(told["NOTIFY_SOCKET"], watchdog_s)

    @property
    def is_there(self) -> bool:
        """Whether anyone hears what is said."""
        return bool(self._address)

    def ready(self, status: str) -> None:
        """The daemon serves, or serves again after it read its configuration."""
        self._say("READY=1", f"STATUS={_line(status)}")

    def reloading(self) -> None:
        """The configuration is read again."""
        self._say("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The daemon ends because it was asked to."""
        self._say("STOPPING=1", "STATUS=stopping")

    def status(self, status: str) -> None:
        """One line for people (`systemctl status`)."""
        self._say(f"STATUS={_line(status)}")

    def ping(self) -> None:
        """All is well."""
        self._say("WATCHDOG=1")

    def _say(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaker:
                speaker.settimeout(_PATIENCE_S)
                speaker.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            # A manager that does not hear pings restarts us; saying so once is all that can be done about it.
            if not self._complained:
                log.warning("the service manager does not hear", socket=self._address, reason=str(error))
            self._complained = True


def _line(text: str) -> str:
    """Return text as the single line that the protocol can carry."""
    return " ".join(text.split())
