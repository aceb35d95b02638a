"""Which revision of a gain, a dark or a file of defects a result was made with."""

import contextlib
from collections.abc import Collection, Mapping
from typing import Any

from daemon.domain.acquisition import Acquisition, CameraReference
from daemon.store.rows import encode_path

_NAMES = ("gain", "dark", "defects")

References = Mapping[str, Mapping[str, Any]]
"""Path, size and time of change by name, as records of tasks hold them."""


def identify_references(used: Collection[str], acquisition: Acquisition) -> References:
    """Say how the files now stand that a stage using these fields of an acquisition reads; touches the disk.

    Size and time are None of a file that cannot be looked at.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in _NAMES:
        reference: CameraReference | None = getattr(acquisition, name)
        if name not in used or reference is None:
            continue
        found[name] = {"path": encode_path(reference.path), "size_bytes": None, "mtime_ns": None}
        with contextlib.suppress(OSError):  # whoever reads it tells
            status = reference.path.stat()
            found[name] |= {"size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
    return found
