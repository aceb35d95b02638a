"""What is seen while there is no daemon: what is the matter, how to start one, and that it is tried again."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.core.link_state import LinkPhase
from tui.core.text import show_line
from tui.terminal import terminal_of


class WaitingScreen(ModalScreen[None]):
    """Stands before everything until the daemon answers."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("q,ctrl+q,escape", "app.quit", "quit")]

    def compose(self) -> ComposeResult:
        """Say it in a box."""
        with Vertical(id="waiting", classes="box"):
            yield Static("", id="waiting-text", markup=False)

    def on_mount(self) -> None:
        """Say what is known."""
        self.draw()

    def draw(self) -> None:
        """Say it again."""
        for text in self.query("#waiting-text").results(Static):  # none before it is composed
            text.update("\n".join(self._lines()))

    def _lines(self) -> list[str]:
        link = terminal_of(self).model.link
        if link.phase is LinkPhase.REFUSED:
            return [show_line(link.message), show_line(link.hint), "", "Trying again every few seconds. q leaves."]
        return [
            show_line(link.message or "No elcano daemon answers."),
            "",
            "Start one in another terminal:",
            f"    {link.command('run')}",
            "or try it with simulated movies:",
            "    elcano demo",
            "or name the configuration of the one that runs:",
            "    elcano tui --config FILE",
            "",
            "This screen goes away by itself when the daemon answers. q leaves.",
        ]
