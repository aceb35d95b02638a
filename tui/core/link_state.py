"""How the way to the daemon is, in words for people."""

from dataclasses import dataclass
from enum import StrEnum


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

    @property
    def is_viewer(self) -> bool:
        """Whether this terminal may look but not act."""
        return self.role == "viewer"
