"""A plot of many points in character cells, with limits that are dragged, and the distribution beside it.

What is drawn is counted on a worker's thread and kept; a limit that moves is laid over it, so that dragging draws a
line and counts nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.segment import Segment
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from tui.core.plot import Grid, show_bar, show_sign, show_tick
from tui.widgets.tones import Piece, segments_of

_LABELS = 8
"""Cells left of the plot, for the labels of the y axis."""
_HISTOGRAM = 18
_LEAST_WIDTH = 50
"""Narrower, there is no histogram."""
_FOOT = 2
"""Lines below the plot: the axis and its labels."""


@dataclass(frozen=True)
class Limit:
    """A line across the plot."""

    name: str
    value: float
    passes_below: bool
    is_moved: bool
    is_chosen: bool


@dataclass(frozen=True)
class Scene:
    """What a plot shows; `labels` are texts under the x axis at their cells, `point` the cell of the cursor."""

    grid: Grid
    labels: Sequence[tuple[int, str]]
    limits: Sequence[Limit] = field(default_factory=tuple)
    point: tuple[int, int] | None = None
    """Column and row."""


class Plot(Widget):
    """Draws a scene; tells where it is clicked and to where limits are dragged."""

    @dataclass
    class Dragged(Message):
        """A limit is dragged to a value of the y axis."""

        name: str
        value: float
        is_over: bool
        """The button was let go."""

    @dataclass
    class Clicked(Message):
        """A cell was clicked, twice if `is_double`."""

        column: int
        row: int
        is_double: bool

    @dataclass
    class Resized(Message):
        """There is another number of cells to draw into."""

    def __init__(self, empty: str = "", *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self.empty = empty
        self._scene: Scene | None = None
        self._dragging = ""

    @property
    def cells(self) -> tuple[int, int]:
        """Width and height of the part where points are drawn."""
        histogram = self._histogram_width
        width = self.size.width - _LABELS - 1 - (histogram + 1 if histogram else 0)
        return max(1, width), max(1, self.size.height - _FOOT)

    @property
    def is_dragging(self) -> bool:
        """Whether a limit is in somebody's hand."""
        return bool(self._dragging)

    def show(self, scene: Scene | None) -> None:
        """Draw another scene; None: there is nothing to draw."""
        self._scene = scene
        self.refresh()

    def on_resize(self) -> None:
        """Ask for a scene of the new size."""
        self.post_message(self.Resized())

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Take hold of the limit under the mouse, or one line beside it."""
        scene = self._scene
        if scene is None or event.y >= scene.grid.y.cells:
            return
        rows = {limit.name: scene.grid.row(limit.value) for limit in scene.limits}
        near = [name for name, row in rows.items() if abs(row - event.y) <= 1]
        if near:
            self._dragging = min(near, key=lambda name: abs(rows[name] - event.y))
            self.capture_mouse()
            event.stop()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Drag the limit."""
        if self._dragging:
            self._tell_drag(event.y, is_over=False)

    def on_mouse_up(self, event: events.MouseUp) -> None:
        """Let the limit go."""
        if self._dragging:
            self._tell_drag(event.y, is_over=True)
            self._dragging = ""
            self.release_mouse()

    def on_click(self, event: events.Click) -> None:
        """Tell which cell was clicked."""
        scene = self._scene
        if scene is not None and event.x >= _LABELS + 1:
            column = event.x - _LABELS - 1
            if column < scene.grid.x.cells and event.y < scene.grid.y.cells:
                self.post_message(self.Clicked(column, event.y, event.chain >= 2))

    def render_line(self, y: int) -> Strip:
        """Draw one line."""
        base, width, scene = self.rich_style, self.size.width, self._scene
        pieces: list[Piece] = []
        if scene is None:
            if y == self.size.height // 2:
                pieces = [(f"  {self.empty}", "dim")]
        elif y < scene.grid.y.cells:
            pieces = self._row(scene, y)
        elif y == scene.grid.y.cells:
            pieces = [(" " * _LABELS + "└" + "─" * scene.grid.x.cells, "dim")]
        else:
            pieces = self._foot(scene)
        segments: list[Segment] = segments_of(pieces, base, dark=self.app.current_theme.dark)
        return Strip(segments).adjust_cell_length(width, base)

    @property
    def _histogram_width(self) -> int:
        return _HISTOGRAM if self.size.width >= _LEAST_WIDTH + _HISTOGRAM else 0

    def _tell_drag(self, y: int, *, is_over: bool) -> None:
        scene = self._scene
        if scene is None:
            return
        axis = scene.grid.y
        row = max(0, min(axis.cells - 1, y))
        self.post_message(self.Dragged(self._dragging, axis.value(axis.cells - 1 - row), is_over))

    def _row(self, scene: Scene, y: int) -> list[Piece]:
        grid = scene.grid
        lines = [limit for limit in scene.limits if grid.row(limit.value) == y]
        label = self._label(scene, y)
        pieces: list[Piece] = [(f"{label:>{_LABELS}}", "plain" if lines else "dim"), ("│", "dim")]
        for column, cell in enumerate(grid.cells[y]):
            if scene.point == (column, y):
                pieces.append(("◆", "strong"))
            elif cell is not None:
                pieces.append(show_sign(*cell))
            elif lines:
                pieces.append(_line_sign(lines[0]))
            else:
                pieces.append((" ", "plain"))
        histogram = self._histogram_width
        if histogram:
            bar = show_bar(grid.histogram[y], max(grid.histogram), histogram)
            pieces += [("│", "dim"), (bar, "running" if not lines else "warning")]
        return pieces

    def _label(self, scene: Scene, y: int) -> str:
        grid = scene.grid
        for limit in scene.limits:
            if grid.row(limit.value) == y:
                return f"{'≤' if limit.passes_below else '≥'}{show_tick(limit.value, grid.y)}"[:_LABELS]
        if y == 0 and grid.above:
            return f"+{grid.above} ▲"[:_LABELS]
        if y == grid.y.cells - 1 and grid.below:
            return f"+{grid.below} ▼"[:_LABELS]
        taken = {grid.row(tick): tick for tick in grid.y.ticks(max(2, grid.y.cells // 3))}
        return show_tick(taken[y], grid.y)[:_LABELS] if y in taken else ""

    def _foot(self, scene: Scene) -> list[Piece]:
        line = [" "] * (scene.grid.x.cells + 1)
        end = -1
        for cell, text in scene.labels:
            begin = max(0, min(cell - len(text) // 2, len(line) - len(text)))
            if begin > end:
                line[begin : begin + len(text)] = text
                end = begin + len(text)
        pieces: list[Piece] = [(" " * _LABELS + "".join(line), "dim")]
        if self._histogram_width:
            pieces.append(("how many", "dim"))
        return pieces


def _line_sign(limit: Limit) -> Piece:
    if limit.is_moved:
        return ("┅" if not limit.is_chosen else "━", "warning")
    return ("─" if not limit.is_chosen else "━", "strong")
