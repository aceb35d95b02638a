"""Artifacts: the files of a session by kind with their sizes, one by one, and what is in them."""

from collections.abc import Sequence
from pathlib import PurePath
from typing import ClassVar

import msgspec
from textual import events
from textual.app import ComposeResult
from textual.containers import Container
from textual.timer import Timer

from daemon.errors import ElcanoError
from daemon.messages.files import ArtifactFile, ArtifactFilesAnswer, ArtifactsAnswer
from tui.core.calling import session_pieces
from tui.core.model import Changes
from tui.core.selection import Filter, select_rows
from tui.core.shelf import PAGE, Shelf, sight_of
from tui.core.spans import count_of, show_bytes, show_moment
from tui.core.text import show_end, show_line
from tui.screens.choose_session import choose_session
from tui.screens.table_screen import TableScreen
from tui.widgets.file_view import FileView
from tui.widgets.filter_bar import FilterBar
from tui.widgets.line_table import LineTable, TableColumn
from tui.widgets.lines import Lines
from tui.widgets.tones import Piece

_REST_S = 0.25
_REFRESH_S = 5.0
_WIDE = 120
_BAR = 16
_NO_SESSION = "No session has been imported yet: 2 (Import), or `elcano import DIR`, brings one."
_NO_FILE = "Nothing was written for this session yet: its steps have not ended. o: another session."
_NONE_SUCH = "No file is called so. Esc drops the filter."
_SIGHTS = {"picture": "picture", "section": "slices", "columns": "plot", "": ""}
_LOTS = (
    TableColumn("stage", "written by", 18),
    TableColumn("category", "folder", 12),
    TableColumn("files", "files", 8, right=True),
    TableColumn("size", "size", 10, right=True),
    TableColumn("share", "share", _BAR),
)
_FILES = (
    TableColumn("bytes", "size", 10, right=True),
    TableColumn("written", "written", 12),
    TableColumn("sight", "preview", 8),
    TableColumn("trouble", "trouble", 40),
)


