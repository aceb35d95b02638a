"""How Curate, Live and Nodes look; `pytest tests/tui/test_figures_snapshots.py --snapshot-update` renews them."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.tui.fake_link import FakeLink
from tests.tui.figures_scene import behind, curation, full_beat, live, preview, proof, queues, stage_beats
from tests.tui.scenes import matrix, sessions
from tests.tui.screen_text import settle, until
from tui.app import ElcanoTerminal
from tui.core.model import Queues

Make = Callable[[FakeLink], ElcanoTerminal]
SIZES = [(100, 30), (160, 50)]
NAMES = ["100x30", "160x50"]


@pytest.fixture
def link() -> FakeLink:
    """A daemon that falls behind."""
    answers = {
        "matrix": matrix(),
        "curation": lambda asked: curation(asked["session"]),
        "gates": preview(),
        "live": live(behind()),
        "mount.proof": proof(),
    }
    beats = (full_beat(told=behind()), full_beat("gpu02", age_s=300), *stage_beats())
    return FakeLink(*sessions(), *beats, Queues(queues()), answers=answers)


def pressing(*keys: str) -> Callable[[Any], Any]:
    async def press(pilot: Any) -> None:
        await settle(pilot)
        for key in keys:
            await pilot.press(key)
            await settle(pilot)
        desk = getattr(pilot.app.screen, "desk", None)
        await until(pilot, lambda: desk is None or not desk.moved or desk.exact is not None, "the daemon's word")
        await settle(pilot)

    return press


@pytest.mark.parametrize("size", SIZES, ids=NAMES)
def test_curate(snap_compare: Any, link: FakeLink, terminal: Make, size: tuple[int, int]) -> None:
    moved = pressing("5", "less_than_sign", "n")
    assert snap_compare(terminal(link), terminal_size=size, run_before=moved)


def test_curate_against_another_measure(snap_compare: Any, link: FakeLink, terminal: Make) -> None:
    keys = ("5", "down", "down", "down", "right", "x")
    assert snap_compare(terminal(link), terminal_size=(100, 30), run_before=pressing(*keys))


@pytest.mark.parametrize("size", SIZES, ids=NAMES)
def test_live(snap_compare: Any, link: FakeLink, terminal: Make, size: tuple[int, int]) -> None:
    assert snap_compare(terminal(link), terminal_size=size, run_before=pressing("3"))


@pytest.mark.parametrize("size", SIZES, ids=NAMES)
def test_nodes(snap_compare: Any, link: FakeLink, terminal: Make, size: tuple[int, int]) -> None:
    assert snap_compare(terminal(link), terminal_size=size, run_before=pressing("9"))
