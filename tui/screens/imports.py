"""Import: folders that the daemon may read, what a session in them would be taken as, and IMPORT DATA."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, ClassVar

import msgspec
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical, VerticalScroll
from textual.timer import Timer
from textual.widgets import Button

from daemon.errors import ElcanoError
from daemon.messages.browsing import FolderAnswer, PreviewAnswer
from tui.core.folders import Folder, FolderRow, Previews, describe_row, is_worth_a_look, summarise
from tui.core.model import Changes
from tui.core.selection import Filter, select_rows
from tui.core.spans import show_span
from tui.core.text import show_end, show_line
from tui.screens.ask_line import AskLineScreen
from tui.screens.jumps import open_job
from tui.screens.table_screen import TableScreen
from tui.widgets.filter_bar import FilterBar
from tui.widgets.line_table import LineTable, TableColumn
from tui.widgets.lines import Lines
from tui.widgets.paragraphs import text_lines
from tui.widgets.preview_lines import draw_preview
from tui.widgets.tones import Piece

_REST_S = 0.3
"""A cursor that rests so long on a session has it looked into."""
_WIDE = 120
_LONGEST_IMPORT_S = 600.0
_ASKING = "asking the daemon…"
_NOT_ASKED = "There is no connection to the daemon yet: its roots are asked for once there is one."
_NO_FOLDER = "No folder in here. i imports this folder itself as a session; Backspace goes one up."
_NO_ROOT = "The daemon's configuration names no root: set [paths] gpfs or [watch] roots."


class ImportScreen(TableScreen):
    """Enter opens a folder, and imports a session.json; `i` imports what is under the cursor."""

    NAME = "import"
    NOUN: ClassVar[str] = "folder"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("backspace", "up", "up", show=False)]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Folder()
        self.previews = Previews()
        self._came_from = ""
        self._looking_at = ""
        self._rest: Timer | None = None
        self._name_width = 24
        self._importing = ""
        self._began_s = 0.0
        self._awaited_job = ""

    def compose_body(self) -> ComposeResult:
        """Folders, and what is under the cursor; the button is for the mouse: the keys stay with the folders."""
        button = Button("IMPORT DATA", id="import-button", compact=True)
        button.can_focus = False
        yield Lines(self._headline, fit=True, id="import-head")
        yield FilterBar("part of a folder's name")
        with Container(id="import-body"):
            yield LineTable(self._cell)
            with Vertical(id="import-side"):
                with VerticalScroll(id="import-preview"):
                    yield Lines(self._preview, fit=True, id="import-lines")
                with Horizontal(id="import-bar"):
                    yield button
                    yield Lines(self._status, id="import-status")

    def on_resize(self, event: events.Resize) -> None:
        """What is under the cursor stands beside the folders where there is room."""
        self.set_class(event.size.width >= _WIDE, "roomy")

    def order(self) -> Sequence[int]:
        """By name, as the daemon sorts; the ways up and here always stand."""
        chosen, rows = Filter.parse(self.typed), self.folder.rows
        return select_rows(
            len(rows), keep=lambda row: rows[row].kind != "folder" or chosen.matches_text(rows[row].name)
        )

    def draw_rows(self, touched: Iterable[int] | None = None) -> None:
        """Say, where no row is shown, why."""
        self.table.empty = self._why_empty()
        super().draw_rows(touched)

    def sort_keys(self) -> Sequence[str]:
        """As the daemon sorts."""
        return []

    def draw_all(self) -> None:
        """Draw what is known, and look again."""
        self._draw()
        self.previews.drop_all()
        self._looking_at = ""
        self._ask()

    def draw_changes(self, changes: Changes) -> None:
        """Go to the job that an import made, once it is there."""
        if self._awaited_job and self.model.jobs.get(self._awaited_job) is not None:
            self._jump()
        if changes.link:
            self._draw()

    def draw_time(self) -> None:
        """Draw how long an import takes."""
        if self._importing:
            self.query_one("#import-status", Lines).draw()

    def draw_state(self) -> None:
        """Look into the session under the cursor once the cursor rests."""
        for lines in self.query(Lines):
            lines.draw()
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(_REST_S, self._look)

    def on_button_pressed(self, _: Button.Pressed) -> None:
        """As the key does."""
        self.action_act("import")

    def do_open(self) -> None:
        """Open the folder under the cursor, or import the session.json."""
        row = self.row
        if row is None:
            return
        if row.kind == "here":
            self.action_act("import")
        elif row.kind == "more":
            self._ask(len(self.folder.entries))
        elif row.kind == "folder" and row.entry is not None and row.entry.trouble:
            self.tell(f"{row.path}: {row.entry.trouble}.", is_trouble=True)
        else:
            self._go(row.path or None)

    def do_back(self) -> None:
        """Drop the filter, then go one up."""
        if not self.query_one(FilterBar).drop() and not self.folder.is_roots:
            self.action_up()

    def action_up(self) -> None:
        """Go one up."""
        told = self.folder.told
        if not self.folder.is_roots:
            self._go(None if told is None else told.parent)

    def do_import(self) -> None:
        """Ask what importing would mean, then do it."""
        self._begin(None)

    def do_import_as(self) -> None:
        """Likewise, under another name."""
        target = self.target
        if not target:
            self.tell("Move to a folder first.")
            return
        known = self.previews.get(target)
        typed = known.name if isinstance(known, PreviewAnswer) else target.rpartition("/")[2]

        def named(name: str | None) -> None:
            if name:
                self._begin(name)

        question = "Import under which name?"
        self.app.push_screen(AskLineScreen(question, ["Results go to a folder of that name."], typed), named)

    @property
    def row(self) -> FolderRow | None:
        """The row under the cursor."""
        number = self.table.cursor_row
        return None if number is None or number >= len(self.folder.rows) else self.folder.rows[number]

    @property
    def target(self) -> str:
        """The directory that an import would be of; empty where the cursor is on none."""
        row = self.row
        if row is None or row.kind not in {"here", "folder"} or (row.entry is not None and row.entry.holds_sessions):
            return ""
        return row.path

    def _begin(self, name: str | None) -> None:
        target = self.target
        if self._importing:
            self.tell(f"{self._importing} is being imported: one at a time from here.", is_trouble=True)
        elif not target:
            self.tell("Move to a folder first: the session in it is imported.")
        else:
            asked = {"directory": target, "name": name}
            self.ask_then("session.preview", asked, partial(self._confirm, asked), timeout_s=60.0)

    def _confirm(self, asked: dict[str, Any], data: Any) -> None:
        found = msgspec.convert(data, PreviewAnswer)
        if found.refusal:
            self.tell(found.refusal, is_trouble=True)
            return
        again = " again" if found.session_state else ""
        question = f"IMPORT DATA: take {asked['directory']} as {found.name}{again}?"
        self.confirm(question, summarise(found), partial(self._import, asked, found.name))

    def _import(self, asked: dict[str, Any], name: str) -> None:
        self._importing, self._began_s = name, self.terminal.clock_s()
        self.query_one("#import-status", Lines).draw()

        async def work() -> None:
            try:
                done = await self.terminal.link.ask("session.import", asked, timeout_s=_LONGEST_IMPORT_S)
            except ElcanoError as error:
                self.tell(str(error), is_trouble=True)
            else:
                missing = f" Not known: {', '.join(done['unknown'])}." if done["unknown"] else ""
                self.tell(f"Imported {done['session']}; results go to {done['home']}.{missing}")
                self._awaited_job = done["job_id"]
            self._importing = ""
            if self.is_ready:
                self.previews.drop(asked["directory"])
                self.draw_all()
                self.draw_changes(Changes())

        self.run_beside(work, group="importing")

    def _jump(self) -> None:
        """Go to the job, unless the person has gone elsewhere meanwhile."""
        job_id, self._awaited_job = self._awaited_job, ""
        if self.app.screen is self:
            open_job(self, job_id)

    def _go(self, directory: str | None) -> None:
        self._came_from = self.folder.asked or ""
        self.query_one(FilterBar).drop()
        self.folder = Folder(directory)
        self._draw()
        self._ask()

    def _ask(self, offset: int = 0) -> None:
        folder = self.folder

        async def ask() -> None:
            asked = {"directory": folder.asked, "offset": offset}
            try:
                folder.take(msgspec.convert(await self.terminal.link.ask("folder", asked), FolderAnswer))
            except ElcanoError as error:
                folder.trouble = str(error)
            if self.is_ready and folder is self.folder:
                self._draw()
                self._return_to(folder)

        if self.model.link.is_connected:
            self.run_latest(ask, group="folder")

    def _return_to(self, folder: Folder) -> None:
        """Put the cursor where one came from; in a new folder, on what can be imported or opened."""
        row, self._came_from = folder.row_named(self._came_from) if self._came_from else None, ""
        if row is not None:
            self.table.move_to(self.table.rows.position_of(row) or 0)
        elif self.table.rows.place == 0 and len(folder.rows) > 1 and not folder.is_roots:
            self.table.move_to(1)

    def _look(self) -> None:
        """Ask what the session under the cursor is."""
        row, target = self.row, self.target
        if row is None or not target or not is_worth_a_look(row) or self.previews.get(target) is not None:
            return
        if target == self._looking_at or not self.model.link.is_connected:
            return
        self._looking_at = target

        async def look() -> None:
            try:
                data = await self.terminal.link.ask("session.preview", {"directory": target}, timeout_s=60.0)
                self.previews.put(target, msgspec.convert(data, PreviewAnswer))
            except ElcanoError as error:
                self.previews.put(target, str(error))
            self._looking_at = ""
            if self.is_ready:
                self.query_one("#import-lines", Lines).draw()

        self.run_latest(look, group="preview")

    def _draw(self) -> None:
        folder = self.folder
        longest = max([16, *(len(row.name) + 2 for row in folder.rows[:500])])
        self._name_width = min(longest, max(16, self.size.width // 3))
        self.table.set_columns(
            [TableColumn("name", "folder", self._name_width, fixed=True), TableColumn("what", "what it is", 60)]
        )
        self.draw_rows()
        self.draw_state()

    def _why_empty(self) -> str:
        """Say why no row is shown; nothing is claimed of a folder that was not told of yet."""
        folder = self.folder
        if folder.trouble:
            return show_line(folder.trouble, 300)
        if folder.told is None:
            return _ASKING if self.model.link.is_connected else _NOT_ASKED
        if folder.rows:
            return "No folder passes the filter: Esc drops it." if self.typed else ""
        return _NO_ROOT if folder.is_roots else _NO_FOLDER

    def _cell(self, number: int, key: str) -> Sequence[Piece]:
        row = self.folder.rows[number]
        if key == "name":
            sign = "▸ " if row.kind == "folder" else ""
            return [(sign + show_end(row.name, self._name_width - len(sign)), "plain")]
        words, tone = describe_row(row, self.folder.told)
        return [(show_line(words, 200), tone)]

    def _headline(self, width: int) -> Sequence[Sequence[Piece]]:
        folder = self.folder
        where = (
            "the daemon's roots" if folder.asked is None else (folder.told.directory if folder.told else folder.asked)
        )
        line: list[Piece] = [(f" {show_end(where, max(20, width - 50))}", "strong"), (f"  {folder.describe()}", "dim")]
        if self.typed:
            line.append((f"  filter: {show_line(self.typed, 60)}", "warning"))
        lines = [line]
        if folder.trouble and folder.rows:
            lines.append([(f" ✗ {show_line(folder.trouble, 300)}", "failed")])
        return lines

    def _preview(self, width: int) -> Sequence[Sequence[Piece]]:
        row, target = self.row, self.target
        found = self.previews.get(target) if target else None
        if isinstance(found, PreviewAnswer):
            return draw_preview(found, width)
        if found is not None:
            return text_lines(found, width, "failed", sign="✗ ")
        if row is None or not target:
            return [[(" Move to a folder: what a session in it would be taken as is shown here.", "dim")]]
        if is_worth_a_look(row):
            return [[(f" looking into {show_end(target, max(10, width - 16))} …", "dim")]]
        lines: list[list[Piece]] = []
        if row.entry is not None and row.entry.passed_over:
            lines.append([(" ⚠ It holds movies that nobody processes.", "warning")])
        lines.append([(" No session.json lies in it.", "dim")])
        return [*lines, [(" Enter opens it; i imports it as it is.", "dim")]]

    def _status(self, width: int) -> Sequence[Sequence[Piece]]:
        del width
        if self._importing:
            span = show_span(self.terminal.clock_s() - self._began_s)
            return [[(f" ▸ importing {show_line(self._importing, 60)}, {span}", "running")]]
        if self._awaited_job:
            return [[(" ✓ imported; its job comes…", "done")]]
        if self.model.link.is_viewer:
            return [[(" viewers may look, not import", "warning")]]
        return [[(" i  imports what is under the cursor" if self.target else "", "dim")]]
