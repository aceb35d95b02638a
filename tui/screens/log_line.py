"""One line to its end: for messages longer than any row, and for what was noted with them."""

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len, chop_cells
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen

from tui.core.states import Tone
from tui.core.text import show_line, show_lines
from tui.widgets.lines import Lines
from tui.widgets.tones import Piece

_LONGEST = 100_000
_MOST_LINES = 2000

Part = tuple[str, str, Tone]
"""What it is, its text as it came, and how it is told."""


class LogLineScreen(ModalScreen[None]):
    """Stands before a screen until a key is pressed; scrolls."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,i", "app.pop_screen", "close"),
    ]

    def __init__(self, parts: Sequence[Part]) -> None:
        super().__init__()
        self._parts = [
            (show_line(name, 40), show_lines(text, _LONGEST, _MOST_LINES), tone) for name, text, tone in parts if text
        ]

    def compose(self) -> ComposeResult:
        """Part by part, in a box."""
        with VerticalScroll(classes="box wide") as box:
            box.border_subtitle = "↑ ↓ scroll   Esc: close"
            yield Lines(self._draw, fit=True)

    def on_mount(self) -> None:
        """The text takes the keys: it is scrolled."""
        self.query_one(VerticalScroll).focus()

    def _draw(self, width: int) -> Sequence[Sequence[Piece]]:
        aside = max((len(name) for name, lines, _ in self._parts if len(lines) == 1), default=0) + 2
        drawn: list[list[Piece]] = []
        for name, lines, tone in self._parts:
            if name and len(lines) == 1 and cell_len(lines[0]) <= width - aside:
                drawn.append([(f"{name:<{aside}}", "dim"), (lines[0], tone)])
                continue
            if drawn and drawn[-1]:
                drawn.append([])
            if name:
                drawn.append([(name, "dim")])
            for line in lines:
                drawn += [[(piece, tone)] for piece in chop_cells(line, width)] or [[]]
            drawn.append([])
        return drawn
