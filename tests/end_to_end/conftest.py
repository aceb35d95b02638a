"""The sessions that end-to-end tests process."""

from pathlib import Path

import pytest

from benchmarks.rig.sessions import QUICK, TELLING, prepare_session


@pytest.fixture(scope="session")
def telling_session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One MRC, one TIFF, one EER whose motion and defocus can be measured."""
    return prepare_session(tmp_path_factory.getbasetemp(), TELLING)


@pytest.fixture(scope="session")
def quick_session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of each format, as small as can be."""
    return prepare_session(tmp_path_factory.getbasetemp(), QUICK)
