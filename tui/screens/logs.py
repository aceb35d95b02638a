"""The daemon's log as it is written, and the notifications with their history."""

from collections.abc import Iterable, Sequence
from typing import ClassVar

import msgspec
from textual import events
from textual.app import ComposeResult

from daemon.errors import ElcanoError
from daemon.messages.news import LogEntry, LogsAnswer, NotificationEntry, NotificationsAnswer
from tui.core.log_lines import GAP, LEVELS, LogLines, LogView
from tui.core.model import Changes
from tui.core.selection import Filter, select_rows
from tui.core.spans import count_of, show_moment
from tui.core.states import Tone
from tui.core.text import show_end, show_line
from tui.screens.log_line import LogLineScreen, Part
from tui.screens.table_screen import TableScreen
from tui.widgets.filter_bar import FilterBar
from tui.widgets.line_table import LineTable, TableColumn
from tui.widgets.lines import Lines
from tui.widgets.paragraphs import wrap_text
from tui.widgets.tones import Piece

_LOGS_EVERY_S = 1.0
_NOTIFICATIONS_EVERY_S = 10.0
_AT_ONCE = 2000
_NARROW = 90
_SAID = 3
"""Lines below the log for what the chosen one says."""
_SHARE = 0.3
"""Of the height, for notifications, at most."""
_NO_LINES = "Nothing was logged yet. Lines come here as the daemon writes them, from [log] level in config.toml on."
_NOTHING_PASSES = "No line passes: Esc drops the filter, w shows every level again."
_NO_NOTES = "No notifications: what people should know about a session or this machine comes here, and stays."
_LEAST = ("debug", "warning", "error")
_LEAST_WORDS = {"debug": "every level", "warning": "warnings and errors", "error": "errors only"}
_LEVELS: dict[str, tuple[str, Tone]] = {
    "debug": ("  debug", "dim"),
    "info": ("· info", "plain"),
    "warning": ("⚠ warn", "warning"),
    "error": ("✗ error", "failed"),
    "critical": ("✗ grave", "failed"),
    GAP: ("… gap", "dim"),
}


