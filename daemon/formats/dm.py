"""DigitalMicrograph files of versions 3 and 4 (Gatan): the image in them, as gains and darks are kept.

A file is a tree of tags. A group holds tags; every other tag describes its own layout and then holds
its value. `ImageList` holds the images, a thumbnail among them, each with `ImageData` made of `Data`,
`DataType` and `Dimensions`. Names, lengths and layouts are big endian; values are as the header says.
The first row stored is the top one, as in TIFF.
"""

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.errors import FormatError, FormatUnsupported
from daemon.formats.byte_source import ByteOrder, ByteSource

_GROUP, _DATA = 20, 21
_STRUCT, _STRING, _ARRAY = 15, 18, 20
_NUMBERS = {
    2: "i2", 3: "i4", 4: "u2", 5: "u4", 6: "f4", 7: "f8", 8: "u1", 9: "i1", 10: "u1", 11: "i8", 12: "u8",
}  # fmt: skip
_IMAGE_DTYPES = {1: "i2", 2: "f4", 6: "u1", 7: "i4", 9: "i1", 10: "u2", 11: "u4", 12: "f8"}
_DEEPEST, _MOST_TAGS, _LONGEST_LAYOUT = 64, 1_000_000, 4096
_BLOCK_BYTES = 1 << 16
_LARGEST_SIDE_PX = 1_000_000


@dataclass(frozen=True)
class _Numbers:
    """An array in the file, not read yet."""

    item_bytes: int
    count: int
    offset: int


_Value = int | float | _Numbers | None
_Tree = dict[str, Any]
"""Values and groups by name; nameless ones go by their number."""


def read_dm_image(path: Path, *, flip_rows: bool) -> npt.NDArray[Any]:
    """Read the largest image of the file as (y, x), in file order unless `flip_rows`.

    Raises MovieIncomplete (the file ends too early), FormatError, FormatUnsupported, FileUnreadable.
    """
    with ByteSource(path) as source:
        reader = _TagReader(source)
        images = reader.read_tree().get("ImageList")
        candidates = [] if not isinstance(images, dict) else [_image_data(image) for image in images.values()]
        chosen = max((image for image in candidates if image is not None), key=_pixel_count, default=None)
        if chosen is None:
            raise FormatError(path, "it holds no image in its list of images")
        stored_yx = _read_pixels(source, chosen, reader.byte_order)
    return np.ascontiguousarray(stored_yx[::-1]) if flip_rows else stored_yx


def _image_data(image: Any) -> _Tree | None:
    data = image.get("ImageData") if isinstance(image, dict) else None
    return data if isinstance(data, dict) and isinstance(data.get("Data"), _Numbers) else None


def _pixel_count(image: _Tree) -> int:
    numbers: _Numbers = image["Data"]
    return numbers.count


def _read_pixels(source: ByteSource, image: _Tree, byte_order: ByteOrder) -> npt.NDArray[Any]:
    numbers: _Numbers = image["Data"]
    sizes = image.get("Dimensions")
    shape = tuple(reversed(sizes.values())) if isinstance(sizes, dict) else ()
    if not shape or not all(isinstance(side, int) and 0 < side <= _LARGEST_SIDE_PX for side in shape):
        raise FormatError(source.path, f"its image has no sensible size ({shape})")
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) != 2:
        raise FormatUnsupported(source.path, f"it holds {shape[0]} images or a volume where one image is expected")
    dtype = _IMAGE_DTYPES.get(image.get("DataType", 0))
    if dtype is None:
        kind = image.get("DataType")
        raise FormatUnsupported(source.path, f"DigitalMicrograph images of data type {kind} are not read")
    item = np.dtype(byte_order + dtype)
    if numbers.item_bytes != item.itemsize or numbers.count != prod(shape):
        raise FormatError(
            source.path,
            f"its image of {shape[1]} × {shape[0]} px holds {numbers.count} values of {numbers.item_bytes} bytes",
        )
    raw = source.read_at(numbers.offset, item.itemsize * numbers.count)
    return np.frombuffer(raw, dtype=item).reshape(shape).astype(item.newbyteorder("="))


