"""A question before something is done."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.core.text import show_line

_MOST = 12


class ConfirmScreen(ModalScreen[bool]):
    """Yes or no; the question says how many are meant."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,enter", "answer(True)", "yes"),
        Binding("n,escape,q", "answer(False)", "no"),
    ]

    def __init__(self, question: str, details: list[str]) -> None:
        super().__init__()
        self._question = question
        self._details = details

    def compose(self) -> ComposeResult:
        """Ask in a box."""
        more = len(self._details) - _MOST
        lines = [show_line(line, 200) for line in self._details[:_MOST]] + ([f"… and {more} more"] if more > 0 else [])
        with Vertical(id="confirm", classes="box"):
            yield Static(show_line(self._question, 400), id="confirm-question", markup=False)
            if lines:
                yield Static("\n".join(lines), id="confirm-details", markup=False)
            yield Static("y / Enter: do it     n / Esc: leave it", classes="keys", markup=False)

    def action_answer(self, answer: bool) -> None:
        """Go back with the answer."""
        self.dismiss(answer)
