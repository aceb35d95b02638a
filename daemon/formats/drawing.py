"""A small canvas for the pictures that stages write: axes, lines, words and images, drawn with Pillow.

The same calls give the same pixels: one bundled font, no clock, no locale. Everything is drawn at
twice its size and averaged down, so that lines are smooth. Coordinates are pixels of the finished
picture, x to the right, y downwards.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

# Okabe & Ito's palette: told apart by colour-blind eyes and on grey prints.
BLACK: Colour = (0, 0, 0)
ORANGE: Colour = (230, 159, 0)
GREEN: Colour = (0, 158, 115)
BLUE: Colour = (0, 114, 178)
VERMILION: Colour = (213, 94, 0)
GREY: Colour = (120, 120, 120)
PALE: Colour = (222, 222, 222)
WHITE: Colour = (255, 255, 255)

Align = Literal["left", "centre", "right"]

_SCALE = 2
_SUPERSCRIPTS = {"²": "2", "³": "3", "¹": "1", "⁻": "-"}
_PLAIN = str.maketrans({"−": "-", "–": "-", "×": "x", "σ": "sigma"})
_COMPOSED = {"Å": "A", "µ": "u"}
"""Letters of this field that the bundled font lacks, and the letter each is built on."""


@dataclass(frozen=True)
class Box:
    """A rectangle on the canvas."""

    left_px: float
    top_px: float
    width_px: float
    height_px: float


class Canvas:
    """A white picture to draw on; `pixels` hands it over as uint8 (y, x, 3)."""

    def __init__(self, width_px: int, height_px: int) -> None:
        self.width_px = width_px
        self.height_px = height_px
        self._image = Image.new("RGB", (width_px * _SCALE, height_px * _SCALE), WHITE)
        self._draw = ImageDraw.Draw(self._image)

    def pixels(self) -> npt.NDArray[np.uint8]:
        """Return the finished picture."""
        return np.asarray(self._image.resize((self.width_px, self.height_px), Image.Resampling.BOX), dtype=np.uint8)

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, *, width_px: float = 1.5) -> None:
        """Draw a polyline."""
        if len(points) > 1:
            scaled = [(x * _SCALE, y * _SCALE) for x, y in points]
            self._draw.line(scaled, fill=colour, width=max(1, round(width_px * _SCALE)), joint="curve")

    def rectangle(self, box: Box, *, outline: Colour | None = None, fill: Colour | None = None) -> None:
        """Draw a rectangle."""
        corners = (box.left_px, box.top_px, box.left_px + box.width_px, box.top_px + box.height_px)
        self._draw.rectangle([value * _SCALE for value in corners], outline=outline, fill=fill, width=_SCALE)

    def dot(self, x_px: float, y_px: float, colour: Colour, *, radius_px: float = 2.5) -> None:
        """Draw a filled circle."""
        ends = (x_px - radius_px, y_px - radius_px, x_px + radius_px, y_px + radius_px)
        self._draw.ellipse([value * _SCALE for value in ends], fill=colour)

    def image(self, picture: npt.NDArray[Any], box: Box) -> None:
        """Put a uint8 picture, (y, x) or (y, x, 3), into a box, scaled to fill it."""
        size = (round(box.width_px * _SCALE), round(box.height_px * _SCALE))
        scaled = Image.fromarray(picture).convert("RGB").resize(size, Image.Resampling.BICUBIC)
        self._image.paste(scaled, (round(box.left_px * _SCALE), round(box.top_px * _SCALE)))

    def text(
        self,
        x_px: float,
        y_px: float,
        words: str,
        *,
        size_px: float = 14,
        colour: Colour = BLACK,
        align: Align = "left",
        is_vertical: bool = False,
    ) -> None:
        """Write one line whose middle lies at `y_px`; vertical text reads upwards and is centred at the point."""
        mask = _render_text(words.translate(_PLAIN), round(size_px * _SCALE))
        if is_vertical:
            mask = mask.rotate(90, expand=True)
        shift = {"left": 0.0, "centre": 0.5, "right": 1.0}["centre" if is_vertical else align]
        left = round(x_px * _SCALE - shift * mask.width)
        top = round(y_px * _SCALE - mask.height / 2)
        self._image.paste(colour, (left, top), mask)


def add_label(picture_yx: npt.NDArray[np.uint8], words: str) -> npt.NDArray[np.uint8]:
    """Return a grey picture with words, black on white, in its lower left corner; all else stays to the bit."""
    size_px = min(max(picture_yx.shape[0] // 50, 9), 40)
    mask = _render_text(words.translate(_PLAIN), size_px * _SCALE)
    label = Image.new("L", (mask.width + size_px * _SCALE // 2, mask.height), 255)
    label.paste(0, (size_px * _SCALE // 4, 0), mask)
    small = label.resize((label.width // _SCALE, label.height // _SCALE), Image.Resampling.BOX)
    grey_yx = np.asarray(small, dtype=np.uint8)[: picture_yx.shape[0], : picture_yx.shape[1]]
    labelled_yx = picture_yx.copy()
    labelled_yx[-grey_yx.shape[0] :, : grey_yx.shape[1]] = grey_yx
    return labelled_yx


class Axes:
    """A frame with scales; draws curves given in the units of its scales. y grows upwards, or as rows do downwards."""

    def __init__(
        self,
        canvas: Canvas,
        box: Box,
        x_range: tuple[float, float],
        y_range: tuple[float, float],
        *,
        is_downward: bool = False,
    ) -> None:
        if not (x_range[0] < x_range[1] and y_range[0] < y_range[1]):
            raise ValueError(f"axes need growing ranges, got {x_range} and {y_range}")
        self._canvas = canvas
        self._box = box
        self._x_range = x_range
        self._y_range = y_range
        self._is_downward = is_downward

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point of the scales lies on the canvas; points outside are moved to the frame."""
        share_x = (x - self._x_range[0]) / (self._x_range[1] - self._x_range[0])
        share_y = (y - self._y_range[0]) / (self._y_range[1] - self._y_range[0])
        share_x, share_y = min(max(share_x, 0.0), 1.0), min(max(share_y, 0.0), 1.0)
        share_down = share_y if self._is_downward else 1 - share_y
        return self._box.left_px + share_x * self._box.width_px, self._box.top_px + share_down * self._box.height_px

    def frame(self, x_label: str = "", y_label: str = "", *, y_ticks: bool = True) -> None:
        """Draw the frame, its ticks with numbers, and the labels (each with its unit)."""
        box, canvas = self._box, self._canvas
        bottom = box.top_px + box.height_px
        for value, words in ticks(*self._x_range):
            x, _ = self.place(value, self._y_range[0])
            canvas.line([(x, box.top_px), (x, bottom + 4)], PALE, width_px=1)
            canvas.line([(x, bottom), (x, bottom + 4)], BLACK, width_px=1)
            canvas.text(x, bottom + 14, words, size_px=12, align="centre")
        for value, words in ticks(*self._y_range) if y_ticks else ():
            _, y = self.place(self._x_range[0], value)
            canvas.line([(box.left_px, y), (box.left_px + box.width_px, y)], PALE, width_px=1)
            canvas.line([(box.left_px - 4, y), (box.left_px, y)], BLACK, width_px=1)
            canvas.text(box.left_px - 8, y, words, size_px=12, align="right")
        canvas.rectangle(box, outline=BLACK)
        canvas.text(box.left_px + box.width_px / 2, bottom + 34, x_label, size_px=13, align="centre")
        canvas.text(box.left_px - 48, box.top_px + box.height_px / 2, y_label, size_px=13, is_vertical=True)

    def curve(
        self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], colour: Colour, *, width_px: float = 1.5
    ) -> None:
        """Draw y over x; gaps where a value is not finite."""
        run: list[tuple[float, float]] = []
        for one, other in zip(x.tolist(), y.tolist(), strict=True):
            if math.isfinite(one) and math.isfinite(other):
                run.append(self.place(one, other))
            else:
                self._canvas.line(run, colour, width_px=width_px)
                run = []
        self._canvas.line(run, colour, width_px=width_px)

    def vertical(self, x: float, colour: Colour, *, dashed: bool = False) -> None:
        """Draw a line across the frame at x; nothing when x lies outside the scale."""
        if not self._x_range[0] <= x <= self._x_range[1]:
            return
        at, _ = self.place(x, self._y_range[0])
        top, height = self._box.top_px, self._box.height_px
        pieces = max(1, int(height // 8)) if dashed else 1
        for piece in range(pieces):
            start = top + height * piece / pieces
            length = height / pieces * (0.5 if dashed else 1.0)
            self._canvas.line([(at, start), (at, start + length)], colour, width_px=1)


def ticks(low: float, high: float, *, wanted: int = 6) -> list[tuple[float, str]]:
    """Round values between low and high, 1, 2 or 5 times a power of ten apart, and how to write them."""
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(index * step, f"{index * step + 0.0:.{decimals}f}") for index in range(first, last + 1)]


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font


def _render_text(words: str, size: int) -> Image.Image:
    """Draw words as a mask, building Å, µ and superscripts from what the font has."""
    font, small = _font(size), _font(max(6, round(size * 0.65)))
    pieces = [(letter, small if letter in _SUPERSCRIPTS else font) for letter in words]
    width = sum(used.getlength(_base(letter)) for letter, used in pieces)
    mask = Image.new("L", (max(1, math.ceil(width) + 2), round(size * 1.5)), 0)
    draw = ImageDraw.Draw(mask)
    baseline, x = size * 1.1, 1.0
    for letter, used in pieces:
        raised = 0.38 * size if used is small else 0.0
        draw.text((x, baseline - raised), _base(letter), fill=255, font=used, anchor="ls")
        _add_mark(draw, letter, x, baseline, size)
        x += used.getlength(_base(letter))
    return mask


def _base(letter: str) -> str:
    return _SUPERSCRIPTS.get(letter) or _COMPOSED.get(letter, letter)


def _add_mark(draw: ImageDraw.ImageDraw, letter: str, x: float, baseline: float, size: int) -> None:
    """Put the ring on Å and the stem under µ."""
    stroke = max(1, round(size * 0.075))
    if letter == "Å":
        centre, radius = x + _font(size).getlength("A") / 2, size * 0.13
        top = baseline - size * 0.97
        draw.ellipse([centre - radius, top, centre + radius, top + 2 * radius], outline=255, width=stroke)
    elif letter == "µ":
        left = x + size * 0.075
        draw.rectangle([left, baseline - size * 0.3, left + stroke, baseline + size * 0.2], fill=255)
