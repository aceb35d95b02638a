"""The line that says what is wrong with the way to the daemon, and whatever else nobody may overlook."""

from textual.strip import Strip
from textual.widget import Widget

from tui.core.link_state import LinkPhase
from tui.core.load import banner_words
from tui.core.spans import show_moment
from tui.core.text import show_line
from tui.terminal import terminal_of
from tui.widgets.tones import Piece, segments_of

_PHASES = {
    LinkPhase.CONNECTING: "connecting",
    LinkPhase.LOST: "connection lost, trying again",
    LinkPhase.NOT_RUNNING: "no daemon, trying again",
    LinkPhase.REFUSED: "cannot connect, trying again",
}

_MOST_LINES = 3


class Banner(Widget):
    """One or more lines, none while all is well."""

    def draw(self) -> None:
        """Draw it again, or take it away."""
        lines = self._lines()
        self.display = bool(lines)
        self.styles.height = len(lines)
        self.refresh()

    def on_mount(self) -> None:
        """Begin as things stand."""
        self.draw()

    def render_line(self, y: int) -> Strip:
        """Draw a line."""
        lines = self._lines()
        base = self.rich_style
        pieces: list[Piece] = lines[y] if y < len(lines) else []
        strip = Strip(segments_of(pieces, base, dark=self.app.current_theme.dark))
        return strip.adjust_cell_length(self.size.width, base)

    def _lines(self) -> list[list[Piece]]:
        model = terminal_of(self).model
        lines: list[list[Piece]] = []
        link = model.link
        if not link.is_connected:
            what = _PHASES[link.phase]
            since = f" since {show_moment(link.since_s, terminal_of(self).clock_s())}" if link.since_s else ""
            shown = "; what is shown stood then" if link.was_connected else ""
            lines.append([(f" ⚠ {what}{since}{shown}. {show_line(link.message, 300)}", "warning")])
        for pause in model.queues.paused:
            what = " of ".join(word for word in (pause["stage"], pause["session"] or pause["session_id"]) if word)
            why = f": {pause['why']}" if pause["why"] else ""
            words_of = f" ‖ paused: {what or 'the node'}, by {pause['asked_by']}{why}"
            lines.append([(show_line(words_of, 300), "warning")])
        now_s = terminal_of(self).clock_s()
        lines += [list(line) for line in banner_words([model.nodes[host] for host in sorted(model.nodes)], now_s)]
        return lines[:_MOST_LINES]
