"""TIFF and BigTIFF movies: writing frame by frame, rows flipped as `tiff` flips them on reading.

The chain of directories is valid after every frame, as libtiff leaves it: a file in the making
looks like a shorter movie. No date, no host: the same frames give the same bytes.
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import imagecodecs
import numpy as np
import numpy.typing as npt

from daemon.errors import FileNotWritten
from daemon.formats import tiff_directory as tags
from daemon.formats.tiff_encoding import (
    LONG,
    LONG8,
    RATIONAL,
    SHORT,
    TagValue,
    encode_directory,
    encode_header,
    link_bytes,
    link_position,
)

Compression = Literal["none", "lzw", "deflate"]
_COMPRESSION_CODES: dict[Compression, int] = {"none": 1, "lzw": 5, "deflate": 8}
_SAMPLE_FORMATS = {"u": 1, "i": 2, "f": 3}
_CENTIMETRE = 3


class PageChain:
    """Appends little-endian TIFF pages to a new file: strips first, then the directory, then the link to it."""

    def __init__(self, path: Path, *, is_big: bool) -> None:
        self.path = path
        self.is_big = is_big
        header = encode_header(0, is_big=is_big)
        self._link_position = len(header) - link_bytes(is_big=is_big)
        try:
            self._file = path.open("wb")
            self._file.write(header)
            self._file.flush()
        except OSError as error:
            raise FileNotWritten(path, error) from error

    def append(self, fields: Sequence[TagValue], strips: Sequence[bytes], *, are_tiles: bool = False) -> None:
        """Write one page and hand it to the operating system.

        Offsets and sizes of the strips, or of tiles where `are_tiles`, are added to `fields`.

        Raises FileNotWritten, and ValueError when a classic TIFF would outgrow its 4 GiB.
        """
        try:
            offset = self._file.seek(0, 2)
            offset += self._file.write(b"\0" * (offset % 2))
            size_bytes = sum(map(len, strips))
            if not self.is_big and offset + size_bytes + 8 * len(strips) + 4096 > 2**32:
                raise ValueError(f"{self.path} would exceed the 4 GiB of a classic TIFF: write a BigTIFF")
            sizes = [len(strip) for strip in strips]
            starts = (offset + np.concatenate([[0], np.cumsum(sizes)[:-1]])).tolist()
            self._file.writelines(strips)
            if (offset + size_bytes) % 2:
                self._file.write(b"\0")
            position_kind = LONG8 if self.is_big else LONG
            places, lengths = tags.STRIP_OFFSETS, tags.STRIP_BYTES
            if are_tiles:
                places, lengths = tags.TILE_OFFSETS, tags.TILE_BYTES
            table = [*fields, (places, position_kind, starts), (lengths, position_kind, sizes)]
            self._append_directory(table)
            self._file.flush()
        except OSError as error:
            raise FileNotWritten(self.path, error) from error

    def close(self) -> None:
        """Close the file. Raises FileNotWritten."""
        try:
            self._file.close()
        except OSError as error:
            raise FileNotWritten(self.path, error) from error

    def _append_directory(self, table: Sequence[TagValue]) -> None:
        position = self._file.tell()
        self._file.write(encode_directory(table, position, is_big=self.is_big))
        self._file.seek(self._link_position)
        self._file.write(struct.pack("<Q" if self.is_big else "<I", position))
        self._link_position = link_position(len(table), position, is_big=self.is_big)


class TiffMovieWriter:
    """Writes a movie in strips of whole rows, or in tiles.

    `rows_per_strip` None takes as many rows as fit 8 KiB (libtiff's habit). `tile_shape_yx`, in multiples
    of 16, writes tiles; those at the edges are filled up with zeros. `pixel_size_ang` goes into the
    resolution tags.
    """

    def __init__(
        self,
        path: Path,
        shape_yx: tuple[int, int],
        dtype: str,
        *,
        compression: Compression = "lzw",
        rows_per_strip: int | None = None,
        tile_shape_yx: tuple[int, int] | None = None,
        pixel_size_ang: float | None = None,
        is_big: bool = False,
    ) -> None:
        kind = np.dtype(dtype)
        if kind.kind not in _SAMPLE_FORMATS or kind.itemsize > 8:
            raise ValueError(f"TIFF cannot hold {dtype}")
        if tile_shape_yx is not None and any(side < 16 or side % 16 for side in tile_shape_yx):
            raise ValueError(f"tiles have sides in multiples of 16 px, not {tile_shape_yx}")
        self._shape_yx, self._dtype, self._compression = shape_yx, kind, compression
        self._tile_shape_yx = tile_shape_yx
        self._rows_per_strip = rows_per_strip or max(1, 8192 // (shape_yx[1] * kind.itemsize))
        self._fields: list[TagValue] = [
            (tags.WIDTH, LONG, [shape_yx[1]]),
            (tags.HEIGHT, LONG, [shape_yx[0]]),
            (tags.BITS, SHORT, [kind.itemsize * 8]),
            (tags.COMPRESSION, SHORT, [_COMPRESSION_CODES[compression]]),
            (tags.PHOTOMETRIC, SHORT, [1]),
            (tags.SAMPLES, SHORT, [1]),
            (tags.SAMPLE_FORMAT, SHORT, [_SAMPLE_FORMATS[kind.kind]]),
        ]
        if tile_shape_yx is None:
            self._fields.append((tags.ROWS_PER_STRIP, LONG, [self._rows_per_strip]))
        else:
            self._fields += [(tags.TILE_WIDTH, LONG, [tile_shape_yx[1]]), (tags.TILE_HEIGHT, LONG, [tile_shape_yx[0]])]
        if pixel_size_ang is not None:
            resolution = [round(1e8 / pixel_size_ang), 1]
            self._fields += [
                (tags.X_RESOLUTION, RATIONAL, resolution),
                (tags.Y_RESOLUTION, RATIONAL, resolution),
                (tags.RESOLUTION_UNIT, SHORT, [_CENTIMETRE]),
            ]
        self.frame_count = 0
        self._chain = PageChain(path, is_big=is_big)

    def append(self, frame_yx: npt.NDArray[Any]) -> None:
        """Write one more frame. Raises ValueError for another shape or type, FileNotWritten."""
        if frame_yx.shape != self._shape_yx or frame_yx.dtype != self._dtype:
            raise ValueError(f"expected {self._dtype} {self._shape_yx}, got {frame_yx.dtype} {frame_yx.shape}")
        stored_yx = np.ascontiguousarray(frame_yx[::-1], dtype=self._dtype.newbyteorder("<"))
        strips = self._cut(stored_yx)
        if self._compression == "lzw":
            strips = [bytes(imagecodecs.lzw_encode(strip)) for strip in strips]
        elif self._compression == "deflate":
            strips = [bytes(imagecodecs.deflate_encode(strip, level=6)) for strip in strips]
        self._chain.append(self._fields, strips, are_tiles=self._tile_shape_yx is not None)
        self.frame_count += 1

    def _cut(self, stored_yx: npt.NDArray[Any]) -> list[bytes]:
        height_px, width_px = self._shape_yx
        if self._tile_shape_yx is None:
            rows = self._rows_per_strip
            return [stored_yx[first : first + rows].tobytes() for first in range(0, height_px, rows)]
        rows, columns = self._tile_shape_yx
        filled_yx = np.pad(stored_yx, ((0, -height_px % rows), (0, -width_px % columns)))
        return [
            filled_yx[top : top + rows, left : left + columns].tobytes()
            for top in range(0, height_px, rows)
            for left in range(0, width_px, columns)
        ]

    def close(self) -> None:
        """Close the file. Raises FileNotWritten."""
        self._chain.close()
