"""A block of lines that a function draws: for details that change often and need no layout of their own."""

from collections.abc import Callable, Sequence

from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from tui.widgets.tones import Piece, segments_of

DrawLines = Callable[[int], Sequence[Sequence[Piece]]]
"""Width to lines."""


class Lines(Widget):
    """Draws what its function says; as high as its style says, or as there are lines with `fit`."""

    def __init__(self, draw_lines: DrawLines, *, fit: bool = False, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._draw_lines = draw_lines
        self._fit = fit
        self._lines: Sequence[Sequence[Piece]] = ()

    def draw(self) -> None:
        """Draw it again."""
        self._lines = self._draw_lines(max(1, self.size.width))
        if self._fit:
            self.styles.height = len(self._lines) + self.gutter.height  # a border is counted too
        self.refresh()

    def on_resize(self) -> None:
        """Draw for the new width."""
        self.draw()

    def render_line(self, y: int) -> Strip:
        """Draw one line."""
        base = self.rich_style
        pieces = self._lines[y] if y < len(self._lines) else ()
        strip = Strip(segments_of(pieces, base, dark=self.app.current_theme.dark))
        width = self.size.width
        if strip.cell_length > width > 0:
            strip = Strip([*strip.crop(0, width - 1), Segment("…", base)])
        return strip.adjust_cell_length(width, base)
