"""TIFF movies and images: reading strips and tiles of 8 to 64 bits, plain, LZW, deflate or Zstandard, predictor 1 or 2.

Rows are flipped against the file: the last row stored comes out as row 0. This is RELION's
convention; it makes a TIFF movie and the MRC it was converted from the same image.
"""

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from daemon.errors import COPY_AGAIN, FormatError, FormatUnsupported
from daemon.formats import tiff_directory as tags
from daemon.formats.allocation import allocate
from daemon.formats.byte_source import ByteSource
from daemon.formats.tiff_directory import TiffPage, walk_pages
from daemon.formats.tiff_encoding import LONG, SHORT, TagValue, encode_directory, encode_header
from daemon.numerics import kernels

_PLAIN, _LZW, _DEFLATE, _ZSTANDARD = 1, 5, (8, 32946), 50000
_LARGEST_EXPANSION = 4096  # LZW: at most 3838 bytes for a code of 12 bits; deflate: 1032 for one
_LARGEST_ZSTANDARD_EXPANSION = 32768  # a block of 128 KiB from 4 bytes
_COMPRESSION_NAMES = {
    7: "JPEG", 32773: "PackBits", 34887: "LERC", 34925: "LZMA", 50001: "WebP",
    65000: "EER, 8 bits", 65001: "EER, 7 bits", 65002: "EER, variable",
}  # fmt: skip
_MOVIE_DTYPES = {(1, 8): "u1", (1, 16): "u2", (2, 8): "i1", (2, 16): "i2", (3, 32): "f4", (4, 8): "u1", (4, 16): "u2"}
_IMAGE_DTYPES = _MOVIE_DTYPES | {(1, 32): "u4", (2, 32): "i4", (3, 64): "f8"}


class TiffFrames:
    """The frames of an open TIFF movie; many threads may read frames at once.

    Raises on opening: MovieIncomplete, FormatError, FormatUnsupported, FileUnreadable.
    """

    def __init__(self, path: Path) -> None:
        self.source = ByteSource(path)
        try:
            self.pages = tuple(walk_pages(self.source))
            self.dtype = find_sample_dtype(path, self.pages[0], _MOVIE_DTYPES)
            _check_same(path, self.pages)
        except BaseException:
            self.source.close()
            raise
        self.frame_count = len(self.pages)
        self.shape_yx = (self.pages[0].height_px, self.pages[0].width_px)
        self.pixel_size_ang = self.pages[0].pixel_size_ang
        self.voltage_kv: float | None = None

    def read_frame(self, index: int, out_yx: npt.NDArray[Any]) -> None:
        """Decode one frame, rows flipped, into an array of `shape_yx` and `dtype`.

        Takes one decoded and one compressed frame of memory besides. Raises FormatError where the
        compressed data are damaged, MovieIncomplete, FileUnreadable.
        """
        page, what = self.pages[index], f"frame {index + 1}"
        _check_expansion(self.source.path, page, self.dtype, what)
        if not _decode_lzw(self.source, page, out_yx):
            np.copyto(out_yx, decode_page(self.source, page, self.dtype, what)[::-1])

    def close(self) -> None:
        """Close the file."""
        self.source.close()


def read_tiff_image(path: Path, *, flip_rows: bool) -> npt.NDArray[Any]:
    """Read the first page of a TIFF file as (y, x), in file order unless `flip_rows`.

    Raises as `TiffFrames`, which see, and its `read_frame`.
    """
    with ByteSource(path) as source:
        page = next(walk_pages(source))
        dtype = find_sample_dtype(path, page, _IMAGE_DTYPES)
        stored_yx = decode_page(source, page, dtype, "its image")
    return np.ascontiguousarray(stored_yx[::-1]) if flip_rows else stored_yx


