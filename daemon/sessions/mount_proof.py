"""Proof that two nodes see the same shared folders: paths travel by message, so a path must mean one place.

Each daemon keeps a nonce under `<home>/.elcano/mounts/`. Whoever wants to know, on whatever node, reads it through
its own mount, compares it with what the daemon says over NATS, and leaves a nonce of its own for the daemon to read.
Raw data are read-only: there the names in a watched root and its sessions' manifests are compared.
"""

import hashlib
import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from daemon.domain.names import readable_path
from daemon.errors import CommandRefused, FileUnreadable, MountMismatch, PathOutsideRoots
from daemon.formats.atomic import write_atomically
from daemon.sessions.folders import RECORDS
from daemon.sessions.manifest import find_manifest
from daemon.sessions.roots import resolve_under

PATIENCE_S = 10.0
"""How long another node's writes may take to be seen: network file systems remember what they saw for seconds."""

_LOOK_EVERY_S = 0.5
_LARGEST_NONCE_BYTES = 4096
_MOST_MANIFESTS = 16
_MANIFEST_BYTES = 65536
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.json")

Pause = Callable[[float], None]


class Nonce(msgspec.Struct, frozen=True, kw_only=True):
    """What one node wrote: who it is, and a number that nobody can guess."""

    file: str
    nonce: str
    host: str
    home: str
    written_at: float


class RootFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What one node sees in a watched root: how many names, a digest of them, and one of each session's manifest."""

    path: str
    entries: int = 0
    digest: str = ""
    manifests: dict[str, str] = {}
    """By folder, of the first that have one."""
    unread: list[str] = []
    """Folders among them into which this node cannot look: they prove nothing."""
    trouble: str = ""

    def differs_from(self, other: "RootFacts") -> bool:
        """Whether what both could look at is not the same."""
        unread = {*self.unread, *other.unread}
        for one, two in ((self, other), (other, self)):
            is_whole = len(two.manifests) + len(two.unread) < _MOST_MANIFESTS
            asked = (
                one.manifests.items() if is_whole else ((n, m) for n, m in one.manifests.items() if n in two.manifests)
            )
            if any(two.manifests.get(name) != mark for name, mark in asked if name not in unread):
                return True
        return self.digest != other.digest


@dataclass(frozen=True)
class MountProof:
    """One node's own nonce in one home; `renew` before anybody is told of it."""

    home: Path
    owner: str
    """Host and daemon: no two of those that share a home are called the same."""
    host: str
    group: str | None = None

    def renew(self, at_s: float) -> Nonce:
        """Write a new nonce and read it back.

        Raises FileNotWritten, FileUnreadable, and MountMismatch when what is read is not what was written.
        """
        name = re.sub(r"[^A-Za-z0-9._-]", "_", self.owner) + ".json"
        nonce = Nonce(file=name, nonce=secrets.token_hex(16), host=self.host, home=str(self.home), written_at=at_s)
        path = nonce_path(self.home, name)
        write_atomically(path, lambda draft: _put(draft, msgspec.json.encode(nonce)), group=self.group)
        found = read_nonce(path)
        if found != nonce.nonce:
            raise MountMismatch(path, f"{self.host} wrote a number there and reads {shown(found)}")
        return nonce


def nonce_path(home: Path, file: str) -> Path:
    """Return where a node's nonce lies. Raises CommandRefused for a name that is none of ours."""
    if not _NAME.fullmatch(file):
        raise CommandRefused(f"{file!r} is not the name of a mount proof.", hint="Ask `mount.proof` for the name.")
    return home / RECORDS / "mounts" / file


def read_nonce(path: Path) -> str | None:
    """Return the nonce in a file, None where there is no such file or it holds none. Raises FileUnreadable."""
    try:
        with path.open("rb") as file:
            body = file.read(_LARGEST_NONCE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileUnreadable(path, error) from error
    try:
        return msgspec.json.decode(body, type=Nonce).nonce
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def await_nonce(path: Path, nonce: str, *, patience_s: float = PATIENCE_S, pause: Pause = time.sleep) -> str | None:
    """Look until a file holds a nonce or patience ends; return what was there instead, None when it was found.

    Raises FileUnreadable.
    """
    waited_s = 0.0
    while (found := read_nonce(path)) != nonce:
        if waited_s >= patience_s:
            return shown(found)
        pause(_LOOK_EVERY_S)
        waited_s += _LOOK_EVERY_S
    return None


def look_at_root(root: Path) -> RootFacts:
    """Return what this node sees in a watched root; of a root that cannot be read, why."""
    try:
        names = sorted(os.fsencode(entry.name) for entry in os.scandir(root))
    except OSError as error:
        return RootFacts(path=str(root), trouble=error.strerror or str(error))
    marks, unread = dict[str, str](), list[str]()
    for name in names:
        if len(marks) + len(unread) == _MOST_MANIFESTS:
            break
        folder = root / os.fsdecode(name)
        try:
            manifest = _manifest_within(root, folder)
            if manifest is not None:
                marks[readable_path(Path(folder.name))] = hashlib.sha256(_beginning(manifest)).hexdigest()
        except OSError:
            unread.append(readable_path(Path(folder.name)))
    digest = hashlib.sha256(b"\0".join(names)).hexdigest()
    return RootFacts(path=str(root), entries=len(names), digest=digest, manifests=marks, unread=unread)


def mark_of_session(directory: Path, roots: Sequence[Path] | None = None) -> str:
    """Return a digest of a session's manifest, as proof that two nodes mean the same session; empty without one.

    `roots`: where else than in the directory the manifest may be, symbolic links followed; None: anywhere. Raises
    FileUnreadable and PathOutsideRoots.
    """
    try:
        manifest = find_manifest(directory)
        if manifest is not None and roots is not None:
            manifest = resolve_under(manifest, [*roots, directory])
        return "" if manifest is None else hashlib.sha256(_beginning(manifest)).hexdigest()
    except OSError as error:
        raise FileUnreadable(directory, error) from error


def refuse_other_session(directory: Path, roots: Sequence[Path], mark: str) -> None:
    """Do nothing where this node sees the session that whoever asked has marked.

    Raises MountMismatch where it sees another, PathOutsideRoots, FileUnreadable.
    """
    ours = mark_of_session(resolve_under(directory, roots), roots)
    if ours != mark:
        here, there = ("a session.json" if seen else "no session.json" for seen in (ours, mark))
        other = "another session.json" if ours and mark else here
        raise MountMismatch(directory, f"{socket.gethostname()} sees {other} there, whoever asked sees {there}")


def shown(found: str | None) -> str:
    """Say what was in a file in place of the nonce looked for."""
    return "no such file" if found is None else f"another number ({found[:8]}…)"


def _manifest_within(root: Path, directory: Path) -> Path | None:
    """Return where the manifest of a directory is, None without one or where a link leads out of the root."""
    manifest = find_manifest(directory)
    try:
        return None if manifest is None else resolve_under(manifest, [root])
    except PathOutsideRoots:
        return None


def _beginning(manifest: Path) -> bytes:
    with manifest.open("rb") as file:
        return file.read(_MANIFEST_BYTES)


def _put(path: Path, body: bytes) -> None:
    path.write_bytes(body)
