"""What comes before there is a link: the first line is painted, keys are kept, and what is wrong ends it in words."""

import threading
from collections.abc import Callable

import pytest

from daemon.errors import BusUnavailable, ConfigurationInvalid, Problem
from tests.tui.fake_link import FakeLink
from tests.tui.screen_text import settle, shown, until
from tui.app import ElcanoTerminal
from tui.link import LateLink, Link
from tui.styles_kept import KeptStylesheet

pytestmark = pytest.mark.anyio
Make = Callable[[FakeLink], ElcanoTerminal]


async def test_it_is_painted_before_the_daemon_is_looked_for(link: FakeLink) -> None:
    painted = threading.Event()

    def find() -> Link:
        assert painted.wait(60)
        return link

    app = ElcanoTerminal(LateLink(find))
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await until(pilot, lambda: "[1 Jobs]" in shown(app), "the first line")
        with pytest.raises(BusUnavailable, match="no connection"):
            await app.link.ask("queues")
        painted.set()
        await until(pilot, lambda: "24dec03a" in shown(app), "a session")
        assert await app.link.ask("queues") == {"paused": []}


async def test_what_cannot_be_found_ends_the_terminal_with_the_reason() -> None:
    def find() -> Link:
        raise ConfigurationInvalid("config.toml", [Problem("paths.home", "is missing")])

    app = ElcanoTerminal(LateLink(find))
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: app.failure is not None, "the end")
    assert "paths.home" in str(app.failure)


async def test_what_was_typed_before_it_was_up_is_not_lost(link: FakeLink) -> None:
    app = ElcanoTerminal(link, typed="\x072")
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await until(pilot, lambda: app.current_mode == "import", "the second tab")


async def test_styles_are_parsed_once_for_each_theme(link: FakeLink, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    parse = KeptStylesheet._parse_rules

    def counted(self: KeptStylesheet, css: str, *more: object, **named: object) -> object:
        rules = parse(self, css, *more, **named)  # type: ignore[arg-type]
        if id(rules) not in seen:
            parsed.append(css)
        seen.add(id(rules))
        return rules

    seen: set[int] = set()
    monkeypatch.setattr(KeptStylesheet, "_parse_rules", counted)
    app = ElcanoTerminal(link)
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        ours = next(css for css in parsed if "TopBar" in css)
        for key in "2341":
            await pilot.press(key)
            await settle(pilot)
        assert parsed.count(ours) == 1
        before = app.screen.styles.background
        await pilot.press("ctrl+t")
        await settle(pilot)
        assert parsed.count(ours) == 2
        assert app.screen.styles.background != before
