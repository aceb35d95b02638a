"""The table by itself: order, cursor, selection, mouse, and that it draws only what is seen."""

from collections.abc import Sequence

import pytest
from textual.app import App, ComposeResult

from tests.tui.screen_text import shown
from tui.widgets.line_table import LineTable, TableColumn
from tui.widgets.row_cursor import RowCursor
from tui.widgets.tones import Piece

pytestmark = pytest.mark.anyio
ROWS = 10_000


class Bench(App[None]):
    """A table of many rows; counts the cells that are drawn."""

    CSS_PATH = None
    CSS = "LineTable { height: 1fr; scrollbar-size: 0 1; }"

    def __init__(self, *, cells: bool = False) -> None:
        super().__init__()
        self.cells = cells
        self.drawn: list[int] = []
        self.sorted_by: list[str] = []
        self.opened: list[int] = []

    def compose(self) -> ComposeResult:
        yield LineTable(self.draw_cell, cells=self.cells, empty="nothing here")

    def on_mount(self) -> None:
        self.table.set_columns(
            [TableColumn("name", "name", 10, fixed=True), *(TableColumn(f"c{n}", f"c{n}", 10) for n in range(12))]
        )
        self.table.focus()

    @property
    def table(self) -> LineTable:
        return self.query_one(LineTable)

    def draw_cell(self, row: int, key: str) -> Sequence[Piece]:
        self.drawn.append(row)
        return [(f"{key} {row}", "plain")]

    def on_line_table_sort_asked(self, event: LineTable.SortAsked) -> None:
        self.sorted_by.append(event.key)

    def on_line_table_opened(self, event: LineTable.Opened) -> None:
        self.opened.append(event.row)


async def test_only_what_is_seen_is_drawn() -> None:
    app = Bench()
    async with app.run_test(size=(60, 20)) as pilot:
        app.table.show(range(ROWS))
        await pilot.pause()
        assert set(app.drawn) == set(range(19))
        app.drawn.clear()
        app.table.touch(range(100, ROWS))
        await pilot.pause()
        assert app.drawn == []
        app.table.touch([3])
        await pilot.pause()
        assert set(app.drawn) == {3}


async def test_the_cursor_is_kept_in_sight_and_on_its_row() -> None:
    app = Bench()
    async with app.run_test(size=(60, 20)) as pilot:
        app.table.show(range(ROWS))
        await pilot.press("end")
        await pilot.pause()
        assert app.table.cursor_row == ROWS - 1
        assert f"› name {ROWS - 1}" in shown(app).replace("›  ", "› ")
        app.table.show(list(range(ROWS))[::-1])
        await pilot.pause()
        assert app.table.cursor_row == ROWS - 1
        assert shown(app).splitlines()[1].startswith("›")
        await pilot.press("pagedown", "j", "k", "up")
        assert app.table.cursor_row == ROWS - 1 - 17


async def test_a_fixed_column_stays_and_what_is_hidden_is_counted() -> None:
    app = Bench(cells=True)
    async with app.run_test(size=(60, 20)) as pilot:
        app.table.show(range(5))
        await pilot.pause()
        assert shown(app).splitlines()[0].endswith("+8 →")
        for _ in range(20):
            await pilot.press("right")
        await pilot.pause()
        assert app.table.cursor_column == "c11"
        line = shown(app).splitlines()[1]
        assert "name 0" in line
        assert line.endswith("c11 0")
        assert "→" not in shown(app).splitlines()[0]
        for _ in range(20):
            await pilot.press("left")
        await pilot.pause()
        assert "c0 0" in shown(app).splitlines()[1]


async def test_rows_are_selected_by_keys() -> None:
    app = Bench()
    async with app.run_test(size=(60, 20)) as pilot:
        table = app.table
        table.show([5, 6, 7, 8])
        await pilot.pause()
        assert table.chosen() == [5]
        table.toggle()
        await pilot.press("shift+down")
        assert table.chosen() == [5, 6, 7]
        table.select_all()
        assert table.chosen() == [5, 6, 7, 8]
        table.select_all()
        assert table.chosen() == [7]
        table.mark_range()
        await pilot.press("home")
        table.mark_range()
        assert table.chosen() == [5, 6, 7]
        table.show([8, 7])
        assert table.chosen() == [7], "what is not shown is not meant"
        assert table.clear_selection()
        assert not table.clear_selection()


