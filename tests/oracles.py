"""Programs of other people that results are compared with: found, or the test is skipped with the reason.

Where ELCANO_REQUIRE_ORACLES is 1 a missing program fails the test: what is promised there must not be skipped.
"""

import os
import shutil

import pytest


def find_program(name: str, package: str) -> str:
    """Return the path of a program; skip the test, or fail it, where it is not installed."""
    found = shutil.which(name)
    if found is not None:
        return found
    reason = f"{name} is not installed (Debian package {package})"
    if os.environ.get("ELCANO_REQUIRE_ORACLES") == "1":
        pytest.fail(f"{reason}, and ELCANO_REQUIRE_ORACLES=1 says that it must be")
    pytest.skip(reason)
