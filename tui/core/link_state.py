"""How the way to the daemon is, in words for people."""

import shlex
from dataclasses import dataclass
from enum import StrEnum

from tui.core.text import show_line


class LinkPhase(StrEnum):
    """Where connecting stands."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    NOT_RUNNING = "not running"
    REFUSED = "refused"
    """NATS cannot be reached, or does not accept the credentials."""
    LOST = "lost"
    """It was there; it is being looked for again."""


@dataclass(frozen=True)
class LinkState:
    """What a banner or the waiting screen says."""

    phase: LinkPhase = LinkPhase.CONNECTING
    message: str = ""
    hint: str = ""
    where: str = ""
    config: str = ""
    """The file of the configuration; empty where none was named or found."""
    role: str = ""
    """`operator`, `viewer`, or empty where the server's own rules decide."""
    connections: int = 0
    """How often a connection was made: another number means that everything is to be asked for again."""
    since_s: float = 0.0
    was_connected: bool = False

    @property
    def is_connected(self) -> bool:
        """Whether the daemon can be asked now."""
        return self.phase is LinkPhase.CONNECTED

    def command(self, name: str) -> str:
        """Return what to type in a shell so that it is of the configuration that this terminal has."""
        return f"elcano {name}" + (f" --config {show_line(shlex.quote(self.config))}" if self.config else "")

    def how_to_start(self) -> str:
        """Return what to do where a daemon that was there does not answer."""
        return f"`{self.command('status')}` tells whether the daemon runs, `{self.command('run')}` starts it."

    @property
    def is_cut(self) -> bool:
        """Whether what is known stands still, as there is no connection any more."""
        return self.was_connected and not self.is_connected

    @property
    def is_viewer(self) -> bool:
        """Whether this terminal may look but not act."""
        return self.role == "viewer"

    def stood_s(self, now_s: float) -> float:
        """The moment of what is known: now, or when the connection was lost."""
        return min(now_s, self.since_s) if self.is_cut and self.since_s else now_s
