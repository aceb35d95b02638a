"""Fixtures every test may use."""

import os

import pytest

# As in daemon/__main__.py: threads that spin while they wait make every other test on the machine slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