class _TagReader:
    """Walks the tree; long values are passed over, not read."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._position = 0
        self._block, self._block_start = b"", 0
        self._tags_left = _MOST_TAGS
        (version,) = self._take("I")
        if version not in {3, 4}:
            raise FormatError(source.path, "not a DigitalMicrograph file of version 3 or 4")
        self._wide = "Q" if version == 4 else "I"
        _, order = self._take(self._wide + "I")
        if order not in {0, 1}:
            raise FormatError(source.path, f"not a DigitalMicrograph file: {order} where its byte order belongs")
        self.byte_order: ByteOrder = "<" if order == 1 else ">"

    def read_tree(self) -> _Tree:
        """Return the root group."""
        return self._read_group(0)

    def _read_group(self, depth: int) -> _Tree:
        if depth > _DEEPEST:
            raise FormatError(self._source.path, f"its tags are nested deeper than {_DEEPEST} groups")
        _, _, count = self._take("BB" + self._wide)
        self._tags_left -= count
        if self._tags_left < 0:
            raise FormatError(self._source.path, f"it announces more than {_MOST_TAGS} tags")
        tree: _Tree = {}
        for number in range(count):
            kind, name_bytes = self._take("BH")
            name = self._take_bytes(name_bytes).decode("latin-1") or str(number)
            if self._wide == "Q":
                self._take("Q")  # length of what follows, which the layout tells as well
            if kind == _GROUP:
                tree[name] = self._read_group(depth + 1)
            elif kind == _DATA:
                tree[name] = self._read_value()
            else:
                where = f"byte {self._position}"
                raise FormatError(self._source.path, f"a tag of unknown kind {kind} stands before {where}")
        return tree

    def _read_value(self) -> _Value:
        if self._take_bytes(4) != b"%%%%":
            raise FormatError(self._source.path, f"no value begins at byte {self._position - 4}, where a tag says so")
        (length,) = self._take(self._wide)
        if not 0 < length <= _LONGEST_LAYOUT:
            raise FormatError(self._source.path, f"a tag before byte {self._position} has a layout of {length} numbers")
        layout = list(self._take(self._wide * length))
        if layout[0] in _NUMBERS and length == 1:
            item = np.dtype(self.byte_order + _NUMBERS[layout[0]])
            number: int | float = np.frombuffer(self._take_bytes(item.itemsize), dtype=item)[0].item()
            return number
        count = layout[-1] if layout[0] == _ARRAY else 1
        item_bytes = self._item_bytes(layout[1:-1] if layout[0] == _ARRAY else layout)
        numbers = _Numbers(item_bytes, count, self._position)
        self._position += item_bytes * count
        if self._position > self._source.size_bytes:
            self._source.read_at(numbers.offset, item_bytes * count)  # tells what is missing
        return numbers

    def _item_bytes(self, layout: list[int]) -> int:
        """Return the size of one value: a number, a structure of numbers, or a string."""
        match layout:
            case [kind] if kind in _NUMBERS:
                return np.dtype(_NUMBERS[kind]).itemsize
            case [kind, _, count, *fields] if kind == _STRUCT and len(fields) == 2 * count:
                return sum(self._item_bytes([field]) for field in fields[1::2])
            case [kind, characters] if kind == _STRING:
                return 2 * characters
        raise FormatError(self._source.path, f"a tag before byte {self._position} has an unknown layout {layout[:8]}")

    def _take(self, fields: str) -> tuple[Any, ...]:
        return struct.unpack(">" + fields, self._take_bytes(struct.calcsize(">" + fields)))

    def _take_bytes(self, count: int) -> bytes:
        start = self._position - self._block_start
        if not 0 <= start <= start + count <= len(self._block):
            self._block = self._source.read_up_to(self._position, max(count, _BLOCK_BYTES))
            self._block_start, start = self._position, 0
            if len(self._block) < count:
                self._source.read_at(self._position, count)  # tells what is missing
        self._position += count
        return self._block[start : start + count]
