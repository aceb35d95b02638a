"""The last line: the keys of this screen, as many as there is room for; what this person may not do is dim."""

from rich.cells import cell_len
from textual.strip import Strip
from textual.widget import Widget

from tui.actions import Action, actions_of, why_not
from tui.terminal import terminal_of
from tui.widgets.tones import Piece, segments_of


class KeyBar(Widget):
    """Keys with their words; `?` and `q` always stand there."""

    def draw(self) -> None:
        """Draw it again."""
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw the line."""
        del y
        base = self.rich_style
        screen = getattr(self.screen, "NAME", "")
        shown = [action for action in actions_of(screen) if action.in_bar]
        always = [action for action in shown if action.name in {"help", "leave"}]
        room = self.size.width - sum(self._width(action) for action in always)
        pieces: list[Piece] = []
        for action in shown:
            if action in always:
                continue
            room -= self._width(action)
            if room < 0:
                break
            pieces += self._pieces(action)
        for action in always:
            pieces += self._pieces(action)
        strip = Strip(segments_of(pieces, base, dark=self.app.current_theme.dark))
        return strip.adjust_cell_length(self.size.width, base)

    def _pieces(self, action: Action) -> list[Piece]:
        link = terminal_of(self).model.link
        may = not why_not(action, is_viewer=link.is_viewer, is_connected=link.is_connected)
        return [(f" {action.key_words} ", "strong" if may else "dim"), (f"{action.label} ", "plain" if may else "dim")]

    def _width(self, action: Action) -> int:
        return cell_len(f" {action.key_words} {action.label} ")
