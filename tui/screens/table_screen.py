"""What screens with one big table share: filter, sort, selection, and keeping the table to what is known."""

from collections.abc import Iterable, Sequence
from typing import ClassVar

from tui.core.spans import count_of
from tui.screens.base import ElcanoScreen
from tui.widgets.filter_bar import FilterBar
from tui.widgets.line_table import LineTable


class TableScreen(ElcanoScreen):
    """A subclass yields a LineTable and a FilterBar, and gives the order of rows and the keys to sort by."""

    NOUN: ClassVar[str] = "row"
    typed = ""
    sort_key = ""
    sort_descending = False

    @property
    def table(self) -> LineTable:
        """The table."""
        return self.query_one(LineTable)

    def order(self) -> Sequence[int]:
        """Return the rows to show, in order."""
        raise NotImplementedError

    def sort_keys(self) -> Sequence[str]:
        """Return the columns that rows can be sorted by; "" is as they came."""
        raise NotImplementedError

    def draw_rows(self, touched: Iterable[int] | None = None) -> None:
        """Bring the table to what is known; `touched` are the rows whose content is new."""
        self.table.show(self.order(), touched)

    def chosen_words(self) -> str:
        """Say how many rows an action would be about."""
        selected = len(self.table.rows.selected)
        return f"{selected} selected {count_of(selected, self.NOUN).split(' ', 1)[1]}" if selected else ""

    def on_mount(self) -> None:
        """The rows take the keys."""
        self.table.focus()

    def on_filter_bar_filtered(self, event: FilterBar.Filtered) -> None:
        """Filter as it is typed."""
        self.typed = event.typed
        self.draw_rows()
        self.draw_state()

    def on_filter_bar_left(self, _: FilterBar.Left) -> None:
        """Back to the rows."""
        self.table.focus()

    def on_line_table_sort_asked(self, event: LineTable.SortAsked) -> None:
        """Sort by the title that was clicked; a second click turns the order."""
        if event.key in self.sort_keys():
            self._sort_by(event.key, descending=event.key == self.sort_key and not self.sort_descending)

    def on_line_table_moved(self, _: LineTable.Moved) -> None:
        """Draw what depends on cursor and selection."""
        self.draw_state()

    def on_line_table_opened(self, _: LineTable.Opened) -> None:
        """Open what was clicked twice."""
        self.action_act("open")

    def draw_state(self) -> None:
        """Draw what depends on cursor, selection and filter."""

    def do_filter(self) -> None:
        """Type a filter."""
        self.query_one(FilterBar).begin()

    def do_back(self) -> None:
        """Drop the selection, then the filter, then leave."""
        if not self.table.clear_selection() and not self.query_one(FilterBar).drop():
            super().do_back()

    def do_sort(self) -> None:
        """Sort by the next column."""
        keys = ["", *(key for key in self.sort_keys() if key)]
        at = keys.index(self.sort_key) if self.sort_key in keys else 0
        self._sort_by(keys[(at + 1) % len(keys)], descending=False)

    def do_sort_turn(self) -> None:
        """Turn the order."""
        self._sort_by(self.sort_key, descending=not self.sort_descending)

    def do_select(self) -> None:
        """Select the row, or no longer."""
        self.table.toggle()

    def do_select_range(self) -> None:
        """Select from here to there."""
        self.table.mark_range()

    def do_select_all(self) -> None:
        """Select what the filter shows."""
        self.table.select_all()

    def _sort_by(self, key: str, *, descending: bool) -> None:
        self.sort_key, self.sort_descending = key, descending
        self.table.set_sort(key, descending=descending)
        self.draw_rows()
        self.draw_state()