class LogsScreen(TableScreen):
    """Notifications above, the log below; Tab goes from one to the other."""

    NAME = "logs"
    AUTO_FOCUS: ClassVar[str | None] = "#log"
    NOUN: ClassVar[str] = "line"

    def __init__(self) -> None:
        super().__init__()
        self.lines = LogLines()
        self.view = LogView(self.lines)
        self._least = _LEAST[0]
        self._follows = True
        self._is_held = False
        self._new = 0
        self._was_read_s = 0.0
        """Notifications raised later are marked as new as long as the screen is shown."""
        self._is_asking = False
        self._trouble = ""
        """Why the notifications could not be asked for."""

    @property
    def table(self) -> LineTable:
        """The pane that has the keys."""
        return self.notes_table if self.notes_table.has_focus else self.log_table

    @property
    def log_table(self) -> LineTable:
        """The log."""
        return self.query_one("#log", LineTable)

    @property
    def notes_table(self) -> LineTable:
        """The notifications."""
        return self.query_one("#notes", LineTable)

    def compose_body(self) -> ComposeResult:
        """Notifications, then the log."""
        yield FilterBar("words, level:warning, session:NAME, stage:ctf, -from:nats")
        yield Lines(self._notes_title, id="notes-title")
        yield LineTable(self._note_cell, empty=_NO_NOTES, id="notes")
        yield Lines(self._log_title, id="log-title")
        yield LineTable(self._log_cell, id="log")
        yield Lines(self._about, fit=True, id="log-about")

    def on_mount(self) -> None:
        """The log takes the keys, and is asked for as long as it is seen."""
        self._was_read_s = self.model.notifications.read_until_s
        self.log_table.focus()
        self.set_interval(_LOGS_EVERY_S, self._ask_logs)
        self.set_interval(_NOTIFICATIONS_EVERY_S, self._ask_notifications)

    def on_resize(self, event: events.Resize) -> None:
        """Give the messages what room there is."""
        self._set_columns(event.size.width)

    def on_screen_suspend(self) -> None:
        """Whatever was on the screen has been seen."""
        self.model.notifications.mark_read()
        self._was_read_s = self.model.notifications.read_until_s

    def draw_all(self) -> None:
        """Draw what is known, and ask for what came meanwhile."""
        self._set_columns(self.size.width)
        self._draw_notes()
        self._draw_log()
        self._ask_logs()
        self._ask_notifications()

    def draw_changes(self, changes: Changes) -> None:
        """Draw notifications as they are told."""
        if changes.notifications:
            self._draw_notes()
        if changes.link:
            self._draw_log()

    def draw_rows(self, touched: Iterable[int] | None = None) -> None:
        """Filter both panes."""
        del touched
        self._draw_notes()
        self._draw_log()

    def draw_state(self) -> None:
        """Draw what depends on cursor and filter."""
        for each in self.query(Lines):
            each.draw()

    def sort_keys(self) -> Sequence[str]:
        """Lines stand in the order they were written."""
        return []

    def order(self) -> Sequence[int]:
        """The numbers of the lines that are shown."""
        self.view.choose(Filter.parse(self.typed), self._least)
        return list(self.view.numbers())

    def on_line_table_moved(self, event: LineTable.Moved) -> None:
        """Going up holds the log, going to its end follows it again."""
        if event.table is self.log_table and not self._is_held:
            rows = event.table.rows
            self._follows = rows.place >= len(rows.order) - 1
            if self._follows:
                self._new = 0
        self.draw_state()

    def on_line_table_opened(self, event: LineTable.Opened) -> None:
        """Open what was clicked twice."""
        event.table.focus()
        self.action_act("open")

    def do_leave(self) -> None:
        """Leave; what was on the screen has been seen."""
        self.model.notifications.mark_read()
        super().do_leave()

    def do_pane(self) -> None:
        """Go to the other pane."""
        (self.log_table if self.notes_table.has_focus else self.notes_table).focus()
        self.call_after_refresh(self.draw_state)

    def do_hold(self) -> None:
        """Hold the log, or follow it again."""
        self._is_held = self._follows
        self._follows = not self._follows
        self._draw_log()

    def do_level(self) -> None:
        """Show fewer levels, then all again."""
        self._least = _LEAST[(_LEAST.index(self._least) + 1) % len(_LEAST)]
        self._draw_log()

    def do_mark_read(self) -> None:
        """Mark every notification as read."""
        self.model.notifications.mark_read()
        self._was_read_s = self.model.notifications.read_until_s
        self._draw_notes()
        self.draw_bars()

    def do_open(self) -> None:
        """Go to the task that the line is about; read the line where it is about none."""
        line = self._chosen_line()
        if line is None or not line.task_id:
            self.do_read()
            return
        from tui.screens.task import TaskScreen  # noqa: PLC0415

        self.app.push_screen(TaskScreen(line.task_id))

    def do_read(self) -> None:
        """Read the line, or the notification, to its end."""
        note, line = self._chosen_note(), self._chosen_line()
        if self.notes_table.has_focus:
            if note is not None:
                self.app.push_screen(LogLineScreen(_note_parts(note, self.terminal.clock_s())))
        elif line is not None:
            self.app.push_screen(LogLineScreen(_line_parts(line, self.terminal.clock_s())))

    def do_copy_line(self) -> None:
        """Copy the line, or the notification."""
        note, line = self._chosen_note(), self._chosen_line()
        text = note.message if note is not None else line.message if line is not None else ""
        if text:
            self.terminal.copy_out(show_line(text, 100_000))
            self.tell("The line was copied.")

    def _chosen_line(self) -> LogEntry | None:
        number = None if self.notes_table.has_focus else self.log_table.cursor_row
        return None if number is None or number < self.lines.begin else self.lines.line(number)

    def _chosen_note(self) -> NotificationEntry | None:
        row = self.notes_table.cursor_row if self.notes_table.has_focus else None
        return None if row is None else self.model.notifications.entries[row]

    def _ask_logs(self) -> None:
        if self.app.screen is self and self.model.link.is_connected and not self._is_asking:
            self._is_asking = True
            self.run_beside(self._read_on)

    async def _read_on(self) -> None:
        """Ask for the lines since the last answer. A refusal is told once: the next question says it anew."""
        try:
            asked = {"run": self.lines.run, "after": self.lines.last, "limit": _AT_ONCE}
            answer = msgspec.convert(await self.terminal.link.ask("logs", asked), LogsAnswer)
        except ElcanoError as error:
            self.log_table.empty = show_line(str(error), 300)
        else:
            before = self.lines.end
            if self.lines.take(answer) and not self._follows:
                self._new += self.lines.end - before
            self.log_table.empty = _NOTHING_PASSES if len(self.lines) else _NO_LINES
        finally:
            self._is_asking = False
        if self.is_ready:
            self._draw_log()

    def _ask_notifications(self) -> None:
        if self.app.screen is self and self.model.link.is_connected:
            self.run_beside(self._read_notifications)

    async def _read_notifications(self) -> None:
        """Ask for the history. A refusal stands in the pane: it is asked for again and again."""
        try:
            answer = msgspec.convert(await self.terminal.link.ask("notifications"), NotificationsAnswer)
        except ElcanoError as error:
            self._trouble = show_line(str(error), 300)
        else:
            self._trouble = ""
            self.model.notifications.take_answer(answer)
        if self.is_ready:
            self._draw_notes()
            self.draw_bars()

    def _draw_log(self) -> None:
        table = self.log_table
        table.show(self.order())
        if self._follows:
            self._new = 0
            table.move_to(len(table.rows.order) - 1)
        self.draw_state()

    def _draw_notes(self) -> None:
        chosen = Filter.parse(self.typed)
        entries = self.model.notifications.entries

        def keep(row: int) -> bool:
            return chosen.matches_text(f"{entries[row].message} {self.model.call(entries[row].session)}")

        known = select_rows(len(entries), keep=keep)
        self.notes_table.styles.height = max(3, min(len(known) + 1, round(_SHARE * self.size.height)))
        self.notes_table.show(known)
        self.draw_state()

    def _set_columns(self, width: int) -> None:
        room = max(30, width - 23)
        when, level = TableColumn("when", "time", 11, fixed=True), TableColumn("level", "level", 7, fixed=True)
        session, stage = TableColumn("session", "session", 14), TableColumn("stage", "stage", 17)
        if width < _NARROW:
            message = TableColumn("message", "message", room)
            self.log_table.set_columns([when, level, message, session, stage])
            self.notes_table.set_columns([when, level, message, session])
        else:
            self.log_table.set_columns(
                [when, level, session, stage, TableColumn("message", "message", max(30, room - 33))]
            )
            self.notes_table.set_columns([when, level, session, TableColumn("message", "message", max(30, room - 15))])

    def _log_cell(self, number: int, key: str) -> Sequence[Piece]:
        if number < self.lines.begin:
            return []
        line = self.lines.line(number)
        sign, tone = _LEVELS.get(line.level, (line.level, "plain"))
        if key == "when":
            return [(show_moment(line.at_s, self.terminal.clock_s()) if line.at_s else "", "dim")]
        if key == "level":
            return [(sign, tone)]
        if key == "message":
            # What is said comes first: names of one session begin alike, and fill the line.
            noted = [show_end(line.image, 16), show_line(line.facts.get("reason", ""), 300)]
            return [(show_line(line.message, 600), tone), *((f"  {part}", "dim") for part in noted if part)]
        return [(show_line(line.session if key == "session" else line.stage, 40), "plain")]

    def _note_cell(self, row: int, key: str) -> Sequence[Piece]:
        entry = self.model.notifications.entries[row]
        sign, tone = _LEVELS.get(entry.severity, (entry.severity, "plain"))
        if key == "when":
            return [(show_moment(entry.raised_at_s, self.terminal.clock_s()), "dim")]
        if key == "level":
            return [(sign, tone)]
        if key == "session":
            return [(self.model.call(entry.session) if entry.session else "the daemon", "plain")]
        is_new = entry.raised_at_s > self._was_read_s
        new: list[Piece] = [("● new ", "running")] if is_new else []
        return [*new, (show_line(entry.message, 600), "strong" if is_new else "plain")]

    def _notes_title(self, width: int) -> Sequence[Sequence[Piece]]:
        del width
        unread = sum(entry.raised_at_s > self._was_read_s for entry in self.model.notifications.entries)
        line: list[Piece] = [(f"{'›' if self.notes_table.has_focus else ' '} Notifications", "strong")]
        line.append((f"  ● {unread} new: x marks them read" if unread else "", "running"))
        return [[*line, (f"  ⚠ {self._trouble}" if self._trouble else "", "warning")]]

    def _log_title(self, width: int) -> Sequence[Sequence[Piece]]:
        del width
        line: list[Piece] = [(f"{' ' if self.notes_table.has_focus else '›'} Log", "strong")]
        line.append((f"  {_LEAST_WORDS[self._least]}", "plain"))
        shown, known = len(self.log_table.rows.order), len(self.lines)
        line.append(
            (f"  {shown} of {count_of(known, 'line')}" if shown != known else f"  {count_of(known, 'line')}", "dim")
        )
        if self._follows:
            line.append(("  ▸ following", "done"))
        else:
            line.append((f"  ‖ held: f or G follows{f', {self._new} new' if self._new else ''}", "warning"))
        return [line]

    def _about(self, width: int) -> Sequence[Sequence[Piece]]:
        """What the chosen line says, as far as three rows go, and in one more what was noted with it."""
        line = self._chosen_line()
        if line is None or line.level == GAP:
            return []
        facts = dict(line.facts)
        said = "  ".join(part for part in (line.message, facts.pop("reason", "")) if part)
        wrapped = wrap_text(said, max(10, width - 2))
        if len(wrapped) > _SAID:
            wrapped[_SAID - 1] = f"{wrapped[_SAID - 1][: max(8, width - 16)]} … i reads on"
        tone = _LEVELS.get(line.level, ("", "plain"))[1]
        goes = "Enter: its task" if line.task_id else ""
        noted = "  ".join(f"{key}={value}" for key, value in facts.items())
        words = show_line("  ".join(part for part in (goes, line.image, f"from {line.source}", noted) if part))
        cut = words if len(words) < width else f"{words[: max(8, width - 3)]}…"
        return [*([(f" {row}", tone)] for row in wrapped[:_SAID]), [(f" {cut}", "dim")]]


def _line_parts(line: LogEntry, now_s: float) -> list[Part]:
    """Return what there is to read of a line."""
    sign, tone = _LEVELS.get(line.level, (line.level, "plain"))
    head = "  ".join(
        part for part in (show_moment(line.at_s, now_s), sign.strip(), line.session, line.stage, line.image) if part
    )
    parts: list[Part] = [("", head, "dim"), ("", line.message, tone), ("from", line.source, "plain")]
    return [*parts, *((key, value, "plain") for key, value in line.facts.items())]


def _note_parts(entry: NotificationEntry, now_s: float) -> list[Part]:
    """Return what there is to read of a notification."""
    sign, tone = _LEVELS.get(entry.severity, (entry.severity, "plain"))
    head = "  ".join((show_moment(entry.raised_at_s, now_s), sign.strip(), entry.session or "the daemon"))
    return [
        ("", head, "dim"),
        ("", entry.message, tone),
        ("what to do", entry.hint, "plain"),
        ("kind", entry.kind, "dim"),
    ]


assert set(LEVELS) <= set(_LEVELS)
