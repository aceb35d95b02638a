"""Asks for one line: a number, or the reason of what is about to be done."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from daemon.messages.arguments import LONGEST_REASON
from tui.core.text import show_line
from tui.screens.base import ElcanoScreen

_MOST = 14


class AskLineScreen(ModalScreen[str | None]):
    """Returns what was typed, None when it was left. `problem` says what is wrong with a line, if anything is."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "leave")]

    def __init__(
        self,
        question: str,
        details: Sequence[str],
        typed: str = "",
        *,
        hint: str = "",
        keys: str = "Enter: do it     Esc: leave it",
        problem: Callable[[str], str] = lambda _: "",
    ) -> None:
        super().__init__()
        self._question = question
        self._details = details
        self._typed = typed
        self._hint = hint
        self._keys = keys
        self._problem = problem

    def compose(self) -> ComposeResult:
        """The question, what follows from it, and the line."""
        more = len(self._details) - _MOST
        lines = [show_line(line, 200) for line in self._details[:_MOST]] + ([f"… and {more} more"] if more > 0 else [])
        with Vertical(classes="box"):
            yield Static(show_line(self._question, 400), classes="title", markup=False)
            if lines:
                yield Static("\n".join(lines), classes="details", markup=False)
            yield Input(self._typed, placeholder=self._hint, compact=True)
            yield Static("", id="trouble", markup=False)
            yield Static(self._keys, classes="keys", markup=False)

    def on_mount(self) -> None:
        """The line takes the keys."""
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take it, if nothing is wrong with it."""
        typed = event.value.strip()
        problem = self._problem(typed)
        if problem:
            self.query_one("#trouble", Static).update(show_line(problem, 200))
        else:
            self.dismiss(typed)

    def action_leave(self) -> None:
        """Answer nothing."""
        self.dismiss(None)


def ask_why(
    screen: ElcanoScreen, question: str, details: Sequence[str], act: Callable[[str], None], typed: str = ""
) -> None:
    """Ask whether it is to be done, and why; the answer is recorded with who gave it."""

    def decided(why: str | None) -> None:
        if why is not None:
            act(why)

    box = AskLineScreen(
        question,
        [*details, "It is recorded with your name and, if you type it, why:"],
        typed,
        hint="why (may stay empty)",
        problem=lambda typed: f"At most {LONGEST_REASON} characters." if len(typed) > LONGEST_REASON else "",
    )
    screen.app.push_screen(box, decided)
