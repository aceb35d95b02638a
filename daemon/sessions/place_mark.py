"""Which directory a place is: by its number on the file system and by when it was made.

A number alone does not tell: file systems give that of a removed directory to the next one that is made. When a
directory was made the kernel says by a call of its own, on file systems that keep it.
"""

import ctypes
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NUMBER, _BORN, _MANIFEST = "place_number", "place_born_ns", "manifest_stood"
"""Keys among the facts of a session."""

# Of statx(2): its flags, the size of what it fills in, and where the parts that are wanted lie in that.
_FROM_HERE, _WANT_NUMBER, _WANT_BIRTH = -100, 0x100, 0x800
_RESULT_BYTES, _MASK_AT, _NUMBER_AT, _BIRTH_AT = 256, 0, 32, 80
_statx = getattr(ctypes.CDLL(None), "statx", None)


@dataclass(frozen=True)
class PlaceMark:
    """What tells one directory from another of its name."""

    number: int
    born_ns: int | None = None
    """When it was made; None where its file system does not say."""

    def may_be(self, other: "PlaceMark") -> bool:
        """Whether nothing tells the two apart."""
        is_born_alike = None in {self.born_ns, other.born_ns} or self.born_ns == other.born_ns
        return self.number == other.number and is_born_alike

    def is_surely(self, other: "PlaceMark") -> bool:
        """Whether the two are one and the same directory for certain."""
        return self.born_ns is not None and self == other

    def as_facts(self) -> dict[str, int]:
        """Return what the facts of a session keep of it."""
        return {_NUMBER: self.number} | ({} if self.born_ns is None else {_BORN: self.born_ns})


@dataclass(frozen=True)
class ManifestMark:
    """What tells one session.json from the one that was there before."""

    size_bytes: int
    mtime_ns: int
    born_ns: int | None = None
    """When the file was made, as a copy may keep size and time; None where its file system does not say."""

    def may_be(self, other: "ManifestMark") -> bool:
        """Whether nothing tells the two apart."""
        is_born_alike = None in {self.born_ns, other.born_ns} or self.born_ns == other.born_ns
        return (self.size_bytes, self.mtime_ns) == (other.size_bytes, other.mtime_ns) and is_born_alike

    def as_facts(self) -> dict[str, list[int | None]]:
        """Return what the facts of a session keep of it."""
        return {_MANIFEST: [self.size_bytes, self.mtime_ns, self.born_ns]}


def read_manifest_mark(manifest: Path) -> ManifestMark | None:
    """Return the mark of a session.json; None where there is none to be seen."""
    mark = _read_mark(manifest)
    try:
        status = manifest.stat()
    except OSError:
        return None
    return ManifestMark(status.st_size, status.st_mtime_ns, None if mark is None else mark.born_ns)


def known_manifest_mark(facts: Mapping[str, Any]) -> ManifestMark | None:
    """Return the mark of the session.json that the facts of a session keep, None where they keep none."""
    kept = facts.get(_MANIFEST)
    return ManifestMark(*kept) if isinstance(kept, list) else None


def read_place_mark(directory: Path) -> PlaceMark | None:
    """Return the mark of a directory, links followed; None where it is not there or cannot be looked at."""
    return _read_mark(directory)


def _read_mark(directory: Path) -> PlaceMark | None:
    if _statx is not None:
        found = ctypes.create_string_buffer(_RESULT_BYTES)
        if _statx(_FROM_HERE, os.fsencode(directory), 0, _WANT_NUMBER | _WANT_BIRTH, found) == 0:
            (filled,) = struct.unpack_from("=I", found, _MASK_AT)
            (number,) = struct.unpack_from("=Q", found, _NUMBER_AT)
            seconds, nanoseconds = struct.unpack_from("=qI", found, _BIRTH_AT)
            return PlaceMark(number, seconds * 10**9 + nanoseconds if filled & _WANT_BIRTH else None)
    try:
        return PlaceMark(directory.stat().st_ino)
    except OSError:
        return None


def known_place_mark(facts: Mapping[str, Any]) -> PlaceMark | None:
    """Return the mark that the facts of a session keep, None where they keep none."""
    number, born_ns = facts.get(_NUMBER), facts.get(_BORN)
    return PlaceMark(number, born_ns if isinstance(born_ns, int) else None) if isinstance(number, int) else None
