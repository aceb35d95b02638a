"""Outputs appear whole or not at all: temporary name in the same folder, fsync, rename, fsync of the folder."""

import contextlib
import errno
import grp
import hashlib
import os
import re
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from daemon.errors import DiskFull, FileNotWritten
from daemon.formats.own_file import open_own_file

TEMPORARY_PREFIX = ".elcano-tmp-"
"""How the name of every unfinished output begins."""

_TEMPORARY_NAME = re.compile(
    re.escape(TEMPORARY_PREFIX) + r"(?P<host>.*)-(?P<pid>\d+)-(?P<birth>\d+)-[0-9a-f]{8}(\..*)?"
)


@dataclass(frozen=True)
class FileDigest:
    """Size and sha256 (hexadecimal) of a written file."""

    size_bytes: int
    sha256: str


def write_atomically(
    path: Path, encode: Callable[[Path], None], *, mode: int | None = None, group: str | None = None
) -> FileDigest:
    """Let `encode` write a file, then put it at `path` in one step that survives a power cut.

    `encode` gets a temporary path in the same folder with the same suffix. Parent folders are made.
    `mode` and `group` apply to the file and to the folders made for it (a folder may be entered by
    whoever may read the file); None leaves them to the umask. Raises FileNotWritten, DiskFull among them; whatever
    `encode` raises otherwise passes through. No temporary file stays behind in either case.
    """
    try:
        group_id = _find_group(group)
        _make_folders(path.parent, mode, group_id)
    except OSError as error:
        raise _refuse(path, error) from error
    temporary = path.with_name(make_temporary_name(path.suffix))
    try:
        encode(temporary)
        digest = _settle_bytes(temporary, mode, group_id)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        _discard(temporary)
        raise _refuse(path, error) from error
    except FileNotWritten as error:
        _discard(temporary)
        if isinstance(error.__cause__, OSError):  # told by a writer that knows the temporary name only
            raise _refuse(path, error.__cause__) from error
        raise
    except BaseException:
        _discard(temporary)
        raise
    return digest


def append_line(path: Path, line: str, *, mode: int | None = None, group: str | None = None) -> None:
    """Add a line to a file so that it survives a power cut; the file, and folders for it, are made where missing.

    A line that a writer has left unfinished when it died is ended first, so that it spoils no other. `mode` and `group`
    as for `write_atomically`; a link in its place is not followed. Raises FileNotWritten, DiskFull among them; the file
    is then as it was.
    """
    try:
        group_id = _find_group(group)
        _make_folders(path.parent, mode, group_id)
        is_new = not path.exists()
        with os.fdopen(open_own_file(path, os.O_RDWR | os.O_APPEND | os.O_CREAT), "a+b", buffering=0) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            is_cut = size_bytes > 0 and os.pread(file.fileno(), 1, size_bytes - 1) != b"\n"
            try:
                _append(file.fileno(), b"\n" * is_cut + line.encode() + b"\n")
            except OSError:
                os.ftruncate(file.fileno(), size_bytes)
                raise
            if is_new and group_id != -1:
                os.fchown(file.fileno(), -1, group_id)
            if is_new and mode is not None:
                os.fchmod(file.fileno(), mode)
        if is_new:
            _sync_folder(path.parent)
    except OSError as error:
        raise _refuse(path, error) from error


def _append(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
    os.fsync(descriptor)


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove the temporary files of writers that died, and return them.

    A writer is known by host, process id and the start time of that process, so a reused id is not
    mistaken for it: beside writers at work this is safe at any time. Files of other hosts are left to those hosts.
    Raises FileNotWritten.
    """
    try:
        return _remove_leftovers(folder, sorted(os.listdir(folder)))  # noqa: PTH208 - names: a Path each costs more
    except OSError as error:
        raise FileNotWritten(folder, error) from error


def sweep_leftovers(tree: Path) -> list[Path]:
    """As `remove_leftovers`, in a folder and all below it; links are not followed. Asks no file but by its name."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # a folder that has gone meanwhile holds nothing
            raise error

    removed = []
    try:
        for folder, _, names in os.walk(tree, onerror=refuse):
            removed += _remove_leftovers(Path(folder), sorted(names))
    except OSError as error:
        raise FileNotWritten(tree, error) from error
    return removed


def _remove_leftovers(folder: Path, names: list[str]) -> list[Path]:
    removed = [folder / name for name in names if name.startswith(TEMPORARY_PREFIX) and _is_leftover(name)]
    for leftover in removed:
        leftover.unlink(missing_ok=True)
    return removed


def _refuse(path: Path, error: OSError) -> FileNotWritten:
    kind = DiskFull if error.errno in {errno.ENOSPC, errno.EDQUOT} else FileNotWritten
    return kind(path, error)


def make_temporary_name(suffix: str) -> str:
    """Return a name for an unfinished file of this process, which `remove_leftovers` knows."""
    pid = os.getpid()
    return f"{TEMPORARY_PREFIX}{socket.gethostname()}-{pid}-{_birth_ticks(pid)}-{secrets.token_hex(4)}{suffix}"


def _is_leftover(name: str) -> bool:
    match = _TEMPORARY_NAME.fullmatch(name)
    if match is None or match["host"] != socket.gethostname():
        return False
    return _birth_ticks(int(match["pid"])) != int(match["birth"])


def _birth_ticks(pid: int) -> int:
    """Start time of a process in clock ticks since boot, −1 when there is none, or one that only waits to be buried."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return -1
    # The name in parentheses may hold spaces and parentheses itself; state is field 3 of the line, start time field 22.
    fields = status.rpartition(")")[2].split()
    return -1 if fields[0] in {"Z", "X"} else int(fields[19])


def _discard(temporary: Path) -> None:
    # Where even removal fails, the first error is the one to tell; `remove_leftovers` comes by later.
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)


def _find_group(group: str | None) -> int:
    if group is None:
        return -1
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise OSError(errno.EINVAL, f"there is no group named {group!r} on this machine") from None


def _make_folders(folder: Path, mode: int | None, group_id: int) -> None:
    if folder.is_dir():
        return
    _make_folders(folder.parent, mode, group_id)
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise
        return  # another writer was quicker
    if group_id != -1:
        os.chown(folder, -1, group_id)
    if mode is not None:
        folder.chmod(mode | ((mode & 0o444) >> 2))
    _sync_folder(folder.parent)


def _settle_bytes(temporary: Path, mode: int | None, group_id: int) -> FileDigest:
    with temporary.open("rb") as file:
        if group_id != -1:
            os.fchown(file.fileno(), -1, group_id)
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return FileDigest(os.fstat(file.fileno()).st_size, sha256)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # SMB and some FUSE mounts cannot sync a folder and say so with EINVAL; there is nothing better to do there.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)
