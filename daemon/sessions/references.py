"""Which revision of a gain, a dark or a file of defects a result was made with."""

import contextlib
from collections.abc import Collection, Mapping
from typing import Any

from daemon.domain.acquisition import Acquisition, CameraReference
from daemon.store.rows import encode_path

_NAMES = ("gain", "dark", "defects")

References = Mapping[str, Mapping[str, Any]]
"""Path, size and time of change by name, as records of tasks hold them."""


def references_among(used: Collection[str], acquisition: Acquisition) -> dict[str, CameraReference]:
    """Return the files of the camera, by name, among the fields of an acquisition that a stage uses."""
    named: dict[str, CameraReference | None] = {name: getattr(acquisition, name) for name in _NAMES if name in used}
    return {name: reference for name, reference in named.items() if reference is not None}


def unanswered_reference(reference: CameraReference) -> dict[str, Any]:
    """Say which file it is, without its size and time, as of one that cannot be looked at."""
    return {"path": encode_path(reference.path), "size_bytes": None, "mtime_ns": None}


def identify_reference(reference: CameraReference) -> dict[str, Any]:
    """Say how a file of the camera now stands; touches the disk."""
    found = unanswered_reference(reference)
    with contextlib.suppress(OSError):  # whoever reads it tells
        status = reference.path.stat()
        found |= {"size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
    return found
