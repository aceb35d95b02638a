"""MRC2014 images, stacks and volumes: writing. The same pixels give the same bytes: no date, no host.

Files pass `mrcfile.validate`, with one exception that is asked for: `camera_bytes` writes unsigned
bytes as mode 0 under IMOD's stamp, as cameras do, and `camera_nibbles` writes counts up to 15 as mode 101.
Otherwise uint8 is widened to mode 6.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.errors import FileNotWritten
from daemon.formats.mrc import HEADER_BYTES, IMOD_SIGNED_BYTES, IMOD_STAMP, PACKED_MODE, packed_row_bytes

_LARGEST_NIBBLE = 15
_STRIP_PX = 1 << 17
"""Pixels that are handled at once: they and their doubles stay in the processor's cache."""
_LABEL = b"Elcano"
_VERSION = 20141
_MODES = {"int8": 0, "int16": 1, "float32": 2, "uint16": 6, "float16": 12}


def write_mrc(
    path: Path,
    array: npt.NDArray[Any],
    *,
    pixel_size_ang: float,
    is_volume: bool = False,
    camera_bytes: bool = False,
    camera_nibbles: bool = False,
) -> None:
    """Write (y, x) as an image, (z, y, x) as a stack, or as a volume when `is_volume`.

    Integers of 8 and 16 bits and floats of 16 and 32 bits. Raises ValueError for other types and
    shapes, FileNotWritten.
    """
    sections = array[np.newaxis] if array.ndim == 2 else array
    if sections.ndim != 3 or sections.size == 0 or (is_volume and array.ndim != 3):
        raise ValueError(f"an MRC file holds (y, x) or (z, y, x), a volume (z, y, x); got shape {array.shape}")
    writer = MrcWriter(
        path,
        sections.shape[1:],
        sections.dtype.name,
        pixel_size_ang=pixel_size_ang,
        section_count=sections.shape[0],
        is_volume=is_volume,
        camera_bytes=camera_bytes,
        camera_nibbles=camera_nibbles,
    )
    try:
        for section_yx in sections:
            writer.append(section_yx)
    finally:
        writer.close()


