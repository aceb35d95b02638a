"""EER movies of every compression: writing hardware frame by hardware frame. See `eer_scheme` for the encoding.

The bytes of a frame are padded to an even count. No date, no host: the same events give the same bytes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import numpy.typing as npt

from daemon.formats import tiff_directory as tags
from daemon.formats.eer_scheme import EER_65001, GRID, VARIABLE, EerScheme
from daemon.formats.tiff_encoding import LONG, SHORT, UNDEFINED, TagValue
from daemon.formats.tiff_writer import PageChain

_GRID_BITS = 2
_CENTRE = GRID // 2
_UNITS = {
    "exposureTime": "s",
    "totalDose": "e/pixel",
    "sensorPixelSize.width": "m",
    "sensorPixelSize.height": "m",
}


def encode_events(
    x_px: npt.NDArray[Any], y_px: npt.NDArray[Any], shape_yx: tuple[int, int], scheme: EerScheme = EER_65001
) -> bytes:
    """Return the bit stream of one hardware frame.

    `x_px` and `y_px` are integer coordinates on the 4× up-sampled grid, in any order; `shape_yx` is
    the sensor's. Raises ValueError for events outside the sensor, or two in one sensor pixel (the
    format cannot say that, as the camera cannot see it), and for a scheme with finer places.
    """
    height_px, width_px = shape_yx
    if not scheme.is_in_range or max(scheme.x_bits, scheme.y_bits) > _GRID_BITS:
        raise ValueError(f"events are not written with {scheme}")
    x_px, y_px = np.asarray(x_px, dtype=np.int64), np.asarray(y_px, dtype=np.int64)
    if not (_lie_below(x_px, GRID * width_px) and _lie_below(y_px, GRID * height_px)):
        raise ValueError(f"events lie outside the {GRID}× up-sampled sensor of {width_px} × {height_px} px")
    pixel = (y_px // GRID) * width_px + x_px // GRID
    place = _encode_place(x_px % GRID, scheme.x_bits) | (_encode_place(y_px % GRID, scheme.y_bits) << scheme.x_bits)
    order = np.argsort(pixel, kind="stable")
    pixel, place = pixel[order], place[order]
    gap = np.diff(pixel, prepend=-1, append=height_px * width_px) - 1
    if gap.size > 1 and gap[:-1].min() < 0:
        raise ValueError("two events of one hardware frame lie in the same pixel")
    skips, run = np.divmod(gap, scheme.longest_run)
    # One token for every event and one that closes the frame, each after its skips.
    position = np.cumsum(skips) + np.arange(gap.size)
    token = np.full(int(position[-1]) + 1, scheme.longest_run, dtype=np.int64)
    token_bits = np.full(token.size, scheme.skip_bits)
    token[position] = run
    token[position[:-1]] |= place << scheme.run_bits
    event_bits = scheme.run_bits + scheme.x_bits + scheme.y_bits
    token_bits[position[:-1]] = event_bits
    bit = np.arange(event_bits)
    bits = ((token[:, np.newaxis] >> bit) & 1).astype(np.uint8)[bit < token_bits[:, np.newaxis]]
    packed = np.packbits(bits, bitorder="little").tobytes()
    return packed + b"\0" * (len(packed) % 2)


class EerWriter:
    """Writes an EER movie; the file is a valid, shorter movie after every frame.

    `metadata` are the items of the acquisition XML, such as exposureTime in s, totalDose in e⁻/px or
    sensorPixelSize.width in m; units are written where they are known, and the image's size is added.
    """

    def __init__(
        self,
        path: Path,
        shape_yx: tuple[int, int],
        *,
        metadata: Mapping[str, str | int | float],
        scheme: EerScheme = EER_65001,
    ) -> None:
        self._shape_yx, self._scheme = shape_yx, scheme
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
            x_place, y_place = generator.integers(0, GRID, size=(2, y_px.size))
        self.append_events(GRID * x_px + x_place, GRID * y_px + y_place)

    def append_events(self, x_px: npt.NDArray[Any], y_px: npt.NDArray[Any]) -> None:
        """Write one hardware frame from coordinates on the 4× up-sampled grid.

        Raises ValueError as `encode_events`, FileNotWritten.
        """
        fields: list[TagValue] = [
            (tags.WIDTH, LONG, [self._shape_yx[1]]),
            (tags.HEIGHT, LONG, [self._shape_yx[0]]),
            (tags.BITS, SHORT, [1]),
            (tags.COMPRESSION, SHORT, [self._scheme.compression]),
            (tags.PHOTOMETRIC, SHORT, [1]),
            (tags.SAMPLES, SHORT, [1]),
            (tags.ROWS_PER_STRIP, LONG, [self._shape_yx[0]]),
        ]
        if self._scheme.compression == VARIABLE:
            fields += [
                (tags.EER_RUN_BITS, SHORT, [self._scheme.run_bits]),
                (tags.EER_X_BITS, SHORT, [self._scheme.x_bits]),
                (tags.EER_Y_BITS, SHORT, [self._scheme.y_bits]),
            ]
        if self.frame_count == 0:
            fields.append((tags.EER_METADATA, UNDEFINED, self._xml))
        self._chain.append(fields, [encode_events(x_px, y_px, self._shape_yx, self._scheme)])
        self.frame_count += 1

    def close(self) -> None:
        """Close the file. Raises FileNotWritten."""
        self._chain.close()


def _lie_below(values: npt.NDArray[np.int64], limit: int) -> bool:
    return bool(((values >= 0) & (values < limit)).all())


def _encode_place(cell: npt.NDArray[np.int64], bits: int) -> npt.NDArray[np.int64]:
    """Return a place on the 4× grid as it is stored: cut to `bits`, the top bit inverted."""
    return (cell >> (_GRID_BITS - bits)) ^ (1 << (bits - 1))


def _acquisition_xml(items: Mapping[str, str | int | float]) -> bytes:
    lines = []
    for name, value in items.items():
        unit = f" unit={quoteattr(_UNITS[name])}" if name in _UNITS else ""
        lines.append(f"<item name={quoteattr(name)}{unit}>{escape(str(value))}</item>")
    return "\n".join(["<metadata>", *lines, "</metadata>"]).encode()
