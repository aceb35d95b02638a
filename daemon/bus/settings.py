"""What the bus needs to know, as plain values; the command line fills it from config.toml."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from daemon.messages.subjects import Subjects


class BusSection(Protocol):
    """What `[bus]` of config.toml says."""

    @property
    def url(self) -> str | None:
        """Server to connect to."""
        ...

    @property
    def instance(self) -> str:
        """Name of the daemon."""
        ...

    @property
    def prefix(self) -> str:
        """First token of the subjects of events."""
        ...

    @property
    def credentials(self) -> Path | None:
        """Credentials file for `url`."""
        ...


@dataclass(frozen=True)
class BusSettings:
    """Where NATS is and how to enter it; without `url` the daemon starts a server of its own.

    credentials: a NATS credentials file (`.creds`) or a file with an nkey seed.
    server_binary: which `nats-server` to start; None = the one installed beside this Python, else on PATH.
    max_store_bytes: what JetStream may keep on disk; the oldest events go first.
    looks_only: a client enters as a viewer, and asks for no command, whatever else it may do.
    """

    state_directory: Path
    url: str | None = None
    instance: str = "main"
    prefix: str = "magellon"
    credentials: Path | None = None
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    server_binary: Path | None = None
    max_store_bytes: int = 2**30
    looks_only: bool = False

    @classmethod
    def of(cls, state_directory: Path, section: BusSection) -> "BusSettings":
        """Return the settings of the daemon whose state lies there."""
        return cls(
            state_directory,
            url=section.url,
            instance=section.instance,
            prefix=section.prefix,
            credentials=section.credentials,
        )

    @property
    def subjects(self) -> Subjects:
        """The names this daemon uses."""
        return Subjects(prefix=self.prefix, instance=self.instance)
