"""A table that draws only the lines that are seen: rows are numbers in an index array, cells are drawn when asked for.

Ten thousand rows cost as much as fifty. The table knows nothing of what it shows: `draw` gives the pieces of a cell.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.widgets.paragraphs import wrap_text
from tui.widgets.row_cursor import RowCursor
from tui.widgets.tones import Piece, segments_of, tone_style, width_of

Draw = Callable[[int, str], Sequence[Piece]]
"""Row and key of a column to what is shown there."""

_GUTTER = 2


@dataclass(frozen=True)
class TableColumn:
    """A column; `fixed` ones stay when the others are scrolled aside, and come first."""

    key: str
    title: str
    width: int
    right: bool = False
    fixed: bool = False


class LineTable(ScrollView, can_focus=True):
    """Rows with a cursor, a selection, an order; the first line is the header."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("down,j", "move(1)", "down", show=False),
        Binding("pageup", "move_page(-1)", "page up", show=False),
        Binding("pagedown", "move_page(1)", "page down", show=False),
        Binding("home,g", "move_end(-1)", "first", show=False),
        Binding("end,G", "move_end(1)", "last", show=False),
        Binding("shift+up", "extend(-1)", "extend up", show=False),
        Binding("shift+down", "extend(1)", "extend down", show=False),
        Binding("left,h", "aside(-1)", "left", show=False),
        Binding("right,l", "aside(1)", "right", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "linetable--header",
        "linetable--cursor",
        "linetable--cell",
        "linetable--selected",
    }

    class Opened(Message):
        """A row was clicked twice."""

        def __init__(self, table: "LineTable", row: int) -> None:
            super().__init__()
            self.table, self.row = table, row

    class Moved(Message):
        """The cursor, or the selection, is another."""

        def __init__(self, table: "LineTable") -> None:
            super().__init__()
            self.table = table

    class SortAsked(Message):
        """The title of a column was clicked."""

        def __init__(self, table: "LineTable", key: str) -> None:
            super().__init__()
            self.table, self.key = table, key

    column_cursor: reactive[int] = reactive(0)

    def __init__(self, draw: Draw, *, cells: bool = False, empty: str = "", id: str | None = None) -> None:  # noqa: A002 - Textual's word
        """`cells`: left and right move between columns, else they scroll aside. `empty` is said of no rows."""
        super().__init__(id=id)
        self._draw = draw
        self._has_cells = cells
        self.empty = empty
        self._columns: list[TableColumn] = []
        self._fixed_width = _GUTTER
        self.rows = RowCursor()
        self.sort_key = ""
        self.sort_descending = False

    @property
    def cursor_row(self) -> int | None:
        """The row under the cursor."""
        return self.rows.cursor

    @property
    def cursor_column(self) -> str:
        """Key of the column under the cursor, for tables with cells."""
        free = [column for column in self._columns if not column.fixed]
        return free[min(self.column_cursor, len(free) - 1)].key if free else ""

    @property
    def columns(self) -> Sequence[TableColumn]:
        """The columns."""
        return self._columns

    def set_columns(self, columns: Iterable[TableColumn]) -> None:
        """Show other columns."""
        wanted = list(columns)
        if wanted == self._columns:
            return
        self._columns = sorted(wanted, key=lambda column: not column.fixed)
        self._fixed_width = _GUTTER + sum(column.width + 1 for column in self._columns if column.fixed)
        self._measure()
        self.refresh()

    def set_sort(self, key: str, *, descending: bool) -> None:
        """Mark the title of the column that rows are sorted by."""
        self.sort_key, self.sort_descending = key, descending
        self.refresh_line(0)

    def show(self, order: Sequence[int], touched: Iterable[int] | None = None) -> None:
        """Show these rows in this order; `touched` are those whose content is new, None means all."""
        if order != self.rows.order:
            before = self.cursor_row
            self.rows.show(order)
            self._measure()
            self._keep_in_sight()
            self.refresh()
            if self.cursor_row != before:
                self.post_message(self.Moved(self))
        elif touched is None or not order:
            self.refresh()  # of no rows `empty` is said, which may be something else now
        else:
            self.touch(touched)

    def touch(self, rows: Iterable[int]) -> None:
        """Draw rows again, those of them that are seen."""
        first = self.scroll_offset.y
        seen = range(first, first + self.size.height)
        for row in rows:
            position = self.rows.position_of(row)
            if position is not None and position in seen:
                self.refresh_line(position + 1)

    def chosen(self) -> list[int]:
        """Return the selected rows in their order, else the row under the cursor."""
        return self.rows.chosen()

    def toggle(self) -> None:
        """Select the row under the cursor, or no longer, and go on to the next."""
        self.rows.toggle()
        self._step(1)
        self._tell()

    def mark_range(self) -> None:
        """Begin a range here, or select from where one was begun to here."""
        self.rows.mark_range()
        self._tell()

    def select_all(self) -> None:
        """Select every row shown; none when all are."""
        self.rows.select_all()
        self._tell()

    def clear_selection(self) -> bool:
        """Select nothing; False when nothing was."""
        had = self.rows.clear_selection()
        if had:
            self._tell()
        return had

    def move_to(self, position: int) -> None:
        """Bring the cursor to a position."""
        before = self.rows.place
        self.rows.move_to(position)
        if self.rows.place != before:
            self.refresh_line(before + 1)
            self.refresh_line(self.rows.place + 1)
            self._keep_in_sight()
            self.post_message(self.Moved(self))

    def action_move(self, step: int) -> None:
        """Move the cursor by a row."""
        self._step(step)

    def action_move_page(self, step: int) -> None:
        """Move the cursor by what is seen."""
        self._step(step * max(1, self.size.height - 2))

    def action_move_end(self, way: int) -> None:
        """Move the cursor to the first or last row."""
        self.move_to(0 if way < 0 else len(self.rows.order) - 1)

    def action_extend(self, step: int) -> None:
        """Select the row and move on."""
        self.rows.select_here()
        self._step(step)
        self.rows.select_here()
        self._tell()

    def action_aside(self, step: int) -> None:
        """Move to the next column, or scroll aside."""
        if not self._has_cells:
            self.scroll_relative(x=step * 8, animate=False)
            return
        free = sum(not column.fixed for column in self._columns)
        self.column_cursor = min(max(0, self.column_cursor + step), max(0, free - 1))
        self._keep_column_in_sight()

    def watch_column_cursor(self) -> None:
        """Draw the cursor where it is now."""
        self.refresh_line(0)
        self.refresh_line(self.rows.place + 1)
        self.post_message(self.Moved(self))

    def on_click(self, event: events.Click) -> None:
        """Header: sort. Row: cursor; with Ctrl or Shift: selection; twice: open."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        column = self._column_at(offset.x)
        if offset.y == 0:
            if column is not None:
                self.post_message(self.SortAsked(self, column.key))
            return
        position = self.scroll_offset.y + offset.y - 1
        if not 0 <= position < len(self.rows.order):
            return
        before = self.rows.place
        self.move_to(position)
        if self._has_cells and column is not None and not column.fixed:
            self.column_cursor = [c for c in self._columns if not c.fixed].index(column)
        if event.ctrl:
            self.rows.toggle()
            self._tell()
        elif event.shift:
            self.rows.select_between(before, position)
            self._tell()
        elif event.chain == 2:
            self.post_message(self.Opened(self, self.rows.order[position]))

    def render_line(self, y: int) -> Strip:
        """Draw the header or one row."""
        width = self.scrollable_content_region.width  # the scrollbar has its own
        if y == 0:
            return self._header(width)
        position = self.scroll_offset.y + y - 1
        if position >= len(self.rows.order):
            base = self.rich_style
            said = [] if self.rows.order else wrap_text(self.empty, max(8, width - 3))
            words = said[y - 2] if 2 <= y < len(said) + 2 else ""
            return Strip([Segment(f"  {words}", base + tone_style("dim", dark=self._dark))]).adjust_cell_length(
                width, base
            )
        row = self.rows.order[position]
        is_cursor, is_selected = position == self.rows.place, row in self.rows.selected
        name = "cursor" if is_cursor and self.has_focus else "selected" if is_selected else ""
        base = self.get_component_rich_style(f"linetable--{name}") if name else self.rich_style
        mark = ("›" if is_cursor else " ") + ("■" if is_selected else "▏" if position == self.rows.range_start else " ")
        cell = self.get_component_rich_style("linetable--cell") if is_cursor and self._has_cells else base
        return self._line(mark, base, width, lambda column: self._draw(row, column.key), cell)

    @property
    def _dark(self) -> bool:
        return self.app.current_theme.dark

    def _header(self, width: int) -> Strip:
        base = self.get_component_rich_style("linetable--header")

        def title(column: TableColumn) -> Sequence[Piece]:
            arrow = ("▾" if self.sort_descending else "▴") if column.key == self.sort_key else ""
            return [(f"{column.title}{arrow}", "strong")]

        line = self._line("  ", base, width, title, base)
        hidden = self._hidden(width)
        if not hidden:
            return line
        words = f" +{hidden} →"
        room = max(1, width - len(words))
        is_cut = not line.crop(room - 1, room + 1).text.count(" ")
        seen = [*line.crop(0, room - 1), Segment("…", base)] if is_cut else line.crop(0, room)
        return Strip([*seen, Segment(words, base)])

    def _hidden(self, width: int) -> int:
        """Return how many columns lie beyond the right edge, wholly or in part."""
        right, first, hidden = self.scroll_offset.x + width, self._fixed_width, 0
        for column in self._columns:
            if not column.fixed:
                first += column.width + 1
                hidden += first - 1 > right
        return hidden

    def _line(
        self, mark: str, base: Style, width: int, draw: Callable[[TableColumn], Sequence[Piece]], cell: Style
    ) -> Strip:
        segments = [Segment(mark, base)]
        left, first = self.scroll_offset.x + self._fixed_width, self._fixed_width
        right = self.scroll_offset.x + width
        cursor = self.cursor_column if self._has_cells else ""
        for column in self._columns:
            style = cell if cursor and column.key == cursor else base
            if column.fixed:
                segments += self._fit(draw(column), column, style)
                continue
            begin, end = max(first, left), min(first + column.width + 1, right)
            if begin < end:
                segments += self._part(draw(column), column, style, begin - first, end - first)
            first += column.width + 1
        return Strip(segments).adjust_cell_length(width, base)

    def _part(
        self, pieces: Sequence[Piece], column: TableColumn, style: Style, begin: int, end: int
    ) -> Iterable[Segment]:
        """Draw the part of a cell that is seen. What is cut off at an edge of the table is said to be: half a number
        looks like another number."""
        whole = self._fit(pieces, column, style)
        if begin == 0 and end > column.width:
            return whole
        drawn = Strip(whole)
        seen = drawn.crop(begin, end)
        if not seen.text.strip():
            return seen
        if drawn.crop(0, begin).text.strip():
            return [Segment("…", style), *seen.crop(1, end - begin)]
        if drawn.crop(end, drawn.cell_length).text.strip():
            return [*seen.crop(0, end - begin - 1), Segment("…", style)]
        return seen

    def _fit(self, pieces: Sequence[Piece], column: TableColumn, style: Style) -> list[Segment]:
        """Bring a cell to the width of its column, and a space behind it."""
        segments = segments_of(pieces, style, dark=self._dark)
        taken = width_of(pieces)
        if taken > column.width:
            segments = [*Strip(segments).crop(0, column.width - 1), Segment("…", style)]
            short = column.width - sum(segment.cell_length for segment in segments)
            return [*segments, Segment(" " * (short + 1), style)]
        space = Segment(" " * (column.width - taken), style)
        return [space, *segments, Segment(" ", style)] if column.right else [*segments, space, Segment(" ", style)]

    def _measure(self) -> None:
        width = _GUTTER + sum(column.width + 1 for column in self._columns)
        self.virtual_size = Size(width, len(self.rows.order) + 1)

    def _step(self, step: int) -> None:
        self.move_to(self.rows.place + step)

    def _keep_in_sight(self) -> None:
        if self.rows.order and self.size.height > 1:
            # The header covers the first line: what is above it must not hide the cursor.
            first, seen, place = self.scroll_offset.y, self.size.height - 1, self.rows.place
            if place < first:
                self.scroll_to(y=place, animate=False, force=True, immediate=True)
            elif place >= first + seen:
                self.scroll_to(y=place - seen + 1, animate=False, force=True, immediate=True)

    def _keep_column_in_sight(self) -> None:
        first = _GUTTER
        for column in self._columns:
            if column.key == self.cursor_column and not column.fixed:
                region = Region(first - self._fixed_width, self.scroll_offset.y, column.width + 1, 1)
                room = self.scrollable_content_region.width - self._fixed_width
                if region.x < self.scroll_offset.x:
                    self.scroll_to(x=region.x, animate=False, immediate=True)
                elif region.right > self.scroll_offset.x + room:
                    self.scroll_to(x=region.right - room, animate=False, immediate=True)
            first += column.width + 1

    def _column_at(self, x: int) -> TableColumn | None:
        place = x if x < self._fixed_width else x + self.scroll_offset.x
        first = _GUTTER
        for column in self._columns:
            if first <= place < first + column.width + 1:
                return column
            first += column.width + 1
        return None

    def _tell(self) -> None:
        self.refresh()
        self.post_message(self.Moved(self))
