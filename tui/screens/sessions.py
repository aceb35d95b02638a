"""Sessions: projects, sessions, grids, squares, holes and exposures as a tree, and what is known of each."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import msgspec
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.message import Message
from textual.timer import Timer

from daemon.errors import ElcanoError
from daemon.messages.sessions import LONGEST_TITLE, SessionAnswer, SessionInfo, SessionsAnswer, TreeAnswer
from tui.core.calling import call_session
from tui.core.model import Changes
from tui.core.selection import Filter
from tui.core.session_tree import PAGE, SessionTree, TreeRow
from tui.core.spans import count_of
from tui.core.states import Tone
from tui.core.text import show_end, show_line
from tui.screens.ask_line import AskLineScreen
from tui.screens.jumps import open_job
from tui.screens.table_screen import TableScreen
from tui.widgets.bars import count_bar
from tui.widgets.filter_bar import FilterBar
from tui.widgets.line_table import LineTable, TableColumn
from tui.widgets.lines import Lines
from tui.widgets.session_lines import draw_node, draw_project, draw_session, show_state
from tui.widgets.tones import Piece

_REFRESH_S = 2.0
_POLL_S = 15.0
_REST_S = 0.3
_WIDE = 130
_BAR = 12
_MOST_BRANCHES = 20
_NO_SESSION = "No session has been imported yet: 2 (Import), or `elcano import DIR`, brings one."
_COLUMNS = (
    TableColumn("state", "state", 11),
    TableColumn("bar", "exposures", _BAR),
    TableColumn("all", "of", 6, right=True),
    TableColumn("done", "done", 6, right=True),
    TableColumn("failed", "failed", 6, right=True),
    TableColumn("passing", "pass", 6, right=True),
    TableColumn("refused", "refused", 7, right=True),
)


class BranchTable(LineTable):
    """A table in which left and right close and open branches."""

    class Turned(Message):
        """A branch is to be opened, or closed."""

        def __init__(self, is_wanted: bool) -> None:
            super().__init__()
            self.is_wanted = is_wanted

    def action_aside(self, step: int) -> None:
        """Open or close."""
        self.post_message(self.Turned(step > 0))

    def scroll_aside(self, step: int) -> None:
        """Scroll the columns aside."""
        super().action_aside(step)


class SessionsScreen(TableScreen):
    """Enter, or right and left, open and close branches; what is done is done to the session that a row is of."""

    NAME = "sessions"
    NOUN: ClassVar[str] = "row"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("shift+right", "aside(1)", "aside", show=False),
        Binding("shift+left", "aside(-1)", "back", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.tree_of = SessionTree()
        self._told: dict[str, SessionAnswer | str] = {}
        self._is_asking = False
        self._is_outdated = False
        self._moved: set[str] = set()
        self._rest: Timer | None = None
        self._name_width = 30
        self._trouble = ""

    def compose_body(self) -> ComposeResult:
        """The tree, and what is under the cursor."""
        yield FilterBar("part of a title or name")
        with Container(id="sessions-body"):
            yield BranchTable(self._cell)
            with VerticalScroll(id="sessions-side"):
                yield Lines(self._details, fit=True, id="sessions-details")

    def on_mount(self) -> None:
        """Look again from time to time, for what no event tells."""
        self.set_interval(_POLL_S, self._poll)

    def on_resize(self, event: events.Resize) -> None:
        """Details stand beside the tree where there is room."""
        self.set_class(event.size.width >= _WIDE, "roomy")
        self._draw()

    def order(self) -> Sequence[int]:
        """As a tree stands, newest session first."""
        return self.tree_of.order(Filter.parse(self.typed))

    def sort_keys(self) -> Sequence[str]:
        """A tree has one order."""
        return []

    def draw_all(self) -> None:
        """Draw what is known, and ask again."""
        self._moved |= {info.session_id for info in self.tree_of.sessions}
        self._told.clear()
        self._draw()
        self._ask()

    def draw_changes(self, changes: Changes) -> None:
        """Ask again for what moved."""
        moved = {self.model.jobs.rows[row].summary.session_id for row in changes.job_rows} | changes.sessions
        if moved:
            self._moved |= moved
            self._ask()
        if changes.queues:
            self._draw()

    def draw_state(self) -> None:
        """Draw what is under the cursor, and ask for it once the cursor rests."""
        for lines in self.query(Lines):
            lines.draw()
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(_REST_S, self._look)

    def do_open(self) -> None:
        """Open or close the branch under the cursor, or read more of it."""
        row = self.row
        if row is None:
            return
        if row.kind == "more":
            assert row.session is not None
            self._read(row.session.session_id, row.parent)
        elif self.tree_of.can_open(row):
            place = self.tree_of.turn(row)
            if place is not None:
                self._read(*place)
            self._draw()
        elif row.kind == "session":
            self.tell("No image of this session is known yet.")

    def on_branch_table_turned(self, event: BranchTable.Turned) -> None:
        """Open the branch under the cursor; or close it, or go to what it lies in."""
        row, is_wanted = self.row, event.is_wanted
        if row is None:
            return
        if self.tree_of.can_open(row) and self.tree_of.is_open(row) is not is_wanted:
            self.do_open()
        elif not is_wanted and (above := self.tree_of.parent_of(row)) is not None:
            self.table.move_to(self.table.rows.position_of(above) or 0)
        elif is_wanted and self.tree_of.can_open(row):
            self.table.move_to(self.table.rows.place + 1)

    def action_aside(self, step: int) -> None:
        """Scroll the columns aside."""
        self.query_one(BranchTable).scroll_aside(step)

    def do_open_job(self) -> None:
        """Go to the job of the session."""
        session = self._session()
        if session is None:
            return
        if not session.job_id:
            self.tell("This session has no job.")
            return
        open_job(self, session.job_id)

    def do_rename(self) -> None:
        """Ask for a title."""
        session = self._session()
        if session is None:
            return

        def named(title: str | None) -> None:
            if title is not None and title != session.title:
                asked = {"session": session.session_id, "title": title}
                words = f"{session.name} is titled {title!r}." if title else f"{session.name} has no title any more."
                self.command("session.rename", asked, lambda _: words)

        details = ["For people only: name, folders and files stay. Empty takes it away."]

        def problem(typed: str) -> str:
            return f"At most {LONGEST_TITLE} characters." if len(typed) > LONGEST_TITLE else ""

        question = f"Title of {session.name}?"
        self.app.push_screen(AskLineScreen(question, details, session.title, problem=problem), named)

    def do_close_session(self) -> None:
        """Expect no more movies."""
        session = self._session()
        if session is None:
            return
        if session.state == "closed":
            self.tell(f"{_called(session)} is closed already; a late movie opens it again.")
            return
        details = [f"{count_of(session.counts.waiting, 'exposure')} wait or run: they are finished first."]
        details = details if session.counts.waiting else []
        self.confirm(
            f"Close {_called(session)}: expect no more movies of 1 session?",
            [*details, "A movie that comes later opens it again."],
            partial(self.command, "session.close", {"session": session.session_id}, partial(_told_closed, session)),
        )

    def do_pause(self) -> None:
        """Begin nothing new of the session, or go on."""
        session = self._session()
        if session is None:
            return
        verb = "resume" if self.model.pause_of(session.session_id) else "pause"
        words = "Go on with" if verb == "resume" else "Begin nothing new of"
        self.confirm(
            f"{words} 1 session, {_called(session)}?",
            [f"{count_of(session.counts.waiting, 'exposure')} wait or run"],
            partial(
                self.command,
                f"session.{verb}",
                {"session": session.session_id},
                lambda _: f"{_called(session)}: {verb}d.",
            ),
        )

    def do_write_report(self) -> None:
        """Have the report written."""
        session = self._session()
        if session is not None:
            self.tell(f"Writing the report of {_called(session)}…")
            asked = {"session": session.session_id}
            self.command("session.report", asked, lambda done: f"Report written: {done['path']}", timeout_s=300.0)

    def do_copy(self) -> None:
        """Copy where the raw data and the results of the session are."""
        session = self._session()
        if session is not None:
            self.terminal.copy_out(f"{session.raw_directory}\n{session.home}")
            self.tell("2 paths copied: raw data and results.")

    @property
    def row(self) -> TreeRow | None:
        """The row under the cursor."""
        number = self.table.cursor_row
        return None if number is None else self.tree_of.rows[number]

    def _session(self) -> SessionInfo | None:
        row = self.row
        if row is None or row.session is None:
            self.tell("Move to a session first.")
            return None
        return row.session

    def _poll(self) -> None:
        if self.app.screen is self:
            self._ask()

    def _ask(self) -> None:
        """Ask what has moved, one question at a time, and not too often."""
        if self._is_asking or not self.model.link.is_connected:
            self._is_outdated = self._is_asking
            return
        self._is_asking, self._is_outdated = True, False
        self.run_beside(self._renew, group="sessions")

    async def _renew(self) -> None:
        try:
            data = await self.terminal.link.ask("sessions")
            self.tree_of.take_sessions(msgspec.convert(data, SessionsAnswer).sessions)
            self._trouble = ""
            moved, self._moved = self._moved, set()
            shown = [place for place in self.tree_of.open_branches() if place[0] in moved]
            for session_id, parent, known in shown[:_MOST_BRANCHES]:
                await self._fetch(session_id, parent, 0, max(PAGE, min(known, 500)))
            for session_id in moved:
                self._told.pop(session_id, None)
        except ElcanoError as error:
            self._trouble = str(error)
        finally:
            if self.is_ready:
                self._draw()
                self.set_timer(_REFRESH_S, self._ask_again)

    def _ask_again(self) -> None:
        self._is_asking = False
        if self._is_outdated:
            self._ask()

    def _read(self, session_id: str, parent: str | None) -> None:
        async def read() -> None:
            branch = self.tree_of.branch(session_id, parent)
            try:
                await self._fetch(session_id, parent, len(branch.nodes), PAGE)
            except ElcanoError as error:
                branch.trouble = str(error)
            if self.is_ready:
                self._draw()

        self.run_beside(read, group="branch")

    async def _fetch(self, session_id: str, parent: str | None, offset: int, limit: int) -> None:
        asked: Mapping[str, Any] = {"session": session_id, "parent": parent, "offset": offset, "limit": limit}
        self.tree_of.take_branch(msgspec.convert(await self.terminal.link.ask("tree", asked), TreeAnswer))

    def _look(self) -> None:
        """Ask for all of the session under the cursor."""
        row = self.row
        session = None if row is None else row.session
        if session is None or session.session_id in self._told or not self.model.link.is_connected:
            return
        session_id = session.session_id

        async def look() -> None:
            try:
                data = await self.terminal.link.ask("session", {"session": session_id})
                self._told[session_id] = msgspec.convert(data, SessionAnswer)
            except ElcanoError as error:
                self._told[session_id] = str(error)
            if self.is_ready:
                self.query_one("#sessions-details", Lines).draw()

        self.run_latest(look, group="session")

    def _draw(self) -> None:
        if not self.is_ready:
            return
        room = self.size.width * (55 if self.has_class("roomy") else 100) // 100
        self._name_width = max(22, min(60, room - 66))
        self.table.set_columns([TableColumn("name", "session", self._name_width, fixed=True), *_COLUMNS])
        self.table.empty = show_line(self._trouble, 300) or (_NO_SESSION if self.tree_of.is_known else "asking…")
        self.draw_rows()
        self.draw_state()

    def _cell(self, number: int, key: str) -> Sequence[Piece]:
        row = self.tree_of.rows[number]
        if key == "name":
            return self._name_cell(row)
        if row.kind == "more":
            return []
        if key == "state":
            return show_state(row, is_paused=self._is_paused(row))
        if key == "bar":
            return count_bar(row.steps, _BAR) if row.counts.exposures else [("–", "dim")]
        value = row.counts.exposures if key == "all" else getattr(row.counts, key)
        tone: Tone = "failed" if value and key == "failed" else "warning" if value and key == "refused" else "plain"
        return [(str(value) if value else "–", tone if value else "dim")]

    def _name_cell(self, row: TreeRow) -> Sequence[Piece]:
        sign = "  "
        if self.tree_of.can_open(row):
            sign = "▾ " if self.tree_of.is_open(row) else "▸ "
        indent = "  " * row.depth + sign
        name = show_end(row.short or row.name, max(8, self._name_width - len(indent)))
        if row.kind == "session" and row.session is not None and row.session.title:
            return [(indent + name, "strong"), (f"  {show_line(row.session.name, 60)}", "dim")]
        return [(indent + name, "strong" if row.kind == "session" else "dim" if row.kind == "more" else "plain")]

    def _is_paused(self, row: TreeRow) -> bool:
        session = row.session
        return session is not None and self.model.pause_of(session.session_id) is not None

    def _details(self, width: int) -> Sequence[Sequence[Piece]]:
        row, now_s = self.row, self.terminal.stood_s()
        if row is None:
            return []
        if row.kind == "project":
            inside = sum((info.project or "(no project)") == row.name for info in self.tree_of.sessions)
            return draw_project(row, inside)
        if row.session is None:
            return []
        told = self._told.get(row.session.session_id)
        pause = self.model.pause_of(row.session.session_id)
        lines = draw_node(row, width) if row.node is not None else []
        return [*lines, *draw_session(row.session, told, pause, now_s, width)]


def _called(session: SessionInfo) -> str:
    return call_session(session.title, session.name)


def _told_closed(session: SessionInfo, done: Mapping[str, Any]) -> str:
    if done["closed"]:
        return f"{_called(session)} is closed."
    return f"{_called(session)} will be closed. Before that: {done['unfinished']}."
