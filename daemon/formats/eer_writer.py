"""EER movies, compression 65001: writing hardware frame by hardware frame. See `eer` for the encoding.

A frame ends with skips and one bare run length that together land exactly behind the last pixel; its
bytes are padded to an even count. No date, no host: the same events give the same bytes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import numpy.typing as npt

from daemon.formats import tiff_directory as tags
from daemon.formats.tiff_encoding import LONG, SHORT, UNDEFINED, TagValue
from daemon.formats.tiff_writer import PageChain

UPSAMPLING = 4
"""Events are placed on a grid this many times finer than the sensor."""

_COMPRESSION = 65001
_RUN_BITS, _PLACE_BITS = 7, 4
_SKIP = 2**_RUN_BITS - 1
_CENTRE = UPSAMPLING // 2


def encode_events(x_px: npt.NDArray[Any], y_px: npt.NDArray[Any], shape_yx: tuple[int, int]) -> bytes:
    """Return the bit stream of one hardware frame.

    `x_px` and `y_px` are integer coordinates on the 4× up-sampled grid, in any order; `shape_yx` is
    the sensor's. Raises ValueError for events outside the sensor, or two in one sensor pixel: the
    format cannot say that, as the camera cannot see it.
    """
    height_px, width_px = shape_yx
    x_px, y_px = np.asarray(x_px, dtype=np.int64), np.asarray(y_px, dtype=np.int64)
    if not (_lie_below(x_px, UPSAMPLING * width_px) and _lie_below(y_px, UPSAMPLING * height_px)):
        raise ValueError(f"events lie outside the {UPSAMPLING}× up-sampled sensor of {width_px} × {height_px} px")
    pixel = (y_px // UPSAMPLING) * width_px + x_px // UPSAMPLING
    # The top bit of each coordinate inside the pixel is stored inverted.
    place = ((x_px % UPSAMPLING) ^ 2) | (((y_px % UPSAMPLING) ^ 2) << 2)
    order = np.argsort(pixel, kind="stable")
    pixel, place = pixel[order], place[order]
    gap = np.diff(pixel, prepend=-1, append=height_px * width_px) - 1
    if gap.size > 1 and gap[:-1].min() < 0:
        raise ValueError("two events of one hardware frame lie in the same pixel")
    skips, run = np.divmod(gap, _SKIP)
    # One token for every event and one that closes the frame, each after its skips.
    position = np.cumsum(skips) + np.arange(gap.size)
    token = np.full(int(position[-1]) + 1, _SKIP, dtype=np.int64)
    token_bits = np.full(token.size, _RUN_BITS)
    token[position] = run
    token[position[:-1]] |= place << _RUN_BITS
    token_bits[position[:-1]] += _PLACE_BITS
    bit = np.arange(_RUN_BITS + _PLACE_BITS)
    bits = ((token[:, np.newaxis] >> bit) & 1).astype(np.uint8)[bit < token_bits[:, np.newaxis]]
    packed = np.packbits(bits, bitorder="little").tobytes()
    return packed + b"\0" * (len(packed) % 2)


class EerWriter:
    """Writes an EER movie; the file is a valid, shorter movie after every frame.

    `metadata` are the items of the acquisition XML (without units), such as exposureTime in s,
    totalDose in e⁻/px or sensorPixelSize.width in m; image size and camera items are added.
    """

    def __init__(self, path: Path, shape_yx: tuple[int, int], *, metadata: Mapping[str, str | int | float]) -> None:
        self._shape_yx = shape_yx
        items = {"sensorImageHeight": shape_yx[0], "sensorImageWidth": shape_yx[1], **metadata}
        self._xml = _acquisition_xml(items)
        self.frame_count = 0
        self._chain = PageChain(path, is_big=True)

    def append(self, counts_yx: npt.NDArray[Any], generator: np.random.Generator | None = None) -> None:
        """Write one hardware frame from an image of zeros and ones.

        Each event lands at a random place inside its pixel, or at the centre without `generator`.
        Raises ValueError for another shape or counts above one, FileNotWritten.
        """
        if counts_yx.shape != self._shape_yx or counts_yx.min() < 0 or counts_yx.max() > 1:
            raise ValueError(f"a hardware frame of {self._shape_yx} holds zeros and ones only, got {counts_yx.shape}")
        y_px, x_px = np.nonzero(counts_yx)
        if generator is None:
            x_place, y_place = _CENTRE, _CENTRE
        else:
            x_place, y_place = generator.integers(0, UPSAMPLING, size=(2, y_px.size))
        self.append_events(UPSAMPLING * x_px + x_place, UPSAMPLING * y_px + y_place)

    def append_events(self, x_px: npt.NDArray[Any], y_px: npt.NDArray[Any]) -> None:
        """Write one hardware frame from coordinates on the 4× up-sampled grid.

        Raises ValueError as `encode_events`, FileNotWritten.
        """
        fields: list[TagValue] = [
            (tags.WIDTH, LONG, [self._shape_yx[1]]),
            (tags.HEIGHT, LONG, [self._shape_yx[0]]),
            (tags.BITS, SHORT, [1]),
            (tags.COMPRESSION, SHORT, [_COMPRESSION]),
            (tags.PHOTOMETRIC, SHORT, [1]),
            (tags.SAMPLES, SHORT, [1]),
            (tags.ROWS_PER_STRIP, LONG, [self._shape_yx[0]]),
        ]
        if self.frame_count == 0:
            fields.append((tags.EER_METADATA, UNDEFINED, self._xml))
        self._chain.append(fields, [encode_events(x_px, y_px, self._shape_yx)])
        self.frame_count += 1

    def close(self) -> None:
        """Close the file. Raises FileNotWritten."""
        self._chain.close()


def _lie_below(values: npt.NDArray[np.int64], limit: int) -> bool:
    return bool(((values >= 0) & (values < limit)).all())


def _acquisition_xml(items: Mapping[str, str | int | float]) -> bytes:
    lines = [f"<item name={quoteattr(name)}>{escape(str(value))}</item>" for name, value in items.items()]
    return "\n".join(["<metadata>", *lines, "</metadata>"]).encode()
