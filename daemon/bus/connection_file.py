"""The files in the state directory that say where the embedded server is and how to enter it.

`nats.json` lets its owner command the daemon, `nats-viewer.json` only watch. Both are readable by their
owner alone; an administrator may give the viewer's file to a group. They outlive the daemon: the next one
takes port and passwords over, so that terminals left open find their way back.
"""

import contextlib
import os
import secrets
from pathlib import Path

import msgspec

from daemon.bus.connection import Target
from daemon.bus.process_mark import ProcessMark
from daemon.bus.roles import Role
from daemon.bus.settings import BusSettings
from daemon.errors import BusUnavailable, DaemonNotRunning, FileNotWritten

_NAMES = {Role.OPERATOR: "nats.json", Role.VIEWER: "nats-viewer.json"}


class ConnectionFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a client on this machine needs, and what the next daemon recognises a leftover server by."""

    url: str
    user: str
    password: str
    inbox: str
    daemon: ProcessMark
    server: ProcessMark

    def target(self) -> Target:
        """Return how to connect with it."""
        return Target(self.url, user=self.user, password=self.password, inbox=self.inbox, role=self.user)


def connection_file_path(state_directory: Path, role: Role) -> Path:
    """Return where the file of a role lies."""
    return state_directory / _NAMES[role]


def read_connection_file(path: Path) -> ConnectionFile | None:
    """Return its content, None where there is no such file. Raises PermissionError, BusUnavailable when damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ConnectionFile)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise BusUnavailable(
            f"Connection file {path} is damaged: {error}.", hint="Start the daemon again; it writes a new one."
        ) from error


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically; only its owner may read it. Raises FileNotWritten."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
            raise
    except OSError as error:
        raise FileNotWritten(path, error) from error


def find_target(settings: BusSettings) -> Target:
    """Return where a client finds the daemon's NATS: the configured URL, else what the state directory says.

    The operator's file is used where it may be read, else the viewer's, and only that by who looks only. Raises
    DaemonNotRunning, BusUnavailable.
    """
    if settings.url is not None:
        return Target(
            settings.url,
            credentials=settings.credentials,
            tls_ca=settings.tls_ca,
            tls_certificate=settings.tls_certificate,
            tls_key=settings.tls_key,
        )
    forbidden: Path | None = None
    for role in (Role.VIEWER,) if settings.looks_only else _NAMES:
        path = connection_file_path(settings.state_directory, role)
        try:
            content = read_connection_file(path)
        except PermissionError:
            forbidden = path
            continue
        if content is not None:
            return content.target()
    if forbidden is not None:
        raise BusUnavailable(
            f"{forbidden} may not be read by this user.",
            hint="Run as the user of the daemon, or ask for read access to nats-viewer.json.",
        )
    raise DaemonNotRunning(str(settings.state_directory))
