"""The reading pace: none, or fast enough not to pass for a mount that hangs."""

import pytest
from pydantic import ValidationError

from daemon.config.schema import LimitsSettings


@pytest.mark.parametrize("value", [0.0, 10.0, 5000.0])
def test_a_pace_that_works(value: float) -> None:
    assert LimitsSettings(read_mib_per_s=value).read_mib_per_s == value


@pytest.mark.parametrize("value", [-1.0, 0.5, 9.9])
def test_a_pace_that_does_not(value: float) -> None:
    with pytest.raises(ValidationError, match=r"10|greater"):
        LimitsSettings(read_mib_per_s=value)
