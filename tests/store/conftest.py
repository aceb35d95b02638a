"""A fresh store for each test, with a clock that the test sets."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.store.store import Store
from tests.store.records import METRICS, NOW_S


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with Store.open(tmp_path / "elcano.duckdb", metrics=METRICS, clock=clock) as opened:
        yield opened
