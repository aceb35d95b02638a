"""A form for other parameters of one stage, made from the schema that the daemon tells."""

from collections.abc import Mapping
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from tui.core.forms import changed_values, read_fields
from tui.core.text import show_line


class ParametersScreen(ModalScreen[dict[str, Any] | None]):
    """Returns the values that were changed, none when the form was left; an empty table means: as they are."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "leave"),
        Binding("ctrl+s,f2", "take", "take"),
        Binding("down", "app.focus_next", "next", show=False),
        Binding("up", "app.focus_previous", "previous", show=False),
    ]

    def __init__(self, stage: str, about: str, schema: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        super().__init__()
        self._stage = stage
        self._about = about
        self._fields = read_fields(schema, values)

    def compose(self) -> ComposeResult:
        """One line for each parameter, its meaning below."""
        with Vertical(id="parameters", classes="box tall"):
            yield Static(f"{self._stage} again, {show_line(self._about, 200)}", classes="title", markup=False)
            with VerticalScroll(id="fields"):
                for number, field in enumerate(self._fields):
                    words = ", ".join(filter(None, (" | ".join(map(str, field.choices)), field.bounds)))
                    yield Static(f"{field.key}{f' ({words})' if words else ''}", classes="field", markup=False)
                    yield Input(field.typed, id=f"field-{number}", compact=True)
                    if field.meaning:
                        yield Static(show_line(field.meaning, 300), classes="meaning", markup=False)
            yield Static("", id="trouble", markup=False)
            yield Static("F2 or Ctrl+S: go on     ↑ ↓: fields     Esc: leave it", classes="keys", markup=False)

    def on_mount(self) -> None:
        """The first field takes the keys."""
        fields = self.query(Input)
        if fields:
            fields.first().focus()

    def on_input_submitted(self, _: Input.Submitted) -> None:
        """Enter goes to the next field."""
        self.focus_next()

    def action_leave(self) -> None:
        """Change nothing."""
        self.dismiss(None)

    def action_take(self) -> None:
        """Go back with what was changed; what cannot be read is said."""
        typed = {field.key: self.query_one(f"#field-{n}", Input).value for n, field in enumerate(self._fields)}
        try:
            values = changed_values(self._fields, typed)
        except ValueError as error:
            self.query_one("#trouble", Static).update(show_line(str(error)))
        else:
            self.dismiss(values)
