"""Desks that are closed after the test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sessions.desk import Desk


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """Build desks on the test's folder; one before the next."""
    built: list[Desk] = []

    def make(**more: Any) -> Desk:
        if built:
            built.pop().close()
        built.append(Desk(tmp_path, **more))
        return built[-1]

    yield make
    for desk in built:
        desk.close()
