"""Accepting and rejecting micrographs by hand: the same from the list and one by one."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from daemon.messages.arguments import LONGEST_REASON
from tui.core.gate_words import refused_words
from tui.core.spans import count_of
from tui.core.text import show_line
from tui.screens.base import ElcanoScreen

Verb = Literal["accept", "reject", "unmark"]
_DONE = {"accept": "Accepted", "reject": "Rejected", "unmark": "Left to the gates again"}
_ASKED = {
    "accept": "Accept {what}, whatever the gates say?",
    "reject": "Reject {what}, whatever the gates say?",
    "unmark": "Leave {what} to the gates again?",
}


def mark_images(
    screen: ElcanoScreen, verb: Verb, session: str, names: Sequence[str], why: str, then: Callable[[], None]
) -> None:
    """Have micrographs judged by hand: one at once, several after a question that says what follows."""
    if not names:
        screen.tell("There is no micrograph to judge: a movie that is not whole, or was set aside, has none.")
        return
    asked = {"session": session, "images": list(names), "why": why}

    def done(data: Any) -> None:
        screen.tell(f"{_DONE[verb]}: {show_line(names[0], 60) if len(names) == 1 else len(names)}.{_told(data)}")
        then()

    def act(token: str | None = None) -> None:
        screen.ask_then(f"image.{verb}", {**asked, "token": token}, done, timeout_s=120.0)

    def decide(data: Any) -> None:
        what = count_of(len(names), "micrograph")
        details = [f"{data['passes']} pass then, {refused_words(data)}.{_told(data)}"]
        if why:
            details.append(f"Because: {why}")
        screen.confirm(_ASKED[verb].format(what=what), details, lambda: act(data["token"]))

    if len(names) == 1:
        act()
    else:
        screen.ask_then(f"image.{verb}", {**asked, "preview": True}, decide, timeout_s=120.0)


def _told(data: Any) -> str:
    parts = [
        f"{count_of(data[key], 'step')} {words}"
        for key, words in (("tasks_reopened", "taken up again"), ("tasks_skipped", "skipped"))
        if data[key]
    ]
    return f" {', '.join(parts)}." if parts else ""


class ReasonScreen(ModalScreen[str | None]):
    """Asks why micrographs are accepted or rejected from now on."""

    BINDINGS = [Binding("escape", "leave", "leave")]  # noqa: RUF012 - Textual's own way

    def __init__(self, why: str) -> None:
        super().__init__()
        self._why = why

    def compose(self) -> ComposeResult:
        """One line to type in."""
        with Vertical(classes="box"):
            yield Static("Why are they accepted or rejected?", classes="title", markup=False)
            yield Static("It is recorded with each one, until you change it here.", classes="meaning", markup=False)
            yield Input(self._why, placeholder="crack in the ice", max_length=LONGEST_REASON, compact=True)
            yield Static("Enter: take it     empty: no reason     Esc: leave it", classes="keys", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take it."""
        self.dismiss(event.value.strip())

    def action_leave(self) -> None:
        """Change nothing."""
        self.dismiss(None)
