"""Before the daemon is there, and after it is gone."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.tui.fake_link import NOT_RUNNING, FakeLink, connected
from tests.tui.scenes import sessions
from tests.tui.screen_text import settle, shown
from tui.app import ElcanoTerminal
from tui.core.link_state import LinkPhase

pytestmark = pytest.mark.anyio
Make = Callable[[FakeLink], ElcanoTerminal]


async def test_without_a_daemon_it_says_how_to_start_one_and_goes_on_by_itself(terminal: Make) -> None:
    link = FakeLink(state=NOT_RUNNING)
    app = terminal(link)
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        text = shown(app)
        assert "No elcano daemon answers at /var/lib/elcano." in text
        # It can be copied as it stands: the same configuration, from whatever folder.
        assert "elcano run --config '/etc/elcano/night 2.toml'" in text
        link.push(connected(), *sessions())
        await settle(pilot)
        assert "elcano run" not in shown(app)
        assert "24dec03a" in shown(app)


async def test_without_a_configuration_none_is_made_up(terminal: Make) -> None:
    app = terminal(FakeLink(state=replace(NOT_RUNNING, config="")))
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        assert "elcano run " in shown(app).replace("\n", " ")
        assert "elcano run --config" not in shown(app)


async def test_wrong_credentials_are_said_in_one_sentence(terminal: Make) -> None:
    refused = replace(
        NOT_RUNNING,
        phase=LinkPhase.REFUSED,
        message="NATS at nats://[host]:4222 does not accept these credentials.",
        hint="Check [bus] credentials in config.toml.",
    )
    app = terminal(FakeLink(state=refused))
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        assert "NATS at nats://[host]:4222 does not accept these credentials." in shown(app)
        assert "Check [bus]" in shown(app)
        await pilot.press("q")
    assert app.return_code == 0


async def test_a_daemon_that_goes_away_leaves_what_was_known_and_a_banner(link: FakeLink, terminal: Make) -> None:
    app = terminal(link)
    async with app.run_test(size=(60, 20), notifications=True) as pilot:
        await settle(pilot)
        link.push(replace(NOT_RUNNING, phase=LinkPhase.LOST, was_connected=True))
        await settle(pilot)
        assert "connection lost" in shown(app)
        assert "24dec03a" in shown(app)
        assert "elcano run --config" not in shown(app)
