"""What every screen has: top bar, banner, line of keys; the way from a key to an action; asking the daemon."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ClassVar, cast

from textual.app import ComposeResult
from textual.screen import Screen
from textual.widget import Widget

from daemon.errors import ElcanoError
from tui.actions import action_named, bindings_of, why_not
from tui.core.model import Changes, Model
from tui.core.text import show_line
from tui.terminal import Terminal, terminal_of
from tui.widgets.banner import Banner
from tui.widgets.key_bar import KeyBar
from tui.widgets.top_bar import TopBar


class ElcanoScreen(Screen[None]):
    """Base of the screens. A subclass sets NAME, yields its widgets in `compose_body`, and draws when told of changes.

    For each action of tui.actions that names the screen there is a method `do_<name>`.
    """

    NAME: ClassVar[str] = ""
    FOLLOWS: ClassVar[bool] = False
    """Whether all that is shown comes as news, also while another screen is seen; else it is asked for when seen."""
    _is_built = False
    _asked_until_s: float | None = None
    """When the screen was seen last while there was a connection; infinity while that lasts."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Take the bindings of the actions that name the screen."""
        cls.BINDINGS = [*bindings_of(cls.NAME), *cls.__dict__.get("BINDINGS", ())]
        super().__init_subclass__(**kwargs)

    @property
    def terminal(self) -> Terminal:
        """The app, by its own type."""
        return terminal_of(self)

    @property
    def model(self) -> Model:
        """What the terminal knows."""
        return self.terminal.model

    @property
    def is_ready(self) -> bool:
        """Whether there is something to draw on: news and answers may come before that, and while it is taken away."""
        return self._is_built and not self._pruning

    def compose(self) -> ComposeResult:
        """Bars around the body."""
        yield TopBar()
        yield Banner()
        yield from self.compose_body()
        yield KeyBar()

    def compose_body(self) -> ComposeResult:
        """Yield what the screen shows."""
        yield from ()

    def draw_changes(self, changes: Changes) -> None:
        """Draw what a batch of news touched; at most five times a second."""

    def draw_time(self) -> None:
        """Draw what changes with the clock alone; once a second."""

    def draw_all(self) -> None:
        """Draw everything; when the screen is shown, and after each new connection."""

    def on_mount(self) -> None:
        """The widgets are there: from now on the screen can be drawn."""
        self._is_built = True  # and Textual goes on to say that the screen is seen

    def on_unmount(self) -> None:
        """The widgets are gone."""
        self._is_built = False

    def on_screen_resume(self) -> None:
        """The screen is seen again: news came meanwhile."""
        if self.is_ready:
            self.draw_bars()
            self.draw_all()

    def on_screen_suspend(self) -> None:
        """Another one is seen: what is not asked for any more is getting old."""
        if self.model.link.is_connected:
            self._asked_until_s = self.terminal.clock_s()

    def stands_since_s(self) -> float | None:
        """When that was which is shown while there is no connection; None where nothing was asked for before."""
        if self.FOLLOWS or self._asked_until_s is None:
            return self.model.link.since_s if self.FOLLOWS else None
        return min(self._asked_until_s, self.model.link.since_s)

    def draw_bars(self) -> None:
        """Draw the bars of the screen."""
        if self.model.link.is_connected:
            self._asked_until_s = float("inf")
        for bar in self.query("TopBar, Banner, KeyBar").results(Widget):
            cast("TopBar | Banner | KeyBar", bar).draw()

    def action_act(self, name: str) -> None:
        """Do what a key, the palette or the help names, if this person may; else say why not."""
        action = action_named(name)
        link = self.model.link
        reason = why_not(action, is_viewer=link.is_viewer, is_connected=link.is_connected)
        if reason:
            self.tell(reason, is_trouble=True)
            return
        getattr(self, f"do_{name}")()

    def do_back(self) -> None:
        """Leave this screen; the first of a tab stays."""
        if len(self.app.screen_stack) > 1:
            self.app.pop_screen()

    def do_help(self) -> None:
        """Show every key."""
        from tui.screens.help import HelpScreen  # noqa: PLC0415

        self.app.push_screen(HelpScreen(self.NAME))

    def do_theme(self) -> None:
        """Change between light and dark."""
        self.terminal.toggle_theme()

    def do_leave(self) -> None:
        """Leave the terminal."""
        self.app.exit()

    def tell(self, words: str, *, is_trouble: bool = False) -> None:
        """Say something in passing."""
        self.app.notify(
            show_line(words, 500), severity="warning" if is_trouble else "information", markup=False, timeout=6.0
        )

    def ask_then(
        self, name: str, arguments: Mapping[str, Any], then: Callable[[Any], None], *, timeout_s: float = 30.0
    ) -> None:
        """Ask the daemon beside everything else, and do something with the answer; a refusal is told."""

        async def ask() -> None:
            try:
                data = await self.terminal.link.ask(name, arguments, timeout_s=timeout_s)
            except ElcanoError as error:
                self.tell(str(error), is_trouble=True)
                return
            if self.is_ready:
                then(data)

        self.run_beside(ask)

    def command(
        self, name: str, arguments: Mapping[str, Any], told: Callable[[Any], str], *, timeout_s: float = 120.0
    ) -> None:
        """Have the daemon do something, say what came of it, and draw what it changed."""

        def done(data: Any) -> None:
            self.tell(told(data))
            self.draw_all()

        self.ask_then(name, arguments, done, timeout_s=timeout_s)

    def confirm(self, question: str, details: list[str], then: Callable[[], None]) -> None:
        """Ask before something is done; the question says how many are meant."""
        from tui.screens.confirm import ConfirmScreen  # noqa: PLC0415

        def decided(answer: bool | None) -> None:
            if answer:
                then()

        self.app.push_screen(ConfirmScreen(question, details), decided)

    def run_beside(self, work: Callable[[], Coroutine[Any, Any, None]], *, group: str = "asking") -> None:
        """Run a coroutine beside the screen; it ends with it."""
        self.run_worker(work(), group=group)

    def run_latest(self, work: Callable[[], Coroutine[Any, Any, None]], *, group: str) -> None:
        """Likewise, in place of what still runs of that group: only its latest answer is wanted."""
        # Handed over unstarted: a coroutine that is replaced before it began would never be awaited.
        self.run_worker(cast("Any", work), group=group, exclusive=True)
