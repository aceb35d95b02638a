"""The first line: who, where, and the tabs; what has no room is left out from the least important on."""

from collections.abc import Iterator

from rich.cells import cell_len
from textual.strip import Strip
from textual.widget import Widget

from tui.core.text import show_line
from tui.tabs import TABS
from tui.terminal import terminal_of
from tui.widgets.tones import Piece, segments_of


class TopBar(Widget):
    """Tabs with their keys, the host, the role; the tab that is open is marked by brackets."""

    def draw(self) -> None:
        """Draw it again."""
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw the line: the first way that has room, the one with numbers alone where none has."""
        del y
        base = self.rich_style
        width = self.size.width
        for left, role in self._ways():
            used = sum(cell_len(text) for text, _ in (*left, *role))
            if used <= width:
                break
        hosts = self._hosts()
        gap = width - used
        aside = " " * (gap - cell_len(hosts)) + hosts if gap > cell_len(hosts) else " " * max(0, gap)
        pieces = [*left, (aside, "plain"), *role]
        return Strip(segments_of(pieces, base, dark=self.app.current_theme.dark)).adjust_cell_length(width, base)

    def _ways(self) -> Iterator[tuple[list[Piece], list[Piece]]]:
        """Name, tabs and role: every title as long as there is room, then that of the open tab only."""
        is_viewer = terminal_of(self).model.link.is_viewer
        # What a viewer must know stays, in fewer words if need be.
        long: list[Piece] = [(" viewer: look only ", "warning")] if is_viewer else []
        short: list[Piece] = [(" look only ", "warning")] if is_viewer else []
        name: list[Piece] = [(" Elcano ", "strong")]
        titled, numbered = self._tabs(are_titled=True), self._tabs(are_titled=False)
        yield from (([*name, *titled], role) for role in (long, short))
        yield titled, short
        yield from (([*name, *numbered], role) for role in (long, short))
        yield numbered, short

    def _tabs(self, *, are_titled: bool) -> list[Piece]:
        open_tab = str(self.app.current_mode)
        unread = terminal_of(self).model.notifications.unread
        pieces: list[Piece] = []
        for tab in TABS:
            is_open = tab.name == open_tab
            dot = "●" if unread and tab.name == "logs" else ""
            if is_open or are_titled:
                words = f"{tab.key} {tab.title}" + (f" {dot}{unread}" if dot else "")
            else:
                words = f"{tab.key}{dot}"
            pieces.append((f" [{words}]" if is_open else f" {words}", "strong" if is_open else "plain"))
        return pieces

    def _hosts(self) -> str:
        hosts = ", ".join(sorted(show_line(host, 40) for host in terminal_of(self).model.nodes))
        return f"{hosts} " if hosts else ""
