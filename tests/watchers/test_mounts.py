"""Which mounts raise events for every writer."""

from pathlib import Path

import pytest

from daemon.watchers.mounts import find_mount, parse_mount_table

TABLE = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /gpfs/em rw,relatime shared:5 - gpfs gpfs-em rw
31 22 0:41 / /lustre rw - lustre 10.0.0.1@tcp:/em rw
32 22 0:42 / /nfs/data rw,noatime shared:7 master:2 - nfs4 server:/export rw,vers=4.2
33 22 0:43 / /mnt/camera\040PC rw - cifs //camera/frames rw
34 22 0:44 / /home/me/remote rw - fuse.sshfs me@host:/ rw
35 22 254:1 / /local rw - xfs /dev/vdb rw
36 35 0:45 / /local rw - nfs server:/over rw
not a line of the table
"""


@pytest.mark.parametrize(
    ("path", "file_system", "is_local"),
    [
        ("/data/x", "ext4", True),
        ("/gpfs/em/24dec03a/frames", "gpfs", False),
        ("/gpfs/empty", "ext4", True),
        ("/lustre/a", "lustre", False),
        ("/nfs/data", "nfs4", False),
        ("/mnt/camera PC/a", "cifs", False),
        ("/home/me/remote/a", "fuse.sshfs", False),
        ("/local/a", "nfs", False),
    ],
)
def test_the_deepest_and_latest_mount_holds_a_path(path: str, file_system: str, is_local: bool) -> None:
    mount = find_mount(Path(path), parse_mount_table(TABLE))
    assert mount is not None
    assert mount.file_system == file_system
    assert mount.is_local is is_local


def test_a_link_is_followed_to_its_mount(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/gpfs/em")
    mount = find_mount(tmp_path / "link", parse_mount_table(TABLE))
    assert mount is not None
    assert mount.file_system == "gpfs"


def test_this_machine_has_a_root(tmp_path: Path) -> None:
    mount = find_mount(tmp_path)
    assert mount is not None
    assert tmp_path.resolve().is_relative_to(mount.point)