async def test_the_mouse() -> None:
    app = Bench(cells=True)
    async with app.run_test(size=(60, 20)) as pilot:
        app.table.show(range(50))
        await pilot.pause()
        await pilot.click(LineTable, offset=(30, 3))
        assert (app.table.cursor_row, app.table.cursor_column) == (2, "c1")
        await pilot.click(LineTable, offset=(4, 6), shift=True)
        assert app.table.chosen() == [2, 3, 4, 5]
        await pilot.click(LineTable, offset=(4, 2), control=True)
        assert app.table.chosen() == [1, 2, 3, 4, 5]
        await pilot.click(LineTable, offset=(4, 0))
        assert app.sorted_by == ["name"]
        await pilot.click(LineTable, offset=(4, 5), times=2)
        await pilot.pause()
        assert app.opened == [4]


async def test_no_rows() -> None:
    app = Bench()
    async with app.run_test(size=(60, 20)) as pilot:
        app.table.show([])
        await pilot.press("down", "end", "shift+up")
        app.table.toggle()
        await pilot.pause()
        assert app.table.chosen() == []
        assert "nothing here" in shown(app)


def test_a_cursor_whose_row_goes_stays_where_it_was() -> None:
    cursor = RowCursor()
    cursor.show([1, 2, 3, 4])
    cursor.move_to(2)
    cursor.show([1, 2, 4])
    assert cursor.cursor == 4
    cursor.show([])
    assert cursor.chosen() == []
    cursor.show([9])
    assert cursor.chosen() == [9]


class Numbers(Bench):
    """Columns of numbers, as a table of jobs has them."""

    def on_mount(self) -> None:
        self.call_after_refresh(self.number)

    def number(self) -> None:
        columns = [TableColumn(f"n{n}", f"number {n}", 8, right=True) for n in range(6)]
        self.table.set_columns([TableColumn("name", "name", 6, fixed=True), *columns])

    def draw_cell(self, row: int, key: str) -> Sequence[Piece]:
        return [("name" if key == "name" else f"1{key[1:]}234%", "plain")]


@pytest.mark.parametrize("width", range(30, 41, 2))
@pytest.mark.parametrize("presses", [0, 1, 2])
async def test_what_is_cut_off_a_number_is_said_to_be(width: int, presses: int) -> None:
    app = Numbers()
    async with app.run_test(size=(width, 6)) as pilot:
        app.table.show([0])
        await pilot.press(*["right"] * presses)
        await pilot.pause()
        _, row = shown(app).splitlines()[:2]
        numbers = row[9:].split()
        assert numbers
        whole = {f"1{n}234%" for n in range(6)}
        assert all(number in whole or number.startswith("…") or number.endswith("…") for number in numbers)


async def test_a_title_that_is_cut_off_is_said_to_be() -> None:
    app = Numbers()
    async with app.run_test(size=(33, 6)) as pilot:
        app.table.show([0])
        await pilot.pause()
        assert shown(app).splitlines()[0] == "  name   number 0 number 1 … +4 →"


async def test_the_scrollbar_covers_nothing_and_what_is_cut_says_so() -> None:
    app = Bench()
    async with app.run_test(size=(40, 10)) as pilot:
        app.table.show(range(ROWS))
        await pilot.pause()
        header, first = shown(app).splitlines()[:2]
        assert header.endswith(" +10 →"), "the column before the scrollbar's"
        assert len(header) == 39
        app.table.show([])
        app.table.empty = "nothing here, and a word or two about how to have something"
        app.table.refresh()
        await pilot.pause()
        assert " ".join(shown(app).split()).endswith("nothing here, and a word or two about how to have something")
        assert first
