"""Where a table stands in its rows: order, cursor, selection. No drawing in here."""

from collections.abc import Sequence


class RowCursor:
    """An index array with a cursor and a selection, both of which follow their rows when the order changes."""

    def __init__(self) -> None:
        self.order: Sequence[int] = []
        self.place = 0
        self.selected: set[int] = set()
        self.range_start: int | None = None
        self._position: dict[int, int] = {}

    @property
    def cursor(self) -> int | None:
        """The row under the cursor."""
        return self.order[self.place] if self.order else None

    def position_of(self, row: int) -> int | None:
        """Return where a row stands, None where it is not shown."""
        return self._position.get(row)

    def show(self, order: Sequence[int]) -> None:
        """Take another order: the cursor stays on its row, or where it was; what is not shown is not selected."""
        row = self.cursor
        self.order = list(order)
        self._position = {row: position for position, row in enumerate(self.order)}
        kept = None if row is None else self._position.get(row)
        self.place = kept if kept is not None else max(0, min(self.place, len(self.order) - 1))
        self.selected &= self._position.keys()
        self.range_start = None

    def move_to(self, position: int) -> None:
        """Bring the cursor to a position, as far as there is one."""
        self.place = max(0, min(position, len(self.order) - 1))

    def chosen(self) -> list[int]:
        """Return the selected rows in their order, else the row under the cursor."""
        if self.selected:
            return sorted(self.selected, key=self._position.__getitem__)
        return [] if self.cursor is None else [self.cursor]

    def toggle(self) -> None:
        """Select the row under the cursor, or no longer."""
        if self.cursor is not None:
            self.selected ^= {self.cursor}

    def select_here(self) -> None:
        """Select the row under the cursor."""
        if self.cursor is not None:
            self.selected.add(self.cursor)

    def select_between(self, first: int, last: int) -> None:
        """Select the rows from one position to another."""
        begin, end = sorted((first, last))
        self.selected |= set(self.order[begin : end + 1])

    def mark_range(self) -> None:
        """Begin a range here, or select from where one was begun to here."""
        if self.range_start is None:
            self.range_start = self.place
        else:
            self.select_between(self.range_start, self.place)
            self.range_start = None

    def select_all(self) -> None:
        """Select every row shown; none when all are."""
        every = set(self.order)
        self.selected = set() if self.selected == every else every

    def clear_selection(self) -> bool:
        """Select nothing; False when nothing was."""
        had = bool(self.selected) or self.range_start is not None
        self.selected, self.range_start = set(), None
        return had
