"""Fixtures of the bus tests: a real nats-server wherever one is needed."""

from pathlib import Path

import pytest

from daemon.bus.settings import BusSettings
from tests.bus.fakes import settings_in


@pytest.fixture
def settings(tmp_path: Path) -> BusSettings:
    return settings_in(tmp_path)
