"""Reads Sixel back into pixels, as a terminal does (DEC STD 070, chapter 9)."""

import re

from PIL import Image

_SEQUENCE = re.compile(r"\x1b\[(\d*);?(\d*)H\x1bP[\d;]*q(.*?)\x1b\\", re.DOTALL)
_PIECE = re.compile(
    r'"(?P<raster>[\d;]+)|#(?P<colour>[\d;]+)|!(?P<count>\d+)(?P<repeated>[?-~])|(?P<one>[?-~])|(?P<move>[$-])'
)
_BAND_PX = 6


def read_sixel(drawn: str) -> tuple[Image.Image, tuple[int, int]]:
    """Return the picture in what was drawn, and the row and column (from 1) that the cursor was sent to before it."""
    found = _SEQUENCE.search(drawn)
    assert found is not None, "no Sixel picture after a move of the cursor"
    at, body = (int(found[1] or 1), int(found[2] or 1)), found[3]
    colours: dict[int, tuple[int, int, int]] = {}
    chosen, x, y, end = 0, 0, 0, 0
    image = Image.new("RGB", (1, 1))
    for piece in _PIECE.finditer(body):
        assert piece.start() == end, f"not Sixel: {body[end : end + 20]!r}"
        end = piece.end()
        if piece["raster"]:
            _, _, width, height = (int(number) for number in piece["raster"].split(";"))
            image = Image.new("RGB", (width, height))
        elif piece["colour"]:
            chosen, *given = (int(number) for number in piece["colour"].split(";"))
            if given:
                assert given[0] == 2, "percent of red, green and blue"
                red, green, blue = (round(255 * percent / 100) for percent in given[1:])
                colours[chosen] = (red, green, blue)
        elif piece["move"]:
            x, y = 0, y + (_BAND_PX if piece["move"] == "-" else 0)
        else:
            bits = ord(piece["repeated"] or piece["one"]) - ord("?")
            columns = range(x, x + int(piece["count"] or 1))
            for bit in (bit for bit in range(_BAND_PX) if bits >> bit & 1):
                for column in columns:
                    image.putpixel((column, y + bit), colours[chosen])
            x = columns.stop
    assert end == len(body), f"not Sixel: {body[end : end + 20]!r}"
    return image, at
