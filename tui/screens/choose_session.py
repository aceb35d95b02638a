"""Choosing one session of many."""

from collections.abc import Callable, Mapping
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tui.screens.base import ElcanoScreen


class ChooseSessionScreen(ModalScreen[str | None]):
    """Returns the name that was chosen, none when it was left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "leave"),
        Binding("down", "move(1)", "down", show=False, priority=True),
        Binding("up", "move(-1)", "up", show=False, priority=True),
    ]

    def __init__(self, called: Mapping[str, str], chosen: str | None) -> None:
        """`called` says what each session is called, by its name."""
        super().__init__()
        self._called = called
        self._chosen = chosen
        self._shown: list[str] = []

    def compose(self) -> ComposeResult:
        """A line to narrow it down, and the names."""
        with Vertical(classes="box"):
            yield Static("Which session?", classes="title", markup=False)
            yield Input(placeholder="type a part of its title or name", compact=True)
            yield OptionList()
            yield Static("Enter: choose     ↑ ↓: move     Esc: leave it", classes="keys", markup=False)

    def on_mount(self) -> None:
        """Every session, the chosen one under the cursor."""
        self._show("")
        self.query_one(Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Narrow it down as it is typed."""
        self._show(event.value)

    def on_input_submitted(self, _: Input.Submitted) -> None:
        """Take what is under the cursor."""
        place = self.query_one(OptionList).highlighted
        if place is not None:
            self.dismiss(self._shown[place])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Take what was clicked."""
        self.dismiss(self._shown[event.option_index])

    def action_move(self, step: int) -> None:
        """Move the cursor while the line keeps the keys."""
        options = self.query_one(OptionList)
        if step > 0:
            options.action_cursor_down()
        else:
            options.action_cursor_up()

    def action_leave(self) -> None:
        """Choose nothing."""
        self.dismiss(None)

    def _show(self, typed: str) -> None:
        self._shown = [name for name, called in self._called.items() if typed.lower() in called.lower()]
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options(Option(Text(self._called[name])) for name in self._shown)
        if self._shown:
            options.highlighted = self._shown.index(self._chosen) if self._chosen in self._shown else 0


def choose_session(screen: ElcanoScreen, then: Callable[[], None]) -> None:
    """Let a person choose the session that all screens of one session are about; then draw it."""
    model = screen.model

    def take(name: str | None) -> None:
        if name is not None:
            model.choose(name)
            then()

    called = {name: model.call(name) for name in model.session_names()}
    if not called:
        screen.tell("No session has been imported yet: 2 (Import), or `elcano import DIR`, brings one.")
        return
    screen.app.push_screen(ChooseSessionScreen(called, model.chosen_session()), take)
