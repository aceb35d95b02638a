"""Which screens there are: a screen takes a module of its own and one line here."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from textual.screen import Screen


@dataclass(frozen=True)
class Tab:
    """A screen that a number key opens; its module is imported when it is first shown."""

    key: str
    name: str
    title: str
    place: str
    """`module:Class` below tui.screens."""

    def build(self) -> Screen[None]:
        """Import and make the screen."""
        module, _, kind = self.place.partition(":")
        screen: Screen[None] = getattr(import_module(f"tui.screens.{module}"), kind)()
        return screen


TABS: tuple[Tab, ...] = (
    Tab("1", "jobs", "Jobs", "jobs:JobsScreen"),
    Tab("2", "import", "Import", "imports:ImportScreen"),
    Tab("3", "live", "Live", "live:LiveScreen"),
    Tab("4", "micrographs", "Micrographs", "micrographs:MicrographsScreen"),
    Tab("5", "curate", "Curate", "curate:CurateScreen"),
    Tab("6", "logs", "Logs", "logs:LogsScreen"),
    Tab("7", "sessions", "Sessions", "sessions:SessionsScreen"),
    Tab("8", "artifacts", "Artifacts", "artifacts:ArtifactsScreen"),
    Tab("9", "nodes", "Nodes", "nodes:NodesScreen"),
)
"""In the order of their keys. One line each."""


def modes() -> dict[str, str | Callable[[], Screen[None]]]:
    """Return the tabs as Textual's modes: each keeps what was opened in it."""
    return {tab.name: tab.build for tab in TABS}
