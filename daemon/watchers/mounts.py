"""Which file system a directory lies on, and whether the kernel hears of every write there."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

_MOUNT_TABLE = Path("/proc/self/mountinfo")

# Only these report writes of every process that can write to them. On network and cluster file systems (GPFS, Lustre,
# NFS, SMB, FUSE …) writes of other nodes are silent, so anything not listed is polled.
_LOCAL_TYPES = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "ramfs", "reiserfs"})
_LOCAL_TYPES |= {"tmpfs", "xfs", "zfs"}


@dataclass(frozen=True)
class Mount:
    """One mounted file system."""

    point: Path
    file_system: str
    source: str

    @property
    def is_local(self) -> bool:
        """Whether every write on it raises an event in this kernel."""
        return self.file_system in _LOCAL_TYPES


def parse_mount_table(text: str) -> list[Mount]:
    """Read the lines of /proc/self/mountinfo (proc(5)) in their order; later mounts cover earlier ones."""
    mounts = []
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        fields, described = before.split(" "), after.split(" ")
        if separator and len(fields) > 4 and len(described) > 1:
            mounts.append(Mount(Path(_unescape(fields[4])), described[0], _unescape(described[1])))
    return mounts


def find_mount(path: Path, mounts: list[Mount] | None = None) -> Mount | None:
    """Return the mount that holds `path` after resolving links; None where the system has no mount table."""
    if mounts is None:
        if not _MOUNT_TABLE.exists():
            return None
        mounts = parse_mount_table(_MOUNT_TABLE.read_text(encoding="utf-8", errors="surrogateescape"))
    real_path = Path(os.path.realpath(path))
    holding = [mount for mount in mounts if real_path.is_relative_to(mount.point)]
    deepest = max((len(mount.point.parts) for mount in holding), default=0)
    return next((mount for mount in reversed(holding) if len(mount.point.parts) == deepest), None)


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
