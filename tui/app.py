"""The terminal put together: link to model to screens. What a screen does belongs to the screen."""

import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.driver import Driver
from textual.screen import Screen

from daemon.errors import ElcanoError
from tui.core.link_state import LinkPhase
from tui.core.model import Model, News
from tui.link import Link, NewsCame
from tui.palette import ActionProvider
from tui.screens.base import ElcanoScreen
from tui.screens.waiting import WaitingScreen
from tui.styles_kept import KeptStylesheet
from tui.tabs import TABS, modes
from tui.terminal import Terminal

_TICK_S = 1.0
_DARK, _LIGHT = "textual-dark", "textual-light"


class ElcanoTerminal(Terminal):
    """A terminal attached to a daemon; several may be, and come and go as they like."""

    TITLE = "Elcano"
    CSS_PATH = "styles/app.tcss"
    MODES: ClassVar[dict[str, str | Callable[[], Screen[None]]]] = modes()
    DEFAULT_MODE = TABS[0].name
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {ActionProvider}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(tab.key, f"open_tab('{tab.name}')", tab.title, show=False) for tab in TABS
    ]

    def __init__(
        self,
        link: Link,
        *,
        clock_s: Callable[[], float] = time.time,
        theme: str = _DARK,
        typed: str = "",
        driver_class: type[Driver] | None = None,
    ) -> None:
        """`typed`: what a person typed before there was anything to see."""
        super().__init__(driver_class=driver_class)
        self.stylesheet = KeptStylesheet(variables=self.get_css_variables())
        self.link = link
        self.clock_s = clock_s
        self.model = Model()
        self.theme = theme
        self.failure: ElcanoError | None = None
        """Why there can be no link at all."""
        self._waiting: WaitingScreen | None = None
        self._typed = typed

    def on_mount(self) -> None:
        """Begin to connect, once something is painted."""
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        self.run_worker(self._follow(), group="link", exit_on_error=True)
        self.set_interval(_TICK_S, self._tick)
        for character in self._typed:
            if character.isprintable():
                self.simulate_key(character)

    async def _follow(self) -> None:
        try:
            await self.link.run(self._deliver)
        except ElcanoError as error:
            self.failure = error
            self.exit()

    def _deliver(self, news: Sequence[News]) -> None:
        self.post_message(NewsCame(news))

    def on_news_came(self, message: NewsCame) -> None:
        """Take a batch, and let the screen draw what it touched."""
        changes = self.model.take(message.news)
        if changes.link:
            self._show_link()
        screen = self._seen_screen()
        if screen is None:
            return
        if changes.link or changes.nodes or changes.queues or changes.notifications:
            screen.draw_bars()
        if changes.resync:
            screen.draw_all()
        else:
            screen.draw_changes(changes)

    def action_open_tab(self, name: str) -> None:
        """Go to a tab, as it was left."""
        if name != self.current_mode and not self.is_modal:
            self.switch_mode(name)

    def toggle_theme(self) -> None:
        """Change between light and dark."""
        self.theme = _LIGHT if self.current_theme.dark else _DARK
        screen = self._seen_screen()
        if screen is not None:
            screen.draw_bars()
            screen.draw_all()

    def copy_out(self, text: str) -> None:
        """Put text on the clipboard, by the terminal's own means (OSC 52), over ssh and tmux too."""
        self.copy_to_clipboard(text)

    @property
    def is_modal(self) -> bool:
        """Whether a question or the help stands before the screen."""
        return not isinstance(self.screen, ElcanoScreen)

    def _tick(self) -> None:
        screen = self._seen_screen()
        if screen is not None:
            screen.draw_time()

    def _seen_screen(self) -> ElcanoScreen | None:
        screens = [screen for screen in self.screen_stack if isinstance(screen, ElcanoScreen)]
        return screens[-1] if screens and screens[-1].is_ready else None

    def _show_link(self) -> None:
        """Before the daemon was ever there, a screen says how to start it; afterwards the banner is enough."""
        link = self.model.link
        is_wanted = link.phase in {LinkPhase.NOT_RUNNING, LinkPhase.REFUSED} and not link.was_connected
        if is_wanted and self._waiting is None:
            self._waiting = WaitingScreen()
            self.push_screen(self._waiting, callback=self._waited)
        elif is_wanted and self._waiting is not None:
            self._waiting.draw()
        elif self._waiting is not None and link.is_connected:
            self._waiting.dismiss()

    def _waited(self, _: None) -> None:
        self._waiting = None
