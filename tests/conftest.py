"""Fixtures every test may use."""

import os
from pathlib import Path

import pytest

from daemon.engine.kernel_store import KernelStore

# As in daemon/__main__.py: threads that spin while they wait make every other test on the machine slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Beside the compiled modules: a daemon keeps kernels in its state, and would compile them anew in every test.
KernelStore(Path(__file__).parents[1] / "daemon" / "numerics" / "kernels" / "__pycache__").keep()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
