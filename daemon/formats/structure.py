"""Is a movie's file whole? Judged from its structure alone, in a few small reads, never from pixels.

MRC: the size is exactly what the header announces. TIFF and EER: the chain of directories ends, every
strip lies inside the file, and neither the last strip nor the file ends in zeros (a copy into
reserved space, of which the front has arrived).
"""

from dataclasses import dataclass
from pathlib import Path

from daemon.domain.movie import MOVIE_SUFFIXES, MovieFormat
from daemon.errors import FormatError
from daemon.formats.byte_source import ByteSource
from daemon.formats.eer_scheme import EER_COMPRESSIONS
from daemon.formats.mrc import check_mrc_size, parse_mrc_header
from daemon.formats.tiff_directory import TiffPage, walk_pages

_PLAIN_TAIL_BYTES = 512  # sparse counting leaves so many pixels empty below 0.01 e⁻/px only
_PACKED_TAIL_BYTES = 16  # no LZW, deflate or event stream ends in so many zeros
_FILE_TAIL_BYTES = 32  # longer than the zeros in the last entry of a directory and the link that ends the chain
_PLAIN = 1


@dataclass(frozen=True)
class MovieStructure:
    """What the structure of a file says.

    `whole`: nothing is missing. `frame_count`: frames present and complete so far, None where not
    even the header can be read; a file written in place may be whole with fewer frames than it will
    have. `reason`: what is wrong, empty when whole. `tail_is_zero`: the last bytes are all zero:
    either space reserved by a copy, or sparse counting of an uncompressed movie; the caller decides.
    """

    whole: bool
    frame_count: int | None
    width_px: int | None
    height_px: int | None
    reason: str
    tail_is_zero: bool


def inspect_structure(path: Path) -> MovieStructure:
    """Inspect one file, whatever its bytes. Raises FileUnreadable only."""
    movie_format = MOVIE_SUFFIXES.get(path.suffix.lower())
    with ByteSource(path) as source:
        if movie_format is None:
            return MovieStructure(False, None, None, None, f"{path.suffix or path.name!r} is no movie suffix", False)
        if movie_format is MovieFormat.MRC:
            return _inspect_mrc(source)
        return _inspect_tiff(source)


def _inspect_mrc(source: ByteSource) -> MovieStructure:
    try:
        header = parse_mrc_header(source)
    except FormatError as error:
        return _without_header(source, error.message)
    reason = ""
    try:
        check_mrc_size(source, header)
    except FormatError as error:
        reason = error.message
    pixel_bytes = max(0, source.size_bytes - header.data_offset)
    present = min(header.section_count, pixel_bytes // header.section_bytes)
    start = max(header.data_offset, source.size_bytes - _PLAIN_TAIL_BYTES)
    tail_is_zero = _is_zero(source, start, source.size_bytes)
    return MovieStructure(not reason, present, header.width_px, header.height_px, reason, tail_is_zero)


def _inspect_tiff(source: ByteSource) -> MovieStructure:
    first: TiffPage | None = None
    frame_count, last_start, last_end = 0, 0, 0
    reason = ""
    try:
        for page in walk_pages(source):
            if first is None or (first.compression == _PLAIN and page.compression in EER_COMPRESSIONS):
                # A plain image of the sum may stand before the hardware frames of an EER movie.
                first, frame_count = page, 0
            frame_count += 1
            _check_size(source.path, page, first, frame_count)
            strip = int(page.strip_offsets.argmax())
            if page.strip_offsets[strip] > last_start:
                last_start = int(page.strip_offsets[strip])
                last_end = last_start + int(page.strip_bytes[strip])
    except FormatError as error:
        reason = error.message
    if first is None:
        return _without_header(source, reason)
    is_plain = first.compression == _PLAIN
    wanted = _PLAIN_TAIL_BYTES if is_plain else _PACKED_TAIL_BYTES
    tail_is_zero = _is_zero(source, max(last_start, last_end - wanted), last_end)
    if not (is_plain and last_end == source.size_bytes):
        is_reserved = _is_zero(source, source.size_bytes - _FILE_TAIL_BYTES, source.size_bytes)
        is_reserved = is_reserved or (tail_is_zero and not is_plain)
        tail_is_zero = tail_is_zero or is_reserved
        if is_reserved and not reason:
            reason = f"{source.path}: it ends in zeros that are no data: a copy into reserved space, still under way."
    return MovieStructure(not reason, frame_count, first.width_px, first.height_px, reason, tail_is_zero)


def _without_header(source: ByteSource, reason: str) -> MovieStructure:
    tail_is_zero = _is_zero(source, source.size_bytes - _PLAIN_TAIL_BYTES, source.size_bytes)
    return MovieStructure(False, None, None, None, reason, tail_is_zero)


def _check_size(path: Path, page: TiffPage, first: TiffPage, frame_number: int) -> None:
    if (page.width_px, page.height_px) != (first.width_px, first.height_px):
        raise FormatError(path, f"frame {frame_number} has another size than the first")


def _is_zero(source: ByteSource, start: int, end: int) -> bool:
    start = max(0, start)
    return end > start and not any(source.read_up_to(start, end - start))
