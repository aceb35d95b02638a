"""The skeleton of TIFF 6.0 and BigTIFF files: the chain of directories, one page each, no pixel.

A page is yielded only when everything it points at lies inside the file, so the pages that come out
of a file that still grows are complete pages.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daemon.errors import FormatError, MovieIncomplete
from daemon.formats.byte_source import ByteOrder, ByteSource
from daemon.formats.pixel_size import plausible_pixel_size

_DIRECTORY_READ_BYTES = 4096
_BYTE_ORDERS: dict[bytes, ByteOrder] = {b"II": "<", b"MM": ">"}
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGER_DTYPES = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
_LARGEST_SIDE_PX = 1_000_000

WIDTH, HEIGHT, BITS, COMPRESSION, FILL_ORDER = 256, 257, 258, 259, 266
STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES = 273, 277, 278, 279
PHOTOMETRIC, X_RESOLUTION, Y_RESOLUTION = 262, 282, 283
RESOLUTION_UNIT, PREDICTOR, SAMPLE_FORMAT = 296, 317, 339
TILE_OFFSETS, TILE_BYTES = 324, 325
TILE_WIDTH, TILE_HEIGHT = 322, 323
EER_METADATA = 65001
EER_RUN_BITS, EER_X_BITS, EER_Y_BITS = 65007, 65008, 65009


@dataclass(frozen=True)
class TiffPage:
    """One directory: geometry, sample type, and where the strips (or tiles) are.

    Of a tiled page, `tile_shape_yx` is the size of a tile and the strips are its tiles, row by row;
    of one in strips it is None. `metadata` is the value of tag 65001 (the acquisition XML of EER), empty
    without it; `event_bits` the bit widths of EER compression 65002, None unless all three are there.
    """

    width_px: int
    height_px: int
    bits: int
    sample_format: int
    compression: int
    predictor: int
    samples: int
    fill_order: int
    byte_order: ByteOrder
    tile_shape_yx: tuple[int, int] | None
    rows_per_strip: int
    strip_offsets: npt.NDArray[np.int64]
    strip_bytes: npt.NDArray[np.int64]
    pixel_size_ang: float | None
    metadata: bytes
    event_bits: tuple[int, int, int] | None


@dataclass(frozen=True)
class _Dialect:
    """How numbers are laid out: byte order, and the wider fields of BigTIFF."""

    byte_order: ByteOrder
    is_big: bool

    @property
    def count_format(self) -> str:
        return self.byte_order + ("Q" if self.is_big else "H")

    @property
    def offset_format(self) -> str:
        return self.byte_order + ("Q" if self.is_big else "I")

    @property
    def entry_format(self) -> str:
        return self.byte_order + ("HHQ8s" if self.is_big else "HHI4s")


@dataclass(frozen=True)
class _Field:
    kind: int
    count: int
    inline: bytes


def walk_pages(source: ByteSource) -> Iterator[TiffPage]:
    """Yield the pages in file order.

    Raises MovieIncomplete where the chain, a strip or a value leads past the end of the file or into
    bytes never written; FormatError where they make no sense; FileUnreadable. What was yielded
    before is whole.
    """
    dialect, offset = _read_file_header(source)
    seen: set[int] = set()
    while offset:
        if offset in seen:
            raise FormatError(source.path, f"its chain of TIFF directories runs in a circle at byte {offset}")
        seen.add(offset)
        fields, offset = _read_directory(source, dialect, offset)
        yield _read_page(source, dialect, fields, len(seen))


def _read_file_header(source: ByteSource) -> tuple[_Dialect, int]:
    raw = source.read_up_to(0, 16)
    if not any(raw):
        what = "it is empty" if not raw else "its first bytes are all zero: space was reserved, nothing written yet"
        raise MovieIncomplete(source.path, what)
    byte_order = _BYTE_ORDERS.get(raw[:2])
    if byte_order is None:
        raise FormatError(source.path, "not a TIFF file: it does not begin with II or MM")
    if len(raw) < 8:
        raise MovieIncomplete(source.path, f"the file ends after {len(raw)} bytes, at its very beginning")
    (version,) = struct.unpack_from(f"{byte_order}H", raw, 2)
    if version == 43:
        if len(raw) < 16:
            raise MovieIncomplete(source.path, f"the file ends after {len(raw)} bytes, at its very beginning")
        offset_bytes, reserved, first = struct.unpack_from(f"{byte_order}HHQ", raw, 4)
        if (offset_bytes, reserved) != (8, 0):
            raise FormatError(source.path, f"not a BigTIFF file: its offsets have {offset_bytes} bytes")
    elif version == 42:
        (first,) = struct.unpack_from(f"{byte_order}I", raw, 4)
    else:
        raise FormatError(source.path, f"not a TIFF file: version {version} where 42 or 43 is expected")
    if first == 0:
        raise MovieIncomplete(source.path, "its list of frames (TIFF directory) is not written yet")
    return _Dialect(byte_order, version == 43), first


def _cut(source: ByteSource) -> str:
    return f"it was not copied to its end: the file ends after {source.size_bytes} bytes,"


def _read_directory(source: ByteSource, dialect: _Dialect, offset: int) -> tuple[dict[int, _Field], int]:
    count_bytes = struct.calcsize(dialect.count_format)
    entry_bytes = struct.calcsize(dialect.entry_format)
    raw = source.read_up_to(offset, _DIRECTORY_READ_BYTES)
    if len(raw) < count_bytes:
        raise MovieIncomplete(
            source.path, f"{_cut(source)} before its list of frames (TIFF directory at byte {offset})"
        )
    (entry_count,) = struct.unpack_from(dialect.count_format, raw)
    if entry_count == 0:
        raise MovieIncomplete(source.path, f"its list of frames (TIFF directory at byte {offset}) is not written yet")
    size_bytes = count_bytes + entry_count * entry_bytes + struct.calcsize(dialect.offset_format)
    if len(raw) < size_bytes:
        raw = source.read_at(offset, size_bytes)
    table_end = count_bytes + entry_count * entry_bytes
    fields = {
        tag: _Field(kind, count, inline)
        for tag, kind, count, inline in struct.iter_unpack(dialect.entry_format, raw[count_bytes:table_end])
    }
    for tag, field in fields.items():
        _check_inside(source, dialect, tag, field)
    (following,) = struct.unpack_from(dialect.offset_format, raw, table_end)
    return fields, following


def _check_inside(source: ByteSource, dialect: _Dialect, tag: int, field: _Field) -> None:
    if tag == 0 or field.kind == 0:
        raise MovieIncomplete(source.path, "its list of frames (TIFF directory) holds zeros: the copy is not complete")
    size_bytes = _TYPE_BYTES.get(field.kind, 0) * field.count
    if size_bytes > len(field.inline):
        (offset,) = struct.unpack(dialect.offset_format, field.inline)
        if offset == 0:
            raise MovieIncomplete(source.path, f"its description of a frame (TIFF tag {tag}) is not written yet")
        if offset + size_bytes > source.size_bytes:
            raise MovieIncomplete(source.path, f"{_cut(source)} inside its description of a frame (TIFF tag {tag})")


def _read_value(source: ByteSource, dialect: _Dialect, field: _Field) -> bytes:
    size_bytes = _TYPE_BYTES.get(field.kind, 0) * field.count
    if size_bytes <= len(field.inline):
        return field.inline[:size_bytes]
    (offset,) = struct.unpack(dialect.offset_format, field.inline)
    return source.read_at(offset, size_bytes)


class _PageReader:
    """Reads the values of one directory."""

    def __init__(self, source: ByteSource, dialect: _Dialect, fields: dict[int, _Field], number: int) -> None:
        self.source = source
        self.dialect = dialect
        self.fields = fields
        self.number = number

    def integers(self, tag: int) -> npt.NDArray[np.int64]:
        field = self.fields.get(tag)
        if field is None:
            return np.empty(0, dtype=np.int64)
        if field.kind not in _INTEGER_DTYPES:
            raise FormatError(self.source.path, f"TIFF tag {tag} of page {self.number} is no integer")
        raw = _read_value(self.source, self.dialect, field)
        values = np.frombuffer(raw, dtype=self.dialect.byte_order + _INTEGER_DTYPES[field.kind])
        return values.astype(np.int64)

    def integer(self, tag: int, default: int | None = None) -> int:
        values = self.integers(tag)
        if values.size:
            return int(values[0])
        if default is None:
            raise FormatError(self.source.path, f"page {self.number} lacks TIFF tag {tag}")
        return default

    def pixel_size_ang(self) -> float | None:
        """From the resolution tags; None where they hold a screen's or printer's resolution."""
        field = self.fields.get(X_RESOLUTION)
        if field is None or field.kind != 5 or field.count != 1:
            return None
        raw = _read_value(self.source, self.dialect, field)
        numerator, denominator = struct.unpack(f"{self.dialect.byte_order}2I", raw)
        unit_ang = {2: 2.54e8, 3: 1e8}.get(self.integer(RESOLUTION_UNIT, 2))
        if unit_ang is None or numerator == 0:
            return None
        return plausible_pixel_size(unit_ang * denominator / numerator)


def _read_page(source: ByteSource, dialect: _Dialect, fields: dict[int, _Field], number: int) -> TiffPage:
    reader = _PageReader(source, dialect, fields, number)
    width_px, height_px = reader.integer(WIDTH), reader.integer(HEIGHT)
    if not (0 < width_px <= _LARGEST_SIDE_PX and 0 < height_px <= _LARGEST_SIDE_PX):
        raise FormatError(source.path, f"page {number} has the size {width_px} × {height_px}")
    tile_shape_yx = _tile_shape(source, reader) if TILE_OFFSETS in fields else None
    rows_per_strip = min(reader.integer(ROWS_PER_STRIP, height_px), height_px)
    if rows_per_strip < 1:
        raise FormatError(source.path, f"page {number} has strips of {rows_per_strip} rows")
    if tile_shape_yx is not None:
        wanted = -(-height_px // tile_shape_yx[0]) * -(-width_px // tile_shape_yx[1])
    else:
        wanted = -(-height_px // rows_per_strip)
    offsets, sizes = _strip_places(source, reader, wanted, is_tiled=tile_shape_yx is not None)
    metadata = _read_value(source, dialect, fields[EER_METADATA]) if EER_METADATA in fields else b""
    return TiffPage(
        width_px=width_px,
        height_px=height_px,
        bits=reader.integer(BITS, 1),
        sample_format=reader.integer(SAMPLE_FORMAT, 1),
        compression=reader.integer(COMPRESSION, 1),
        predictor=reader.integer(PREDICTOR, 1),
        samples=reader.integer(SAMPLES, 1),
        fill_order=reader.integer(FILL_ORDER, 1),
        byte_order=dialect.byte_order,
        tile_shape_yx=tile_shape_yx,
        rows_per_strip=rows_per_strip,
        strip_offsets=offsets,
        strip_bytes=sizes,
        pixel_size_ang=reader.pixel_size_ang(),
        metadata=metadata,
        event_bits=_event_bits(reader),
    )


def _tile_shape(source: ByteSource, reader: _PageReader) -> tuple[int, int]:
    height_px, width_px = reader.integer(TILE_HEIGHT), reader.integer(TILE_WIDTH)
    if not (0 < width_px <= _LARGEST_SIDE_PX and 0 < height_px <= _LARGEST_SIDE_PX):
        raise FormatError(source.path, f"page {reader.number} has tiles of {width_px} × {height_px} px")
    return height_px, width_px


def _strip_places(
    source: ByteSource, reader: _PageReader, wanted: int, *, is_tiled: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return where the strips or tiles of a page lie, all of them inside the file."""
    offsets = reader.integers(TILE_OFFSETS if is_tiled else STRIP_OFFSETS)
    sizes = reader.integers(TILE_BYTES if is_tiled else STRIP_BYTES)
    kind = "tile" if is_tiled else "strip"
    if not offsets.size == sizes.size == wanted:
        raise FormatError(
            source.path,
            f"page {reader.number} needs {wanted} {kind}(s), lists {offsets.size} offset(s) and {sizes.size} size(s)",
        )
    if (sizes <= 0).any() or (offsets <= 0).any():
        raise MovieIncomplete(source.path, f"parts of frame {reader.number} are not written yet")
    if (offsets > source.size_bytes - sizes).any():
        raise MovieIncomplete(source.path, f"{_cut(source)} inside frame {reader.number}")
    return offsets, sizes


def _event_bits(reader: _PageReader) -> tuple[int, int, int] | None:
    if not all(tag in reader.fields for tag in (EER_RUN_BITS, EER_X_BITS, EER_Y_BITS)):
        return None
    widths = reader.integer(EER_RUN_BITS), reader.integer(EER_X_BITS), reader.integer(EER_Y_BITS)
    if 0 in widths:  # the last values of a file whose end has not been copied yet
        raise MovieIncomplete(reader.source.path, f"its description of frame {reader.number} is not written yet")
    return widths
