"""The command palette: every action of the screen, and every tab, found by typing."""

from collections.abc import Iterator
from functools import partial

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.types import IgnoreReturnCallbackType

from tui.actions import actions_of, why_not
from tui.screens.base import ElcanoScreen
from tui.tabs import TABS
from tui.terminal import terminal_of


class ActionProvider(Provider):
    """Reads the one registry of actions."""

    async def discover(self) -> Hits:
        """Name everything."""
        for title, words, run in self._entries():
            yield DiscoveryHit(title, run, text=title, help=words)

    async def search(self, query: str) -> Hits:
        """Name what fits what was typed."""
        matcher = self.matcher(query)
        for title, words, run in self._entries():
            score = max(matcher.match(title), 0.5 * matcher.match(words))
            if score > 0:
                yield Hit(score, matcher.highlight(title), run, text=title, help=words)

    def _entries(self) -> Iterator[tuple[str, str, IgnoreReturnCallbackType]]:
        screen = self.screen
        if isinstance(screen, ElcanoScreen):
            link = terminal_of(screen).model.link
            for action in actions_of(screen.NAME):
                reason = why_not(action, is_viewer=link.is_viewer, is_connected=link.is_connected)
                yield (
                    f"{action.label} ({action.key_words})",
                    reason or action.help,
                    partial(screen.action_act, action.name),
                )
        for tab in TABS:
            yield f"{tab.title} ({tab.key})", "Go to this screen.", partial(self.app.switch_mode, tab.name)
