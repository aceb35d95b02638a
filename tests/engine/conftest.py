"""Workshops that are closed after the test, and a meter on reading movies."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.engine.controls import Controls
from daemon.formats.movie import read_movie
from tests.engine.desk import Desk
from tests.engine.workshop import MovieMeter, Workshop


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Callable[..., Workshop]]:
    """Build workshops on the test's folder; one before the next."""
    built: list[Workshop] = []

    def make(**more: Any) -> Workshop:
        if built:
            built.pop().close()
        built.append(Workshop(tmp_path, **more))
        return built[-1]

    yield make
    for workshop in built:
        workshop.close()


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> MovieMeter:
    """Count reads of movies and the bytes they keep alive."""
    meter = MovieMeter()
    monkeypatch.setattr("daemon.engine.inputs.read_movie", meter.wrap(read_movie))
    return meter


@pytest.fixture
def open_desk(build: Callable[..., Workshop]) -> Callable[..., Awaitable[Desk]]:
    """Build a workshop with its session open, and the desk that takes its commands."""

    async def make(**more: Any) -> Desk:
        shop = build(**more)
        await shop.open_session()
        return Desk(shop, Controls(shop.engine))

    return make
