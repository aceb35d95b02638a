"""One section of an MRC file as a small grey picture: read in bands, averaged down, its levels stretched."""

import math
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from daemon.errors import CommandRefused
from daemon.formats.byte_source import ByteSource
from daemon.formats.mrc import MrcHeader, check_mrc_size, parse_mrc_header, read_mrc_section

_SPREAD = 4 * 1.4826
"""Grey levels run over so many median deviations about the median, as thumbnails do."""
_BAND_BYTES = 8 * 2**20
_LARGEST_SECTION_BYTES = 2 * 2**30
_LARGEST_PACKED_BYTES = 64 * 2**20


@dataclass(frozen=True)
class SectionPicture:
    """A PNG, its size, and what of which file it shows; row 0 of the section is on top."""

    png: bytes
    width_px: int
    height_px: int
    section: int
    header: MrcHeader


def draw_section(path: Path, section: int | None, longest_px: int) -> SectionPicture:
    """Return a section, the middle one where none is given, no side longer than `longest_px`.

    Raises FileUnreadable, FormatError, FormatUnsupported, MovieIncomplete, and CommandRefused for a section that
    is not there or is too large to be looked at.
    """
    with ByteSource(path) as source:
        header = parse_mrc_header(source)
        check_mrc_size(source, header)
        index = header.section_count // 2 if section is None else section
        if index >= header.section_count:
            raise CommandRefused(f"{path.name} has {header.section_count} section(s), none of number {index}.")
        if header.section_bytes > (_LARGEST_PACKED_BYTES if header.is_packed else _LARGEST_SECTION_BYTES):
            raise CommandRefused(f"A section of {path.name} is too large to be drawn.", hint="Open the file itself.")
        step = max(1, math.ceil(max(header.width_px, header.height_px) / longest_px))
        small_yx = _read_whole(source, header, index, step) if header.is_packed else _read(source, header, index, step)
    grey_yx = _stretch(small_yx)
    encoded = BytesIO()
    Image.fromarray(grey_yx).save(encoded, format="PNG", compress_level=6)
    height_px, width_px = grey_yx.shape
    return SectionPicture(encoded.getvalue(), width_px, height_px, index, header)


def _read(source: ByteSource, header: MrcHeader, index: int, step: int) -> npt.NDArray[np.float32]:
    """Read a section band by band: what is kept in memory is one band and the small picture."""
    row_bytes = header.section_bytes // header.height_px
    rows = max(step, _BAND_BYTES // row_bytes // step * step)
    begin = header.data_offset + index * header.section_bytes
    dtype = np.dtype(header.dtype).newbyteorder(header.byte_order)
    bands = []
    for first in range(0, header.height_px, rows):
        count = min(rows, header.height_px - first)
        band_yx = np.empty((count, header.width_px), dtype=dtype)
        source.read_into(begin + first * row_bytes, band_yx.reshape(-1).view(np.uint8).data)
        bands.append(_shrink(band_yx, step))
    return np.concatenate(bands)


def _read_whole(source: ByteSource, header: MrcHeader, index: int, step: int) -> npt.NDArray[np.float32]:
    section_yx = np.empty((header.height_px, header.width_px), dtype=header.dtype)
    read_mrc_section(source, header, index, section_yx)
    return _shrink(section_yx, step)


def _shrink(band_yx: npt.NDArray[Any], step: int) -> npt.NDArray[np.float32]:
    """Average squares of `step` pixels; those at the right and lower edge are cut off where there are larger ones."""
    height_px, width_px = band_yx.shape
    tall, wide = min(step, height_px), min(step, width_px)
    cut_yx = band_yx[: height_px // tall * tall, : width_px // wide * wide]
    squares = cut_yx.reshape(cut_yx.shape[0] // tall, tall, cut_yx.shape[1] // wide, wide)
    small_yx: npt.NDArray[np.float32] = squares.mean(axis=(1, 3), dtype=np.float32)
    return small_yx


def _stretch(values_yx: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Map values to grey levels robustly: a few hot pixels leave contrast for the rest. What is no number is black."""
    finite = np.isfinite(values_yx)
    known = values_yx[finite]
    if known.size == 0:
        return np.zeros(values_yx.shape, dtype=np.uint8)
    middle = float(np.median(known))
    spread = _SPREAD * float(np.median(np.abs(known - middle)))
    low, high = max(float(known.min()), middle - spread), min(float(known.max()), middle + spread)
    if not high > low:
        return np.where(finite, np.uint8(128), np.uint8(0))
    shown_yx = np.clip((np.where(finite, values_yx, low) - low) * (255 / (high - low)), 0, 255)
    return np.where(finite, np.rint(shown_yx), 0).astype(np.uint8)
