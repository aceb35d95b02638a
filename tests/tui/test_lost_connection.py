"""A connection that is lost: what is shown stands still, says from when it is, and what to do is not cut off."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.tui.fake_link import FakeLink, connected
from tests.tui.figures_scene import live, pause, queues
from tests.tui.scenes import NOW_S, heartbeat, sessions, summary
from tests.tui.screen_text import settle, shown
from tui.app import ElcanoTerminal
from tui.core.link_state import LinkPhase
from tui.core.model import Queues

pytestmark = pytest.mark.anyio


@dataclass
class Hands:
    """Time that moves only when told."""

    now_s: float = NOW_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Hands:
    return Hands()


def lost(at_s: float) -> Any:
    return replace(
        connected(),
        phase=LinkPhase.LOST,
        since_s=at_s,
        message="NATS cannot be reached at nats://127.0.0.1:40001.",
        hint="`elcano status` tells whether the daemon runs, `elcano run` starts it.",
    )


async def test_a_screen_says_from_when_its_figures_are(clock: Hands) -> None:
    link = FakeLink(*sessions(), heartbeat(), answers={"live": live()})
    app = ElcanoTerminal(link, clock_s=clock)
    async with app.run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        await pilot.press("3")
        await settle(pilot)
        assert "✓ keeping up" in shown(app)
        await pilot.press("1")
        await settle(pilot)
        clock.now_s += 420.0
        link.push(lost(clock.now_s))
        clock.now_s += 60.0
        await settle(pilot)
        lines = shown(app).splitlines()
        assert "connection lost, trying again since 14:20:20; what is shown stood then." in lines[1]
        whole = " ".join(line.strip() for line in lines[1:4])
        assert "NATS cannot be reached at nats://127.0.0.1:40001." in whole
        assert "`elcano status` tells whether the daemon runs, `elcano run` starts it." in whole
        await pilot.press("3")
        await settle(pilot)
        assert "what is shown is of 14:13:20." in shown(app)
        assert "✓ keeping up" not in shown(app)
        assert "? not known now: these figures are of" in shown(app)
        await pilot.press("7")
        await settle(pilot)
        assert "nothing of this screen was asked for before" in shown(app).replace("\n   ", " ")
        await pilot.press("9")
        await settle(pilot)
        assert "? not known now" in shown(app)
        assert "alive" not in shown(app)
        link.push(connected(connections=2))
        await settle(pilot)
        assert "not known" not in shown(app)


async def test_nothing_goes_on_counting(clock: Hands) -> None:
    link = FakeLink(heartbeat())
    app = ElcanoTerminal(link, clock_s=clock)
    async with app.run_test(size=(160, 50)) as pilot:
        await settle(pilot)
        steps = {"fft": {"completed": 12, "pending": 20}}
        link.push(summary(steps=steps, started_s=NOW_S - 60, processed_lately=[0] * 9 + [12, 0]))
        clock.now_s += 120.0
        await settle(pilot)
        link.push(lost(clock.now_s))
        await settle(pilot)
        before = shown(app)
        assert "216" in before, "movies an hour"
        assert "3 min" in before
        clock.now_s += 900.0
        app.screen.draw_time()  # type: ignore[attr-defined]
        await settle(pilot)
        assert shown(app) == before


@pytest.mark.parametrize("width", [60, 100])
async def test_what_has_no_room_in_the_banner_is_said_to_be_cut(clock: Hands, width: int) -> None:
    paused = Queues(queues() | {"paused": [pause(why="because " + 60 * "of it ")]})
    link = FakeLink(*sessions(), paused)
    app = ElcanoTerminal(link, clock_s=clock)
    async with app.run_test(size=(width, 20)) as pilot:
        await settle(pilot)
        line = next(line for line in shown(app).splitlines() if "‖ paused" in line)
        assert line.endswith("…")
        assert len(line) == width
        link.push(replace(lost(clock.now_s), message="A cause " + 80 * "that goes on "))
        await settle(pilot)
        assert any(line.endswith(" …") for line in shown(app).splitlines()[1:4])
