"""How Import, Sessions and Artifacts look, at two sizes; `--snapshot-update` renews the pictures."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.tui.facility_scenes import ANSWERS
from tests.tui.fake_link import FakeLink
from tests.tui.scenes import heartbeat, sessions
from tests.tui.test_artifacts import slice_of
from tests.tui.test_imports import rested, walk
from tui.app import ElcanoTerminal

Make = Callable[[FakeLink], ElcanoTerminal]
sizes = pytest.mark.parametrize("size", [(100, 30), (160, 50)], ids=["100x30", "160x50"])


@pytest.fixture
def link() -> FakeLink:
    return FakeLink(*sessions(), heartbeat(), answers={**ANSWERS, "artifact.slice": slice_of})


def pressing(*keys: str, until: str) -> Callable[[Any], Any]:
    async def press(pilot: Any) -> None:
        await walk(pilot, *keys)
        await rested(pilot, until)

    return press


@sizes
def test_import(snap_compare: Any, link: FakeLink, terminal: Make, size: tuple[int, int]) -> None:
    before = pressing("2", "enter", "down", "down", until="1200 exposures")
    assert snap_compare(terminal(link), terminal_size=size, run_before=before)


def test_import_question(snap_compare: Any, link: FakeLink, terminal: Make) -> None:
    before = pressing("2", "enter", "down", "down", "i", until="IMPORT DATA: take")
    assert snap_compare(terminal(link), terminal_size=(100, 30), run_before=before)


@sizes
def test_sessions(snap_compare: Any, link: FakeLink, terminal: Make, size: tuple[int, int]) -> None:
    before = pressing("7", "down", *["right"] * 8, "down", until="tilt series")
    assert snap_compare(terminal(link), terminal_size=size, run_before=before)


@sizes
def test_artifacts(snap_compare: Any, link: FakeLink, terminal: Make, size: tuple[int, int]) -> None:
    before = pressing("8", "down", "enter", "down", until="rlnMicrographShiftX")
    assert snap_compare(terminal(link), terminal_size=size, run_before=before)


def test_artifacts_by_kind(snap_compare: Any, link: FakeLink, terminal: Make) -> None:
    assert snap_compare(terminal(link), terminal_size=(100, 30), run_before=pressing("8", until="motion_star"))
