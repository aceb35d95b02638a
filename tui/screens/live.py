"""Live: does the daemon keep up, what limits it, how long do movies wait, and how long does the disk last."""

from collections.abc import Sequence
from typing import ClassVar

import msgspec
from textual.app import ComposeResult
from textual.containers import VerticalScroll

from daemon.errors import ElcanoError
from daemon.messages.live import LiveAnswer
from tui.core.live_lines import Section, lay_out, live_sections, node_sections, queue_section
from tui.core.model import Changes
from tui.core.spans import show_moment
from tui.core.text import show_line
from tui.screens.base import ElcanoScreen
from tui.screens.pausing_node import toggle_node
from tui.widgets.lines import Lines
from tui.widgets.tones import Piece

_ASK_EVERY_S = 5.0
_WINDOWS_S = (3600.0, 21_600.0, 86_400.0)


class LiveScreen(ElcanoScreen):
    """Asked for every few seconds while it is seen; loads and disks come with the heartbeats."""

    NAME = "live"
    AUTO_FOCUS: ClassVar[str | None] = "#live-body"

    def __init__(self) -> None:
        super().__init__()
        self._answer: LiveAnswer | None = None
        self._window_s = _WINDOWS_S[0]
        self._trouble = ""
        self._is_asking = False
        self._line_count = 0

    def compose_body(self) -> ComposeResult:
        """What is known, and below it what has no room."""
        with VerticalScroll(id="live-body"):
            yield Lines(self._draw_lines, fit=True, id="live-lines")
        yield Lines(self._footline, fit=True, id="footline")

    def on_mount(self) -> None:
        """Ask again and again."""
        self.set_interval(_ASK_EVERY_S, self._ask_if_seen)

    def draw_all(self) -> None:
        """Draw what is known, and ask anew."""
        self._draw()
        self._ask()

    def draw_changes(self, changes: Changes) -> None:
        """Draw what heartbeats and queues tell."""
        if changes.nodes or changes.queues or changes.link:
            self._draw()

    def draw_time(self) -> None:
        """Draw how old things are, and what is hidden."""
        self._draw()

    def do_window(self) -> None:
        """Look back over another time."""
        self._window_s = _WINDOWS_S[(_WINDOWS_S.index(self._window_s) + 1) % len(_WINDOWS_S)]
        self._ask()

    def do_pause_node(self) -> None:
        """Pause the node, or go on."""
        toggle_node(self)

    def _ask_if_seen(self) -> None:
        if self.app.screen is self:
            self._ask()

    def _ask(self) -> None:
        if not self._is_asking and self.model.link.is_connected:
            self._is_asking = True
            self.run_beside(self._renew, group="live")

    async def _renew(self) -> None:
        window_s = self._window_s
        try:
            answer = await self.terminal.link.ask("live", {"window_s": window_s})
            self._answer, self._trouble = msgspec.convert(answer, LiveAnswer), ""
        except ElcanoError as error:
            self._trouble = str(error)
        finally:
            self._is_asking = False
        if self.is_ready:
            self._draw()
            if window_s != self._window_s:
                self._ask()

    def _draw(self) -> None:
        self.query_one("#live-lines", Lines).draw()
        self.call_after_refresh(self.query_one("#footline", Lines).draw)

    def _draw_lines(self, width: int) -> Sequence[Sequence[Piece]]:
        now_s, link = self.terminal.stood_s(), self.model.link
        sections: list[Section] = []
        if self._answer is not None:
            stood = "" if link.is_connected else show_moment(self._answer.at_s, now_s)
            sections += live_sections(self._answer, width, stood)
        elif link.is_cut:
            sections.append(Section("keeping up", [[("? not known: it was not asked for before", "warning")]]))
        elif not self._trouble and self.model.link.is_connected:
            sections.append(Section("keeping up", [[("asking…", "dim")]]))
        sections.append(queue_section(self.model.queues.data))
        beats = [self.model.nodes[host] for host in sorted(self.model.nodes)]
        sections += node_sections(beats, now_s)
        lines = lay_out(sections, width)
        self._line_count = len(lines)
        return lines

    def _footline(self, width: int) -> Sequence[Sequence[Piece]]:
        del width
        lines: list[list[Piece]] = []
        if self._trouble:
            lines.append([(f" ⚠ {show_line(self._trouble, 300)}", "warning")])
        body = self.query_one("#live-body", VerticalScroll)
        hidden = self._line_count - body.size.height - round(body.scroll_y)
        words = f" ▼ {hidden} more lines: ↓ and PgDn show them" if hidden > 0 and body.size.height else ""
        return [*lines, [(words, "dim")]]  # there in any case, so that it takes no line from what it counts
