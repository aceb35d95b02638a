"""The line that says what is wrong with the way to the daemon, and whatever else nobody may overlook."""

from typing import Protocol, runtime_checkable

from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from tui.core.link_state import LinkPhase
from tui.core.load import banner_words
from tui.core.spans import show_moment
from tui.core.text import show_line
from tui.terminal import terminal_of
from tui.widgets.paragraphs import wrap_text
from tui.widgets.tones import Piece, segments_of

_PHASES = {
    LinkPhase.CONNECTING: "connecting",
    LinkPhase.LOST: "connection lost, trying again",
    LinkPhase.NOT_RUNNING: "no daemon, trying again",
    LinkPhase.REFUSED: "cannot connect, trying again",
}

_MOST_LINES = 3


@runtime_checkable
class Stands(Protocol):
    """A screen that knows how old it is."""

    def stands_since_s(self) -> float | None:
        """When that was which is shown; None where nothing is."""
        ...


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

    def on_resize(self) -> None:
        """Another width takes other lines."""
        self.draw()

    def render_line(self, y: int) -> Strip:
        """Draw a line."""
        lines = self._lines()
        base = self.rich_style
        pieces: list[Piece] = lines[y] if y < len(lines) else []
        strip = Strip(segments_of(pieces, base, dark=self.app.current_theme.dark))
        width = self.size.width
        if strip.cell_length > width:
            seen = list(strip.crop(0, max(0, width - 1)))
            strip = Strip([*seen, Segment("…", seen[-1].style if seen else base)])
        return strip.adjust_cell_length(width, base)

    def _lines(self) -> list[list[Piece]]:
        model = terminal_of(self).model
        lines: list[list[Piece]] = self._link_lines()
        for pause in model.queues.paused:
            session = model.call(pause["session"]) if pause["session"] else pause["session_id"]
            what = " of ".join(word for word in (pause["stage"], session) if word)
            why = f": {pause['why']}" if pause["why"] else ""
            words_of = f" ‖ paused: {what or 'the node'}, by {pause['asked_by']}{why}"
            lines.append([(show_line(words_of, 300), "warning")])
        now_s = terminal_of(self).stood_s()
        lines += [list(line) for line in banner_words([model.nodes[host] for host in sorted(model.nodes)], now_s)]
        return lines[:_MOST_LINES]

    def _link_lines(self) -> list[list[Piece]]:
        """What is wrong with the connection, from when things are that are shown, why, and what to do."""
        terminal = terminal_of(self)
        link, now_s = terminal.model.link, terminal.clock_s()
        if link.is_connected:
            return []
        since = f" since {show_moment(link.since_s, now_s)}" if link.since_s else ""
        said = [f"⚠ {_PHASES[link.phase]}{since}{self._stood(now_s)}.", link.message, link.hint]
        width = max(20, self.size.width or self.app.size.width)
        wrapped = wrap_text(" ".join(part for part in said if part), width - 3)
        if len(wrapped) > _MOST_LINES:
            wrapped[_MOST_LINES - 1] = f"{wrapped[_MOST_LINES - 1][: width - 5]} …"
        return [[(f" {'  ' if number else ''}{line}", "warning")] for number, line in enumerate(wrapped[:_MOST_LINES])]

    def _stood(self, now_s: float) -> str:
        """Say from when that is which stands on the screen, once nothing new comes."""
        link = terminal_of(self).model.link
        screen = self.screen
        if not link.is_cut or not isinstance(screen, Stands):
            return ""
        since_s = screen.stands_since_s()
        if since_s is None:
            return "; nothing of this screen was asked for before"
        return (
            "; what is shown stood then"
            if since_s >= link.since_s
            else f"; what is shown is of {show_moment(since_s, now_s)}"
        )