class ArtifactsScreen(TableScreen):
    """Enter opens a kind, then shows a file alone; Esc goes back."""

    NAME = "artifacts"
    NOUN: ClassVar[str] = "file"

    def __init__(self) -> None:
        super().__init__()
        self.session = ""
        self.shelf = Shelf("")
        self._shelves: dict[str, Shelf] = {}
        self._is_alone = False
        self._is_outdated = False
        self._is_waiting = False
        self._rest: Timer | None = None
        self._name_width = 30

    def compose_body(self) -> ComposeResult:
        """Kinds or files, and what is in the file under the cursor."""
        yield Lines(self._headline, fit=True, id="artifacts-head")
        yield FilterBar("part of a kind, or of a file's path")
        with Container(id="artifacts-body"):
            yield LineTable(self._cell)
            yield FileView(id="artifacts-view")
        yield Lines(self._footline, fit=True, id="artifacts-foot")

    def on_resize(self, event: events.Resize) -> None:
        """The preview stands beside the files where there is room."""
        self.set_class(event.size.width >= _WIDE, "roomy")
        self.set_class(event.size.height < 26, "low")
        self._draw()

    def order(self) -> Sequence[int]:
        """Lots by size, files by path; files are filtered by the daemon."""
        if self.shelf.lot is not None:
            return range(len(self.shelf.files) + (1 if self.shelf.left else 0))
        chosen, lots = Filter.parse(self.typed), self.shelf.lots
        return select_rows(
            len(lots), keep=lambda row: chosen.matches_text(f"{lots[row].kind} {lots[row].stage} {lots[row].category}")
        )

    def sort_keys(self) -> Sequence[str]:
        """As the daemon sorts."""
        return []

    def draw_all(self) -> None:
        """Draw what is known, and ask again."""
        chosen = self.model.chosen_session() or ""
        if chosen != self.session:
            self._take_session(chosen)
        self._draw()
        self._ask()

    def draw_changes(self, changes: Changes) -> None:
        """Ask again, not too often, when something of the session moved."""
        if not self.session:
            self.draw_all()
            return
        mine = {job.job_id for job in self.model.jobs.rows if job.session == self.session}
        if mine & changes.jobs_moved and self.shelf.lot is None:
            if self._is_waiting:
                self._is_outdated = True
            else:
                self._ask()

    def draw_state(self) -> None:
        """Draw what depends on the cursor; what is in a file once the cursor rests."""
        for lines in self.query("#artifacts-head, #artifacts-foot").results(Lines):
            lines.draw()
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(_REST_S, self._look)

    def on_filter_bar_filtered(self, event: FilterBar.Filtered) -> None:
        """Lots are filtered here, files by the daemon, once typing rests."""
        self.typed = event.typed
        if self.shelf.lot is None:
            self._draw()
        elif event.typed != self.shelf.containing:
            self.shelf.seek(event.typed)
            self._ask()

    def do_choose_session(self) -> None:
        """Choose another session."""
        choose_session(self, self.draw_all)

    def do_open(self) -> None:
        """Open a kind; read more files; show a file alone, or beside the others again."""
        row = self.table.cursor_row
        if row is None:
            return
        if self.shelf.lot is None:
            self.shelf.open(self.shelf.lots[row])
            self.query_one(FilterBar).drop()
            self.table.clear_selection()
            self._draw()
            self._ask()
        elif row >= len(self.shelf.files):
            self._ask(len(self.shelf.files))
        else:
            self._show_alone(not self._is_alone)

    def do_back(self) -> None:
        """Back to the file beside others, then drop selection and filter, then to the kinds."""
        if self._is_alone:
            self._show_alone(False)
        elif self.table.clear_selection() or self.query_one(FilterBar).drop():
            return
        elif self.shelf.lot is not None:
            lot = self.shelf.lot
            self.shelf.leave()
            self._draw()
            if lot in self.shelf.lots:
                self.table.move_to(self.table.rows.position_of(self.shelf.lots.index(lot)) or 0)

    def do_copy(self) -> None:
        """Copy the paths of the chosen files."""
        paths = [file.path for file in map(self._file, self.table.chosen()) if file is not None]
        if not paths:
            self.tell("Open a kind and move to a file first: its path is copied.")
            return
        self.terminal.copy_out("\n".join(paths))
        self.tell(f"{count_of(len(paths), 'path')} copied.")

    def do_next_section(self) -> None:
        """Show the next section, or column."""
        self._step(1)

    def do_previous_section(self) -> None:
        """Show the section, or column, before."""
        self._step(-1)

    def _step(self, by: int) -> None:
        if not self.query_one(FileView).step(by):
            self.tell("This file has no other section or column.")

    def _take_session(self, session: str) -> None:
        self.session = session
        self.query_one(FilterBar).drop()
        self.table.clear_selection()
        self.shelf = self._shelves.setdefault(session, Shelf(session))
        self._show_alone(False)

    def _show_alone(self, is_alone: bool) -> None:
        self._is_alone = is_alone
        self.set_class(is_alone, "alone")
        self.draw_state()

    def _file(self, row: int | None) -> ArtifactFile | None:
        files = self.shelf.files if self.shelf.lot is not None else []
        return files[row] if row is not None and row < len(files) else None

    def _look(self) -> None:
        self.query_one(FileView).look_at(self.session, self._file(self.table.cursor_row))

    def _ask(self, offset: int = 0) -> None:
        if not self.session or not self.model.link.is_connected:
            return
        shelf, lot, containing = self.shelf, self.shelf.lot, self.shelf.containing

        async def ask() -> None:
            try:
                if lot is None:
                    data = await self.terminal.link.ask("artifacts", {"session": shelf.session})
                    shelf.take_groups(msgspec.convert(data, ArtifactsAnswer))
                else:
                    asked = {"session": shelf.session, "stage": lot.stage, "kind": lot.kind, "containing": containing}
                    data = await self.terminal.link.ask("artifact.files", {**asked, "offset": offset, "limit": PAGE})
                    if (shelf.lot, shelf.containing) == (lot, containing):
                        shelf.take_files(msgspec.convert(data, ArtifactFilesAnswer))
            except ElcanoError as error:
                shelf.trouble = str(error)
            if self.is_ready and shelf is self.shelf:
                self._draw()

        self._is_waiting, self._is_outdated = True, False
        self.set_timer(_REFRESH_S, self._ask_again)
        self.run_latest(ask, group="files")

    def _ask_again(self) -> None:
        self._is_waiting = False
        if self._is_outdated and self.app.screen is self and self.shelf.lot is None:
            self._ask()

    def _draw(self) -> None:
        if not self.is_ready:
            return
        shelf, is_list = self.shelf, self.shelf.lot is not None
        self.set_class(is_list, "files")
        wide = self.size.width * (60 if self.has_class("roomy") and is_list else 100) // 100
        self._name_width = max(18, min(44, wide - (50 if is_list else 72)))
        name = TableColumn("name", "file" if is_list else "kind", self._name_width, fixed=True)
        self.table.set_columns([name, *(_FILES if is_list else _LOTS)])
        self.table.empty = self._empty(shelf)
        self.draw_rows()
        self.draw_state()

    def _empty(self, shelf: Shelf) -> str:
        if not self.session:
            return _NO_SESSION
        if shelf.trouble:
            return show_line(shelf.trouble, 300)
        if shelf.lot is not None:
            return "asking…" if shelf.total is None else _NONE_SUCH
        return "asking…" if shelf.told is None else _NO_FILE

    def _cell(self, row: int, key: str) -> Sequence[Piece]:
        if self.shelf.lot is None:
            return self._lot_cell(row, key)
        file = self._file(row)
        if file is None:
            left = count_of(self.shelf.left, "file")
            return [(f"… {left} more: Enter reads them", "dim")] if key == "name" else []
        if key == "name":
            return [(show_end(PurePath(file.path).name, self._name_width), "plain")]
        cells: dict[str, Piece] = {
            "bytes": (show_bytes(file.size_bytes), "plain"),
            "written": (show_moment(file.written_at_s, self.terminal.clock_s()), "dim"),
            "sight": (_SIGHTS[sight_of(file)], "done"),
            "trouble": (f"✗ {show_line(file.trouble, 200)}" if file.trouble else "", "failed"),
        }
        return [cells[key]]

    def _lot_cell(self, row: int, key: str) -> Sequence[Piece]:
        lot = self.shelf.lots[row]
        if key == "share":
            whole = sum(each.size_bytes for each in self.shelf.lots) or 1
            filled = max(1, round(_BAR * lot.size_bytes / whole)) if lot.size_bytes else 0
            return [("█" * filled, "done"), ("·" * (_BAR - filled), "dim")]
        said = {
            "name": show_line(lot.kind, 80),
            "stage": show_line(lot.stage, 60),
            "category": show_line(lot.category, 60),
            "files": str(lot.files),
            "size": show_bytes(lot.size_bytes),
        }
        return [(said[key], "strong" if key == "name" else "plain")]

    def _headline(self, width: int) -> Sequence[Sequence[Piece]]:
        del width
        if not self.session:
            return [[(" no session", "dim")]]
        lot = self.shelf.lot
        line: list[Piece] = [(" ", "plain"), *session_pieces(self.model.title_of(self.session), self.session)]
        if lot is None:
            return [[*line, (f"  {self.shelf.describe()}", "plain")]]
        line += [(f"  {lot.kind}", "strong"), (f"  by {lot.stage}: ", "dim")]
        return [[*line, (f"{count_of(lot.files, 'file')}, {show_bytes(lot.size_bytes)}", "plain")]]

    def _footline(self, width: int) -> Sequence[Sequence[Piece]]:
        del width
        shelf, words = self.shelf, list[Piece]()
        if shelf.lot is not None and shelf.total is not None:
            shown = len(shelf.files)
            words.append(
                (
                    f" {shown} of {count_of(shelf.total, 'file')}" if shelf.left else f" {count_of(shown, 'file')}",
                    "plain",
                )
            )
        if self.typed:
            words.append((f"  filter: {show_line(self.typed, 60)}", "warning"))
        if selected := self.chosen_words():
            words.append((f"  {selected}", "warning"))
        if shelf.trouble:
            words.append((f"  ✗ {show_line(shelf.trouble, 200)}", "failed"))
        if self.has_class("low") and shelf.lot is not None and not self._is_alone:
            words.append(("  the preview is hidden: Enter shows it", "dim"))
        return [words]
