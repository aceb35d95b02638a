"""MRC2014 images, stacks and volumes (Cheng et al. 2015, J. Struct. Biol. 192, 146): reading.

Modes 0, 1, 2, 6, 12 and 101, both byte orders. Rows are kept in file order. Extended headers of any kind
(FEI1, FEI2, SERI, CCP4 …) are skipped by the length that the main header gives; see `mrc_fei` for what is
taken from one.

Mode 101 holds pixels of 4 bits, two in a byte, the left one in the low half; a row of odd width ends in
half a byte that is not used. IMOD's older way to say the same, mode 0 with flag 16, is read alike. Such
pixels come out as unsigned bytes.

Mode 0 is signed by the standard, but most cameras write unsigned bytes. In this order: IMOD's stamp
and its flag for signed bytes decide; else the header's minimum and maximum, where they are filled
in (a negative minimum means signed); else the pixels (`_are_bytes_signed`). Bytes that never exceed
127 read the same either way and come out unsigned.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.errors import FormatError, FormatUnsupported, MovieIncomplete
from daemon.formats.allocation import allocate
from daemon.formats.byte_source import ByteOrder, ByteSource
from daemon.formats.mrc_fei import FEI_KINDS, LEAST_BYTES, find_voltage
from daemon.formats.pixel_size import plausible_pixel_size

HEADER_BYTES = 1024
IMOD_STAMP = 1146047817
IMOD_SIGNED_BYTES = 1
_IMOD_PACKED_NIBBLES = 16
_SQUARE_WITHIN = 0.01
_LARGEST_SIDE_PX = 1_000_000
_SAMPLE_BYTES = 1 << 20

PACKED_MODE = 101
MODE_DTYPES: dict[int, str] = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2", PACKED_MODE: "u1"}
_UNSUPPORTED_MODES = {3: "complex 16-bit", 4: "complex 32-bit", 16: "RGB"}


@dataclass(frozen=True)
class MrcHeader:
    """What an MRC header says, and where its pixels are.

    `dtype` is the type of the pixels in memory; `byte_order` is "<" or ">". Of a volume, the
    sections are its z planes. `pixel_size_ang` is None where the header leaves it open. `is_packed`: two
    4-bit pixels to a byte.
    """

    path: Path
    width_px: int
    height_px: int
    section_count: int
    dtype: str
    byte_order: ByteOrder
    data_offset: int
    pixel_size_ang: float | None
    is_volume: bool
    is_packed: bool = False
    voltage_kv: float | None = None

    @property
    def section_bytes(self) -> int:
        """Size of one section in the file."""
        if self.is_packed:
            return packed_row_bytes(self.width_px) * self.height_px
        return self.width_px * self.height_px * np.dtype(self.dtype).itemsize

    @property
    def announced_bytes(self) -> int:
        """Size that the whole file must have."""
        return self.data_offset + self.section_bytes * self.section_count


class MrcFrames:
    """The sections of an open MRC stack as frames; many threads may read frames at once.

    Of unstamped mode 0, at most 1 MiB of pixels is looked at on opening. Raises MovieIncomplete then when the file is
    not exactly as large as its header says, FormatError, FormatUnsupported, FileUnreadable.
    """

    def __init__(self, path: Path) -> None:
        self.source = ByteSource(path)
        try:
            self.header = parse_mrc_header(self.source)
            check_mrc_size(self.source, self.header)
        except BaseException:
            self.source.close()
            raise
        self.frame_count = self.header.section_count
        self.shape_yx = (self.header.height_px, self.header.width_px)
        self.dtype = self.header.dtype
        self.pixel_size_ang = self.header.pixel_size_ang
        self.voltage_kv = self.header.voltage_kv

    def read_frame(self, index: int, out_yx: npt.NDArray[Any]) -> None:
        """Read one section, rows as stored, into an array of `shape_yx` and `dtype`. Raises FileUnreadable."""
        read_mrc_section(self.source, self.header, index, out_yx)

    def close(self) -> None:
        """Close the file."""
        self.source.close()


def read_mrc(path: Path) -> npt.NDArray[Any]:
    """Read the whole file: (y, x) for one section, else (section, y, x), in native byte order.

    Raises as `MrcFrames` on opening.
    """
    with ByteSource(path) as source:
        header = parse_mrc_header(source)
        check_mrc_size(source, header)
        sections = allocate((header.section_count, header.height_px, header.width_px), header.dtype)
        for index in range(header.section_count):
            read_mrc_section(source, header, index, sections[index])
    return sections[0] if header.section_count == 1 else sections


def read_mrc_section(source: ByteSource, header: MrcHeader, index: int, out_yx: npt.NDArray[Any]) -> None:
    """Read one section into a C-contiguous array of the header's dtype. Raises as `ByteSource.read_into`."""
    offset = header.data_offset + index * header.section_bytes
    if header.is_packed:
        packed_yx = np.empty((header.height_px, packed_row_bytes(header.width_px)), dtype=np.uint8)
        source.read_into(offset, packed_yx.reshape(-1).data)
        unpack_nibbles(packed_yx, out_yx)
        return
    source.read_into(offset, out_yx.reshape(-1).view(np.uint8).data)
    if not np.dtype(header.dtype).newbyteorder(header.byte_order).isnative:
        out_yx.byteswap(inplace=True)