def pack_nibbles(pixels_yx: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Pack rows of pixels up to 15 two to a byte, the left one in the low half, as `mrc.unpack_nibbles` reads them."""
    height_px, width_px = pixels_yx.shape
    packed_yx = np.zeros((height_px, packed_row_bytes(width_px)), dtype=np.uint8)
    packed_yx |= pixels_yx[:, 0::2]
    packed_yx[:, : width_px // 2] |= pixels_yx[:, 1::2] << 4
    return packed_yx


@dataclass
class _Statistics:
    count: int = 0
    minimum: float = np.inf
    maximum: float = -np.inf
    mean: float = 0.0
    squares: float = 0.0

    def add(self, pixels_yx: npt.NDArray[Any]) -> None:
        """Merge the moments of more pixels, if finite (Chan, Golub & LeVeque 1979, pairwise update)."""
        mean = float(pixels_yx.mean(dtype=np.float64))
        if not np.isfinite(mean):
            pixels_yx = pixels_yx[np.isfinite(pixels_yx)]
            if pixels_yx.size == 0:
                return
            mean = float(pixels_yx.mean(dtype=np.float64))
        squares = float(pixels_yx.var(dtype=np.float64)) * pixels_yx.size
        total = self.count + pixels_yx.size
        difference = mean - self.mean
        self.mean += difference * pixels_yx.size / total
        self.squares += squares + difference**2 * self.count * pixels_yx.size / total
        self.count = total
        self.minimum = min(self.minimum, float(pixels_yx.min()))
        self.maximum = max(self.maximum, float(pixels_yx.max()))

    def fields(self) -> tuple[float, float, float, float]:
        """Minimum, maximum, mean and RMS deviation; the standard's mark for unknown before any pixel."""
        if self.count == 0:
            return 0.0, -1.0, -2.0, -1.0
        return self.minimum, self.maximum, self.mean, float(np.sqrt(self.squares / self.count))


class MrcWriter:
    """Writes an MRC file section by section.

    With `section_count` the header announces the final size from the start; without, it is
    rewritten after every section, as programs do that record until they are stopped.
    """

    def __init__(
        self,
        path: Path,
        shape_yx: tuple[int, ...],
        dtype: str,
        *,
        pixel_size_ang: float,
        section_count: int | None = None,
        is_volume: bool = False,
        camera_bytes: bool = False,
        camera_nibbles: bool = False,
    ) -> None:
        self.path = path
        self._height_px, self._width_px = shape_yx
        self._dtype = dtype
        self._camera_bytes = camera_bytes
        self._camera_nibbles = camera_nibbles
        if camera_nibbles and dtype == "uint8" and not camera_bytes:
            self._mode, self._stored_dtype = PACKED_MODE, "uint8"
        elif dtype == "uint8" and not camera_nibbles:
            self._mode, self._stored_dtype = (0, "uint8") if camera_bytes else (6, "uint16")
        elif dtype in _MODES and not (camera_bytes or camera_nibbles):
            self._mode, self._stored_dtype = _MODES[dtype], dtype
        else:
            kind = " as camera bytes" if camera_bytes else " as 4-bit pixels" if camera_nibbles else ""
            raise ValueError(f"MRC cannot hold {dtype}{kind}")
        if not np.isfinite(pixel_size_ang) or pixel_size_ang < 0:
            raise ValueError(f"pixel_size_ang must be positive, or 0 for unknown; got {pixel_size_ang}")
        self._pixel_size_ang = pixel_size_ang
        self._announced = section_count
        self._is_volume = is_volume
        self._statistics = _Statistics()
        self.section_count = 0
        try:
            self._file = path.open("wb")
            self._file.write(self._header())
            self._file.flush()
        except OSError as error:
            raise FileNotWritten(path, error) from error

    def append(self, section_yx: npt.NDArray[Any]) -> None:
        """Write one more section and hand it to the operating system. Raises ValueError, FileNotWritten."""
        if section_yx.shape != (self._height_px, self._width_px) or section_yx.dtype != self._dtype:
            raise ValueError(
                f"expected {self._dtype} ({self._height_px}, {self._width_px}), "
                f"got {section_yx.dtype} {section_yx.shape}"
            )
        if self._announced is not None and self.section_count == self._announced:
            raise ValueError(f"the header announces {self._announced} section(s), one more was given")
        stored = np.ascontiguousarray(section_yx, dtype=np.dtype(self._stored_dtype).newbyteorder("<"))
        if self._camera_nibbles and stored.max() > _LARGEST_NIBBLE:
            raise ValueError(f"a 4-bit pixel holds counts up to {_LARGEST_NIBBLE}, got {stored.max()}")
        self.section_count += 1
        step = max(1, _STRIP_PX // self._width_px)
        try:
            for top in range(0, self._height_px, step):
                self._append_strip(stored[top : top + step])
            if self._announced is None:
                self._rewrite_header()
            self._file.flush()
        except OSError as error:
            raise FileNotWritten(self.path, error) from error

    def _append_strip(self, stored_yx: npt.NDArray[Any]) -> None:
        """Count rows in and write them, while they lie in the processor's cache."""
        self._statistics.add(stored_yx)
        packed_yx = pack_nibbles(stored_yx) if self._camera_nibbles else stored_yx
        self._file.write(packed_yx.reshape(-1).view(np.uint8).data)

    def close(self) -> None:
        """Write the final header and close. Raises FileNotWritten."""
        try:
            with self._file:
                self._rewrite_header()
        except OSError as error:
            raise FileNotWritten(self.path, error) from error

    def _rewrite_header(self) -> None:
        self._file.seek(0)
        self._file.write(self._header())
        self._file.seek(0, 2)

    def _header(self) -> bytes:
        sections = self.section_count if self._announced is None else self._announced
        depth = sections if self._is_volume else 1
        raw = bytearray(HEADER_BYTES)
        struct.pack_into("<10i", raw, 0, self._width_px, self._height_px, sections, self._mode, 0, 0, 0,
                         self._width_px, self._height_px, depth)  # fmt: skip
        cell_ang = [side * self._pixel_size_ang for side in (self._width_px, self._height_px, depth)]
        struct.pack_into("<6f3i", raw, 40, *cell_ang, 90.0, 90.0, 90.0, 1, 2, 3)
        minimum, maximum, mean, deviation = self._statistics.fields()
        struct.pack_into("<3f2i", raw, 76, minimum, maximum, mean, int(self._is_volume), 0)
        struct.pack_into("<i", raw, 108, _VERSION)
        if self._mode == 0:
            struct.pack_into("<2i", raw, 152, IMOD_STAMP, 0 if self._camera_bytes else IMOD_SIGNED_BYTES)
        raw[208:212] = b"MAP "
        raw[212:216] = b"\x44\x44\x00\x00"
        struct.pack_into("<fi", raw, 216, deviation, 1)
        raw[224 : 224 + 80] = _LABEL.ljust(80, b" ")
        return bytes(raw)
