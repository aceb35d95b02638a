"""Styles that are parsed once: Textual has all of them parsed again for each screen that is shown first."""

from textual.css.stylesheet import Stylesheet


class KeptStylesheet(Stylesheet):
    """Parses anew what was parsed with other colours, and what is new."""

    def set_variables(self, variables: dict[str, str]) -> None:
        """Take colours; the same ones change nothing."""
        if variables != self._variables:
            super().set_variables(variables)

    def reparse(self) -> None:
        """Parse what is not parsed yet."""
        self.parse()
