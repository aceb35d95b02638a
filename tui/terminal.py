"""What screens and widgets may expect of the app, so that none of them needs its module."""

from collections.abc import Callable
from typing import cast

from textual.app import App
from textual.dom import DOMNode

from tui.core.model import Model
from tui.link import Link


class Terminal(App[None]):
    """An app with a model and a link."""

    model: Model
    link: Link
    clock_s: Callable[[], float]

    def stood_s(self) -> float:
        """The moment up to which things are counted: now, or when the connection was lost."""
        return self.model.link.stood_s(self.clock_s())

    def toggle_theme(self) -> None:
        """Change between light and dark."""
        raise NotImplementedError

    def copy_out(self, text: str) -> None:
        """Put text on the clipboard of whoever sits at the terminal."""
        raise NotImplementedError


def terminal_of(node: DOMNode) -> Terminal:
    """Return the app of a screen or widget, by its own type."""
    return cast("Terminal", node.app)
