"""Every key of a screen, from the one registry of actions."""

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.actions import actions_of, why_not
from tui.core.states import TASK_STATES, show_task
from tui.tabs import TABS
from tui.terminal import terminal_of

_TABLE_KEYS = (
    ("↑ ↓ PgUp PgDn", "Move; g and G go to the first and last row."),
    ("← →", "Move between stages, or scroll aside."),
    ("Shift ↑ ↓", "Select as you move."),
    ("mouse", "Click: cursor; title: sort; Ctrl and Shift: select; twice: open."),
)


class HelpScreen(ModalScreen[None]):
    """Stands before a screen until a key is pressed."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,enter", "app.pop_screen", "close")]

    def __init__(self, screen: str) -> None:
        super().__init__()
        self._of = screen

    def compose(self) -> ComposeResult:
        """List the keys in a box."""
        with VerticalScroll(id="help", classes="box"):
            yield Static(self._text())

    def _text(self) -> Text:
        link = terminal_of(self).model.link
        text = Text()
        for action in actions_of(self._of):
            reason = why_not(action, is_viewer=link.is_viewer, is_connected=link.is_connected)
            keys = " ".join(action.all_key_words)
            text.append(f"{keys:>14}  ", style="bold")
            text.append(f"{action.help}\n")
            if reason:
                text.append(f"{'':>16}{reason}\n", style="dim")
        text.append("\n")
        for keys, words in _TABLE_KEYS:
            text.append(f"{keys:>14}  ", style="bold")
            text.append(f"{words}\n")
        text.append(f"\n{'screens':>14}  ", style="bold")
        text.append("  ".join(f"{tab.key} {tab.title}" for tab in TABS))
        text.append(f"\n{'states':>14}  ", style="bold")
        text.append("  ".join(str(show_task(state)) for state in TASK_STATES))
        text.append(f"\n{'palette':>14}  ", style="bold")
        text.append("^p finds every command by typing.")
        return text
