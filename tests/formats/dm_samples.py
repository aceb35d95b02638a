"""DigitalMicrograph files of versions 3 and 4, made by hand from the description of the format."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

TYPES = {"i2": 1, "f4": 2, "u1": 6, "i4": 7, "i1": 9, "u2": 10, "u4": 11, "f8": 12}
"""What DataType says for a numpy type."""
ITEMS = {"i2": 2, "i4": 3, "u2": 4, "u4": 5, "f4": 6, "f8": 7, "i1": 9, "u1": 10, "i8": 11}
"""What a layout says for a numpy type."""


class DmFile:
    """Builds the bytes of tags; `wide` is the format of lengths."""

    def __init__(self, version: int, byte_order: str = "<") -> None:
        self.version, self.byte_order = version, byte_order
        self.wide = "Q" if version == 4 else "I"

    def group(self, tags: list[bytes]) -> bytes:
        return struct.pack(f">BB{self.wide}", 1, 0, len(tags)) + b"".join(tags)

    def branch(self, name: str, tags: list[bytes]) -> bytes:
        return self._tag(20, name, self.group(tags))

    def value(self, name: str, layout: list[int], raw: bytes) -> bytes:
        body = b"%%%%" + struct.pack(f">{self.wide}{len(layout)}{self.wide}", len(layout), *layout) + raw
        return self._tag(21, name, body)

    def number(self, name: str, kind: str, value: float) -> bytes:
        return self.value(name, [ITEMS[kind]], np.array(value, self.byte_order + kind).tobytes())

    def array(self, name: str, values: npt.NDArray[Any]) -> bytes:
        kind = values.dtype.str[1:]
        return self.value(name, [20, ITEMS[kind], values.size], values.astype(self.byte_order + kind).tobytes())

    def text(self, name: str, text: str) -> bytes:
        return self.value(name, [20, 4, len(text)], text.encode("utf-16-le"))

    def image(self, pixels: npt.NDArray[Any], data_type: int | None = None) -> bytes:
        kind = pixels.dtype.str[1:]
        sizes = [self.number("", "u4", side) for side in reversed(pixels.shape)]
        scale = [self.number("Origin", "f4", 0), self.number("Scale", "f4", 1), self.text("Units", "nm")]
        axes = [self.branch("", scale) for _ in pixels.shape]
        data = [
            self.branch("Calibrations", [self.branch("Dimension", axes)]),
            self.array("Data", pixels),
            self.number("DataType", "i4", TYPES[kind] if data_type is None else data_type),
            self.branch("Dimensions", sizes),
            self.number("PixelDepth", "i4", pixels.itemsize),
        ]
        rectangle = self.value("Rectangle", [15, 0, 4, 0, 6, 0, 6, 0, 6, 0, 6], b"\0" * 16)
        points = self.value("Points", [20, 15, 0, 2, 0, 2, 0, 2, 3], b"\0" * 12)
        return self.branch("", [self.branch("ImageData", data), self.branch("ImageTags", [rectangle, points])])

    def file(self, tags: list[bytes]) -> bytes:
        root = self.group(tags)
        return struct.pack(f">I{self.wide}I", self.version, len(root), int(self.byte_order == "<")) + root + b"\0" * 8

    def _tag(self, kind: int, name: str, body: bytes) -> bytes:
        length = struct.pack(">Q", len(body)) if self.version == 4 else b""
        return struct.pack(">BH", kind, len(name)) + name.encode("latin-1") + length + body


def write_dm(path: Path, pixels: npt.NDArray[Any], version: int = 4, byte_order: str = "<") -> Path:
    """Write a file with a thumbnail and one image, rows as given, between tags of other kinds."""
    dm = DmFile(version, byte_order)
    thumbnail = dm.image(np.zeros((2, 2), np.int32), data_type=23)
    raw = dm.file(
        [
            dm.number("ApplicationBounds", "f8", 1.5),
            dm.text("Name", "gain reference"),
            dm.branch("ImageList", [thumbnail, dm.image(pixels)] if pixels.size > 4 else [dm.image(pixels)]),
            dm.branch("Empty", []),
            dm.number("InImageMode", "u1", 1),
        ]
    )
    path.write_bytes(raw)
    return path