def find_sample_dtype(path: Path, page: TiffPage, dtypes: dict[tuple[int, int], str]) -> str:
    """Return the dtype of a page's samples, after all that this module cannot read is refused by name."""
    if page.samples != 1:
        raise FormatUnsupported(path, f"TIFF with {page.samples} samples a pixel (colour) is not read")
    if page.compression not in {_PLAIN, _LZW, *_DEFLATE, _ZSTANDARD}:
        name = _COMPRESSION_NAMES.get(page.compression, "unknown")
        raise FormatUnsupported(
            path,
            f"TIFF compression {page.compression} ({name}) is not read",
            hint="An EER movie must be named .eer." if "EER" in name else "Use LZW, deflate, Zstandard or none.",
        )
    dtype = dtypes.get((page.sample_format, page.bits))
    if dtype is None:
        raise FormatUnsupported(
            path, f"TIFF samples of {page.bits} bits, sample format {page.sample_format}, are not read"
        )
    if page.fill_order != 1 and page.compression != _PLAIN:
        raise FormatUnsupported(path, "TIFF with reversed bits (fill order 2) is not read")
    is_predicted = page.predictor != 1 and page.compression != _PLAIN
    if is_predicted and (page.predictor != 2 or page.sample_format == 3):
        raise FormatUnsupported(path, f"TIFF predictor {page.predictor} is not read for this kind of samples")
    return np.dtype(dtype).name


def decode_page(source: ByteSource, page: TiffPage, dtype: str, what: str) -> npt.NDArray[Any]:
    """Decode one page to (y, x) in file order and native byte order; `what` names it in errors."""
    _check_expansion(source.path, page, dtype, what)
    if page.compression != _PLAIN or page.tile_shape_yx is not None:
        return _decode_with_libtiff(source, page, dtype, what)
    stored_yx = np.empty((page.height_px, page.width_px), dtype=dtype)
    strip_bytes = page.rows_per_strip * page.width_px * stored_yx.itemsize
    starts = np.arange(0, stored_yx.nbytes, strip_bytes)
    needed = np.diff(starts, append=stored_yx.nbytes)
    if (page.strip_bytes < needed).any():
        raise FormatError(source.path, f"{what}: its strips hold fewer bytes than its rows need")
    _read_strips(source, page.strip_offsets, needed, stored_yx.reshape(-1).view(np.uint8).data)
    if not np.dtype(dtype).newbyteorder(page.byte_order).isnative:
        stored_yx.byteswap(inplace=True)
    return stored_yx


def _decode_lzw(source: ByteSource, page: TiffPage, out_yx: npt.NDArray[Any]) -> bool:
    """Decode strips of LZW straight into rows, flipped; False where that, or saying what is wrong, is libtiff's."""
    is_plain = page.tile_shape_yx is None and page.predictor == 1 and out_yx.flags.c_contiguous
    if page.compression != _LZW or not (is_plain and out_yx.dtype.newbyteorder(page.byte_order).isnative):
        return False
    if not kernels.HAS_COMPILER:
        return False
    from daemon.numerics.kernels import lzw_cpu  # noqa: PLC0415 - a compiler, which only movies are worth

    starts = np.cumsum(page.strip_bytes) - page.strip_bytes
    packed = allocate((int(page.strip_bytes.sum()) + lzw_cpu.SLACK_BYTES,), np.uint8)
    _read_strips(source, page.strip_offsets, page.strip_bytes, packed.data[: -lzw_cpu.SLACK_BYTES])
    out_yb = out_yx.view(np.uint8)
    return bool(lzw_cpu.decode_strips(packed, starts, page.strip_bytes, page.rows_per_strip, out_yb, True))