def packed_row_bytes(width_px: int) -> int:
    """Return the size of a row of 4-bit pixels."""
    return (width_px + 1) // 2


def unpack_nibbles(packed_yx: npt.NDArray[np.uint8], out_yx: npt.NDArray[np.uint8]) -> None:
    """Spread rows of two pixels a byte, the low half first, over bytes."""
    if out_yx.shape[1] % 2 == 0:
        # Both pixels of a byte at once, as the two bytes of a little-endian word: thrice as fast.
        pairs_yx = out_yx.view("<u2")
        np.left_shift(packed_yx, np.uint16(4), out=pairs_yx, dtype=np.uint16)
        np.bitwise_or(pairs_yx, packed_yx, out=pairs_yx)
        np.bitwise_and(pairs_yx, 0x0F0F, out=pairs_yx)
        return
    np.bitwise_and(packed_yx, 15, out=out_yx[:, 0::2])
    np.right_shift(packed_yx[:, : out_yx.shape[1] // 2], 4, out=out_yx[:, 1::2])


def check_mrc_size(source: ByteSource, header: MrcHeader) -> None:
    """Raise MovieIncomplete unless the file is exactly as large as its header announces."""
    if source.size_bytes < header.announced_bytes:
        raise MovieIncomplete(
            source.path,
            f"its MRC header announces {header.section_count} section(s), {header.announced_bytes} bytes, "
            f"the file has {source.size_bytes}",
        )
    if source.size_bytes > header.announced_bytes:
        raise MovieIncomplete(
            source.path,
            f"it has {source.size_bytes} bytes, more than the {header.announced_bytes} of the "
            f"{header.section_count} section(s) in its MRC header: still growing, or written by a program "
            "that leaves the header wrong",
        )


def parse_mrc_header(source: ByteSource) -> MrcHeader:
    """Read the header of an open file without judging the file's size.

    Raises MovieIncomplete (no whole or an all-zero header), FormatError, FormatUnsupported.
    """
    raw = source.read_up_to(0, HEADER_BYTES)
    if len(raw) < HEADER_BYTES:
        raise MovieIncomplete(source.path, f"it has {len(raw)} bytes, an MRC header alone has {HEADER_BYTES}")
    if not any(raw):
        raise MovieIncomplete(source.path, "its MRC header is all zero: space was reserved, nothing written yet")
    byte_order = _find_byte_order(raw)
    if byte_order is None:
        raise FormatError(source.path, "not an MRC file: no sensible size and mode in its header")
    width_px, height_px, section_count, mode = struct.unpack_from(f"{byte_order}4i", raw, 0)
    (extended_bytes,) = struct.unpack_from(f"{byte_order}i", raw, 92)
    if mode not in MODE_DTYPES:
        kind = _UNSUPPORTED_MODES[mode]
        raise FormatUnsupported(source.path, f"MRC mode {mode} ({kind}) is not read", hint="Convert it to mode 6.")
    if section_count == 0:
        raise MovieIncomplete(source.path, "its MRC header announces no section yet")
    if extended_bytes < 0:
        raise FormatError(source.path, f"its MRC header announces an extended header of {extended_bytes} bytes")
    space_group, sections_per_volume = struct.unpack_from(f"{byte_order}i", raw, 88) + struct.unpack_from(
        f"{byte_order}i", raw, 36
    )
    data_offset = HEADER_BYTES + extended_bytes
    is_packed = mode == PACKED_MODE or (mode == 0 and _are_nibbles(raw, byte_order))
    dtype = MODE_DTYPES[PACKED_MODE if is_packed else mode]
    if dtype == "i1" and not _are_bytes_signed(source, raw, byte_order, data_offset, width_px * height_px):
        dtype = "u1"
    return MrcHeader(
        path=source.path,
        width_px=width_px,
        height_px=height_px,
        section_count=section_count,
        dtype=np.dtype(dtype).name,
        byte_order=byte_order,
        data_offset=data_offset,
        pixel_size_ang=_find_pixel_size(raw, byte_order),
        is_volume=space_group >= 1 and sections_per_volume == section_count,
        is_packed=is_packed,
        voltage_kv=_find_voltage(source, raw, byte_order, extended_bytes),
    )


def _find_byte_order(raw: bytes) -> ByteOrder | None:
    # Writers get the machine stamp wrong (zeros, or the stamp of the machine before): it only orders the guesses.
    guesses: tuple[ByteOrder, ...] = (">", "<") if raw[212:214] == b"\x11\x11" else ("<", ">")
    return next((order for order in guesses if _is_plausible(raw, order)), None)


def _is_plausible(raw: bytes, byte_order: str) -> bool:
    width_px, height_px, section_count, mode = struct.unpack_from(f"{byte_order}4i", raw, 0)
    sides_fit = 0 < width_px <= _LARGEST_SIDE_PX and 0 < height_px <= _LARGEST_SIDE_PX and section_count >= 0
    return sides_fit and (mode in MODE_DTYPES or mode in _UNSUPPORTED_MODES)


def _find_pixel_size(raw: bytes, byte_order: str) -> float | None:
    intervals_x, intervals_y = struct.unpack_from(f"{byte_order}2i", raw, 28)
    cell_x_ang, cell_y_ang = struct.unpack_from(f"{byte_order}2f", raw, 40)
    if intervals_x <= 0 or not np.isfinite(cell_x_ang) or cell_x_ang <= 0:
        return None
    pixel_x_ang = cell_x_ang / intervals_x
    is_y_known = intervals_y > 0 and np.isfinite(cell_y_ang) and cell_y_ang > 0
    if is_y_known and not np.isclose(cell_y_ang / intervals_y, pixel_x_ang, rtol=_SQUARE_WITHIN, atol=0):
        return None  # no camera has pixels that are not square: such a header does not know them
    # A float32 carries 7 digits: 0.83 × 5760 / 5760 shall read 0.83 again.
    return plausible_pixel_size(pixel_x_ang)


def _find_voltage(source: ByteSource, raw: bytes, byte_order: ByteOrder, extended_bytes: int) -> float | None:
    if raw[104:108] not in FEI_KINDS or extended_bytes < LEAST_BYTES:
        return None
    return find_voltage(source.read_up_to(HEADER_BYTES, LEAST_BYTES), byte_order)


def _are_nibbles(raw: bytes, byte_order: str) -> bool:
    stamp, flags = struct.unpack_from(f"{byte_order}2i", raw, 152)
    return stamp == IMOD_STAMP and bool(flags & _IMOD_PACKED_NIBBLES)


def _are_bytes_signed(source: ByteSource, raw: bytes, byte_order: str, data_offset: int, section_bytes: int) -> bool:
    """Whether mode 0 holds signed bytes; see the module's first lines.

    By the pixels: few bytes above 127 (below 0.5 %) are hot pixels of a counting camera. Otherwise
    the histogram tells: unsigned values run through the middle (128 … 143), small negative ones,
    written as 240 … 255, crowd at the top.
    """
    stamp, flags = struct.unpack_from(f"{byte_order}2i", raw, 152)
    if stamp == IMOD_STAMP:
        return bool(flags & IMOD_SIGNED_BYTES)
    minimum, maximum = struct.unpack_from(f"{byte_order}2f", raw, 76)
    if np.isfinite(minimum) and np.isfinite(maximum) and minimum < maximum:
        return bool(minimum < 0)
    start = data_offset + max(0, section_bytes - _SAMPLE_BYTES) // 2
    sample = np.frombuffer(source.read_up_to(start, min(section_bytes, _SAMPLE_BYTES)), dtype=np.uint8)
    histogram = np.bincount(sample, minlength=256)
    if histogram[128:].sum() < 0.005 * sample.size:
        return False
    return bool(histogram[240:].sum() > histogram[128:144].sum())
