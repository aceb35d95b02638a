"""The line in which a filter is typed; away while there is none."""

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input


class FilterBar(Input):
    """Filters as it is typed; Enter keeps the filter and goes back to the rows, Escape drops it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "drop", "drop", show=False),
        Binding("down,enter", "keep", "keep", show=False),
    ]

    class Filtered(Message):
        """Another filter is typed."""

        def __init__(self, typed: str) -> None:
            super().__init__()
            self.typed = typed

    class Left(Message):
        """Back to the rows."""

    def __init__(self, hint: str, id: str = "filter") -> None:  # noqa: A002 - Textual's word
        super().__init__(placeholder=hint, id=id, compact=True)
        self.display = False

    def allow_focus(self) -> bool:
        """Nobody types into a line that is not there: a screen that comes up would give it the keys."""
        return super().allow_focus() and self.display

    def begin(self) -> None:
        """Show the line and take the keys."""
        self.display = True
        self.focus()

    def drop(self) -> bool:
        """Drop the filter; False when there is none."""
        had = bool(self.value) or self.display
        self.value = ""
        self.display = False
        return had

    def on_input_changed(self, event: Input.Changed) -> None:
        """Tell what is typed so far."""
        event.stop()
        self.post_message(self.Filtered(event.value))

    def action_drop(self) -> None:
        """Drop the filter and go back."""
        self.drop()
        self.post_message(self.Left())

    def action_keep(self) -> None:
        """Keep the filter and go back."""
        self.display = bool(self.value)
        self.post_message(self.Left())
