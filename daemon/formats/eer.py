"""EER movies (electron event representation of Falcon cameras): BigTIFF, one page a hardware frame.

Compression 65001 is read: a bit stream, least significant bit first, of run lengths of empty pixels
(7 bits; all ones: 127 empty pixels and no event) each followed by the event's place inside its
pixel (2 bits x, 2 bits y). Rows are kept in file order. The other schemes have their place in
`_SCHEMES`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import imagecodecs
import numpy.typing as npt

from daemon.domain.acquisition import EerFractions
from daemon.errors import COPY_AGAIN, FormatError, FormatUnsupported
from daemon.formats.byte_source import ByteSource
from daemon.formats.tiff_directory import TiffPage, plausible_pixel_size, walk_pages

_PLAIN = 1
_SUPER_RESOLUTION = {1: 0, 2: 1, 4: 2}


@dataclass(frozen=True)
class _Scheme:
    """Bit widths of one EER compression: run length, place in x, place in y."""

    run_bits: int
    x_bits: int
    y_bits: int


_SCHEMES: dict[int, _Scheme | None] = {65000: None, 65001: _Scheme(7, 2, 2), 65002: None}
"""None: known by name, not read."""

EER_COMPRESSIONS = frozenset(_SCHEMES)
"""TIFF compression codes of event data."""


def fraction_bounds(hardware_frames: int, eer: EerFractions) -> list[tuple[int, int]]:
    """Return, for each frame to be aligned, its first hardware frame and the one after its last.

    RELION's rule: every fraction sums g = floor(hardware_frames / fractions) frames, at least 1, and
    the fewer than g frames left at the end are dropped. So there are floor(hardware_frames / g)
    fractions: as many as asked for, or some more, and never is more than one fraction's dose lost.
    """
    group = max(1, hardware_frames // eer.fractions)
    return [(start, start + group) for start in range(0, hardware_frames - group + 1, group)]


def fraction_dtype(bounds: list[tuple[int, int]]) -> str:
    """Return the smallest type that cannot overflow: a pixel counts at most one event in a hardware frame."""
    return "uint8" if bounds[0][1] - bounds[0][0] <= 255 else "uint16"


class EerFrames:
    """The fractions of an open EER movie; many threads may read fractions at once.

    Raises on opening: MovieIncomplete, FormatError, FormatUnsupported, FileUnreadable.
    """

    def __init__(self, path: Path, eer: EerFractions) -> None:
        self._source = ByteSource(path)
        try:
            pages = tuple(walk_pages(self._source))
            self.metadata_xml = next((page.metadata for page in pages if page.metadata), b"")
            self.pages = select_event_pages(path, pages)
            self._scheme = _find_scheme(path, self.pages)
            _check_upsampling(path, self.pages[0], eer)
        except BaseException:
            self._source.close()
            raise
        self.sensor_shape_yx = (self.pages[0].height_px, self.pages[0].width_px)
        self.bounds = fraction_bounds(len(self.pages), eer)
        self.frame_count = len(self.bounds)
        self.shape_yx = (self.sensor_shape_yx[0] * eer.upsampling, self.sensor_shape_yx[1] * eer.upsampling)
        self.dtype = fraction_dtype(self.bounds)
        self._super_resolution = _SUPER_RESOLUTION[eer.upsampling]

    def read_frame(self, index: int, out_yx: npt.NDArray[Any]) -> None:
        """Sum the events of one fraction into an array of `shape_yx` and `dtype`.

        Raises FormatError where the event stream is damaged, MovieIncomplete, FileUnreadable.
        """
        out_yx.fill(0)
        scheme = self._scheme
        for number in range(*self.bounds[index]):
            page = self.pages[number]
            events = b"".join(
                self._source.read_at(offset, size)
                for offset, size in zip(page.strip_offsets.tolist(), page.strip_bytes.tolist(), strict=True)
            )
            try:
                # Adds to what `out` holds.
                imagecodecs.eer_decode(
                    events,
                    self.shape_yx,
                    scheme.run_bits,
                    scheme.x_bits,
                    scheme.y_bits,
                    superres=self._super_resolution,
                    out=out_yx,
                )
            except (RuntimeError, ValueError) as error:
                what = f"the events of hardware frame {number + 1} are damaged ({error})"
                raise FormatError(self._source.path, what, hint=COPY_AGAIN) from error

    def close(self) -> None:
        """Close the file."""
        self._source.close()


def select_event_pages(path: Path, pages: tuple[TiffPage, ...]) -> tuple[TiffPage, ...]:
    """Leave out the plain image of the sum that newer cameras put before the frames.

    Raises FormatError when no hardware frame is left.
    """
    events = pages[1:] if pages[0].compression == _PLAIN else pages
    if not events:
        raise FormatError(path, "not an EER movie: it holds one plain image and no hardware frame")
    return events


def read_metadata(metadata_xml: bytes, path: Path) -> dict[str, str]:
    """Return the items of the acquisition XML by name, empty without XML. Raises FormatError."""
    if not metadata_xml.strip(b"\0 \n"):
        return {}
    try:
        root = ET.fromstring(metadata_xml.rstrip(b"\0"))  # noqa: S314 - expat expands no external entity
    except (ET.ParseError, LookupError, ValueError) as error:
        raise FormatError(path, f"its acquisition XML (tag 65001) cannot be read: {error}") from error
    return {item.get("name", ""): (item.text or "").strip() for item in root.iter("item")}


def find_pixel_size(metadata: dict[str, str]) -> float | None:
    """Return the pixel size in Å that the acquisition XML gives (in metres), or None."""
    try:
        return plausible_pixel_size(float(metadata["sensorPixelSize.width"]) * 1e10)
    except (KeyError, ValueError):
        return None


def _check_upsampling(path: Path, page: TiffPage, eer: EerFractions) -> None:
    # A limit of the decoder; every real sensor is even.
    if eer.upsampling == 2 and (page.height_px % 2 or page.width_px % 2):
        raise FormatUnsupported(path, "up-sampling 2 needs a sensor of even width and height")


def _find_scheme(path: Path, pages: tuple[TiffPage, ...]) -> _Scheme:
    first = pages[0]
    for number, page in enumerate(pages, start=1):
        if (page.width_px, page.height_px, page.compression) != (first.width_px, first.height_px, first.compression):
            raise FormatError(path, f"hardware frame {number} differs in size or compression from the first")
    if first.compression not in _SCHEMES:
        raise FormatError(path, f"not an EER movie: compression {first.compression} where 65000 to 65002 is expected")
    scheme = _SCHEMES[first.compression]
    if scheme is None:
        raise FormatUnsupported(path, f"EER compression {first.compression} is not read yet, only 65001")
    # Even an empty frame spends one run length on every 2^bits − 1 pixels.
    least_bytes = first.width_px * first.height_px // (2**scheme.run_bits - 1) * scheme.run_bits // 8
    for number, page in enumerate(pages, start=1):
        if page.strip_bytes.sum() < least_bytes:
            raise FormatError(
                path,
                f"hardware frame {number} has {page.strip_bytes.sum()} bytes, too few for "
                f"{page.width_px} × {page.height_px} px",
            )
    return scheme
