"""A picture, as large as there is room for it; decoded and drawn on a thread, never on the way of a key."""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from functools import lru_cache
from hashlib import sha256
from io import BytesIO
from textwrap import wrap
from typing import TYPE_CHECKING, Any, cast

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.app import ComposeResult
from textual.strip import Strip
from textual.widget import Widget
from textual.worker import get_current_worker

from tui.widgets.graphics import cell_size_px, make_graphics
from tui.widgets.tones import tone_style

if TYPE_CHECKING:
    from PIL.Image import Image

_UPPER_HALF = "▀"
_MOST_DRAWN = 48
_ready: "OrderedDict[Hashable, Drawing]" = OrderedDict()
"""Of all pictures of this terminal, the latest ones at the size of their cells."""


class Drawing:
    """A picture at the size of its cells: lines of half cells, or the image for the terminal's own graphics."""

    def __init__(self, columns: int, rows: int, strips: Sequence[Strip], image: "Image | None") -> None:
        self.columns, self.rows = columns, rows
        self.strips = strips
        self.image = image


class Picture(Widget):
    """Shows one picture at a time, or says why there is none."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._key: Hashable = None
        self._png = b""
        self._words = ""
        self._drawing: Drawing | None = None
        self._graphics = make_graphics()

    def compose(self) -> ComposeResult:
        """The terminal's own graphics, where it has them."""
        if self._graphics is not None:
            self._graphics.display = False
            yield self._graphics

    @property
    def has_graphics(self) -> bool:
        """Whether more pixels than two a cell are seen."""
        return self._graphics is not None

    def show(self, png: bytes) -> None:
        """Show a picture."""
        key = sha256(png).digest()
        if key != self._key:
            self._key, self._png, self._words = key, png, ""
            self._draw()

    def say(self, words: str) -> None:
        """Say something in place of a picture; the words are harmless already."""
        self._key, self._png, self._words = None, b"", words
        self._take(None)

    def on_resize(self) -> None:
        """Draw it for the room that there is now."""
        if self._png:
            self._draw()

    def render_line(self, y: int) -> Strip:
        """Draw one line of half cells, in the middle of the room."""
        base, width = self.rich_style, self.size.width
        drawing = self._drawing
        if drawing is None:
            lines = wrap(self._words, max(8, width - 2))
            line = y - (self.size.height - len(lines)) // 2
            words = lines[line] if 0 <= line < len(lines) else ""
            left = max(0, (width - len(words)) // 2)
            style = base + tone_style("dim", dark=self.app.current_theme.dark)
            return Strip([Segment(" " * left, base), Segment(words, style)]).adjust_cell_length(width, base)
        row = y - (self.size.height - drawing.rows) // 2
        if not 0 <= row < len(drawing.strips):
            return Strip.blank(width, base)
        left = (width - drawing.columns) // 2
        return Strip([Segment(" " * left, base), *drawing.strips[row]]).adjust_cell_length(width, base)

    def _draw(self) -> None:
        columns, rows = self.size.width, self.size.height
        if columns < 2 or rows < 1:
            return
        wanted = (self._key, columns, rows, self.has_graphics)
        known = _ready.get(wanted)
        if known is not None:
            _ready.move_to_end(wanted)
            self._take(known)
            return
        png, cell_px, as_graphics = self._png, cell_size_px(), self.has_graphics

        def work() -> None:
            drawing = draw_picture(png, columns, rows, cell_px, as_graphics=as_graphics)
            if not get_current_worker().is_cancelled:
                self.app.call_from_thread(self._take_drawn, wanted, drawing)

        self.run_worker(work, thread=True, exclusive=True, group="drawing")

    def _take_drawn(self, wanted: Hashable, drawing: Drawing | None) -> None:
        if drawing is None:
            self.say("This picture cannot be read.")
            return
        _ready[wanted] = drawing
        while len(_ready) > _MOST_DRAWN:
            _ready.popitem(last=False)
        if wanted == (self._key, self.size.width, self.size.height, self.has_graphics):
            self._take(drawing)

    def _take(self, drawing: Drawing | None) -> None:
        self._drawing = drawing
        if self._graphics is not None:
            self._graphics.display = drawing is not None
            if drawing is not None and drawing.image is not None:
                styles = self._graphics.styles
                styles.width, styles.height = drawing.columns, drawing.rows
                cast("Any", self._graphics).image = drawing.image
        self.refresh()


def draw_picture(png: bytes, columns: int, rows: int, cell_px: tuple[int, int], *, as_graphics: bool) -> Drawing | None:
    """Decode a picture and bring it to the cells that there are, its proportions kept; None for what is no picture."""
    from PIL import Image, ImageOps, UnidentifiedImageError  # noqa: PLC0415 - not before there is one

    try:
        with Image.open(BytesIO(png)) as opened:
            image = opened.convert("L" if opened.mode == "L" else "RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    across, down = fit_cells(image.size, columns, rows, cell_px)
    if as_graphics:
        size = (across * cell_px[0], down * cell_px[1])
        return Drawing(across, down, (), image.convert("RGB").resize(size, Image.Resampling.LANCZOS))
    small = image.resize((across, 2 * down), Image.Resampling.BOX)
    if small.mode == "L":
        # What was averaged away with the noise was most of the contrast.
        small = ImageOps.autocontrast(small, cutoff=1)
    return Drawing(across, down, _half_cells(small.convert("RGB")), None)


def fit_cells(size_px: tuple[int, int], columns: int, rows: int, cell_px: tuple[int, int]) -> tuple[int, int]:
    """Return how many cells across and down a picture takes, as large as it fits, its proportions kept."""
    scale = min(columns * cell_px[0] / size_px[0], rows * cell_px[1] / size_px[1])
    across = round(size_px[0] * scale / cell_px[0])
    down = round(size_px[1] * scale / cell_px[1])
    return max(1, min(columns, across)), max(1, min(rows, down))


def _half_cells(image: "Image") -> list[Strip]:
    """Return a picture of two pixels to a cell, one above the other, as lines."""
    width, height = image.size
    channels = iter(image.tobytes())
    pixels = list(zip(channels, channels, channels, strict=True))
    strips = []
    for top in range(0, height, 2):
        upper, lower = pixels[top * width : (top + 1) * width], pixels[(top + 1) * width : (top + 2) * width]
        strips.append(
            Strip([Segment(_UPPER_HALF, _pair_style(*pair)) for pair in zip(upper, lower, strict=True)], width)
        )
    return strips


@lru_cache(maxsize=8192)
def _pair_style(upper: tuple[int, int, int], lower: tuple[int, int, int]) -> Style:
    return Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower))
