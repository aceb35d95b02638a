"""TIFF headers and directories as bytes, for files and for pages handed to a decoder."""

import struct
from collections.abc import Sequence

from daemon.formats.byte_source import ByteOrder

SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 3, 4, 5, 7, 16
_ITEM_FORMATS = {SHORT: "H", LONG: "I", RATIONAL: "I", UNDEFINED: "B", LONG8: "Q"}

TagValue = tuple[int, int, Sequence[int] | bytes]
"""Tag, field type, values (a rational counts as two values)."""


def encode_header(first_directory: int, *, is_big: bool, byte_order: ByteOrder = "<") -> bytes:
    """Return the first 8 bytes of a TIFF, or 16 of a BigTIFF; they end with the place of the first directory."""
    mark = b"II" if byte_order == "<" else b"MM"
    if is_big:
        return struct.pack(f"{byte_order}2sHHHQ", mark, 43, 8, 0, first_directory)
    return struct.pack(f"{byte_order}2sHI", mark, 42, first_directory)


def link_bytes(*, is_big: bool) -> int:
    """Return the size of a link from one directory to the next."""
    return 8 if is_big else 4


def link_position(field_count: int, position: int, *, is_big: bool) -> int:
    """Return where the link to the next directory stands, for a directory at `position`."""
    return position + (8 + 20 * field_count if is_big else 2 + 12 * field_count)


def encode_directory(fields: Sequence[TagValue], position: int, *, is_big: bool, byte_order: ByteOrder = "<") -> bytes:
    """Return a directory that will stand at `position`, followed by its longer values; no page follows it."""
    count_format, offset_format, entry_format = ("Q", "Q", "HHQ8s") if is_big else ("H", "I", "HHI4s")
    inline_bytes = link_bytes(is_big=is_big)
    values_position = link_position(len(fields), position, is_big=is_big) + inline_bytes
    entries, longer = [], bytearray()
    for tag, kind, values in sorted(fields, key=lambda field: field[0]):
        packed = values if isinstance(values, bytes) else _pack(kind, values, byte_order)
        count = len(values) // (2 if kind == RATIONAL else 1)
        if len(packed) > inline_bytes:
            longer += b"\0" * (len(longer) % 2)
            place = values_position + len(longer)
            longer += packed
            packed = struct.pack(byte_order + offset_format, place)
        entries.append(struct.pack(byte_order + entry_format, tag, kind, count, packed))
    field_count = struct.pack(byte_order + count_format, len(fields))
    return b"".join([field_count, *entries, b"\0" * inline_bytes, longer])


def _pack(kind: int, values: Sequence[int], byte_order: ByteOrder) -> bytes:
    return struct.pack(f"{byte_order}{len(values)}{_ITEM_FORMATS[kind]}", *values)
