"""A terminal in the test's own process, at a frozen time."""

from collections.abc import Callable

import pytest

from tests.tui.fake_link import FakeLink
from tests.tui.scenes import NOW_S, heartbeat, matrix, sessions
from tui.app import ElcanoTerminal


@pytest.fixture(autouse=True)
def one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same clock face and colours everywhere."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")
    monkeypatch.delenv("NO_COLOR", raising=False)
    __import__("time").tzset()


@pytest.fixture
def link() -> FakeLink:
    """A daemon with four sessions."""
    return FakeLink(*sessions(), heartbeat(), answers={"matrix": matrix()})


@pytest.fixture
def terminal() -> Callable[[FakeLink], ElcanoTerminal]:
    """Make a terminal over a link."""
    return lambda link: ElcanoTerminal(link, clock_s=lambda: NOW_S)
