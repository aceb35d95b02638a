"""The sessions that fault tests process."""

from pathlib import Path

import pytest

from benchmarks.rig.sessions import QUICK, prepare_session


@pytest.fixture(scope="session")
def quick_session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of each format, as small as can be."""
    return prepare_session(tmp_path_factory.getbasetemp(), QUICK)