def _decode_with_libtiff(source: ByteSource, page: TiffPage, dtype: str, what: str) -> npt.NDArray[Any]:
    """Hand libtiff a TIFF in memory that holds this page alone.

    Movies in strips of LZW come here only where `_decode_lzw` refuses what it cannot follow, as it is damaged.
    imagecodecs' own LZW decoder would take single strips, but reads outside its table when the code
    after a clear code is damaged, and takes the process with it; libtiff refuses, and is faster.
    """
    starts = np.cumsum(page.strip_bytes) - page.strip_bytes
    head_bytes = len(_encode_page_head(page, starts))
    buffer = bytearray(head_bytes + int(page.strip_bytes.sum()))
    buffer[:head_bytes] = _encode_page_head(page, starts + head_bytes)
    _read_strips(source, page.strip_offsets, page.strip_bytes, memoryview(buffer)[head_bytes:])
    try:
        stored_yx: npt.NDArray[Any] = imagecodecs.tiff_decode(buffer)
    except (RuntimeError, ValueError) as error:
        raise FormatError(
            source.path, f"{what}: its compressed pixels are damaged ({error})", hint=COPY_AGAIN
        ) from error
    if stored_yx.shape != (page.height_px, page.width_px) or stored_yx.dtype != dtype:
        raise FormatError(source.path, f"{what}: libtiff makes {stored_yx.dtype} {stored_yx.shape} of it")
    return stored_yx


def _encode_page_head(page: TiffPage, strip_offsets: npt.NDArray[np.int64]) -> bytes:
    position = 8
    fields: list[TagValue] = [
        (tags.WIDTH, LONG, [page.width_px]),
        (tags.HEIGHT, LONG, [page.height_px]),
        (tags.BITS, SHORT, [page.bits]),
        (tags.COMPRESSION, SHORT, [page.compression]),
        (tags.PHOTOMETRIC, SHORT, [1]),
        (tags.SAMPLES, SHORT, [1]),
        (tags.PREDICTOR, SHORT, [page.predictor]),
        (tags.SAMPLE_FORMAT, SHORT, [page.sample_format]),
    ]
    if page.tile_shape_yx is None:
        fields += [
            (tags.STRIP_OFFSETS, LONG, strip_offsets.tolist()),
            (tags.ROWS_PER_STRIP, LONG, [page.rows_per_strip]),
            (tags.STRIP_BYTES, LONG, page.strip_bytes.tolist()),
        ]
    else:
        fields += [
            (tags.TILE_WIDTH, LONG, [page.tile_shape_yx[1]]),
            (tags.TILE_HEIGHT, LONG, [page.tile_shape_yx[0]]),
            (tags.TILE_OFFSETS, LONG, strip_offsets.tolist()),
            (tags.TILE_BYTES, LONG, page.strip_bytes.tolist()),
        ]
    directory = encode_directory(fields, position, is_big=False, byte_order=page.byte_order)
    return encode_header(position, is_big=False, byte_order=page.byte_order) + directory


def _read_strips(
    source: ByteSource, offsets: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], target: memoryview
) -> None:
    # Cameras write the strips of a frame one after another: one large read instead of thousands.
    starts = np.cumsum(sizes) - sizes
    if (offsets - offsets[0] == starts).all():
        source.read_into(int(offsets[0]), target)
        return
    for offset, start, size in zip(offsets.tolist(), starts.tolist(), sizes.tolist(), strict=True):
        source.read_into(offset, target[start : start + size])


def _check_expansion(path: Path, page: TiffPage, dtype: str, what: str) -> None:
    # A damaged width must not ask for a terabyte of memory.
    decoded_bytes = page.width_px * page.height_px * np.dtype(dtype).itemsize
    packed_bytes = int(page.strip_bytes.sum())
    expansion = {_PLAIN: 1, _ZSTANDARD: _LARGEST_ZSTANDARD_EXPANSION}.get(page.compression, _LARGEST_EXPANSION)
    if decoded_bytes > packed_bytes * expansion:
        raise FormatError(
            path,
            f"{what}: {page.width_px} × {page.height_px} px cannot come from {packed_bytes} bytes",
        )


def _check_same(path: Path, pages: tuple[TiffPage, ...]) -> None:
    first = pages[0]
    for number, page in enumerate(pages, start=1):
        if (page.width_px, page.height_px) != (first.width_px, first.height_px):
            raise FormatError(
                path,
                f"frame {number} is {page.width_px} × {page.height_px} px, "
                f"frame 1 is {first.width_px} × {first.height_px} px",
            )
        if find_sample_dtype(path, page, _MOVIE_DTYPES) != find_sample_dtype(path, first, _MOVIE_DTYPES):
            raise FormatError(path, f"frame {number} has other samples than frame 1")
