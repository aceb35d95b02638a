"""The reading pace: none, or fast enough not to pass for a mount that hangs."""

import pytest
from pydantic import ValidationError

from daemon.config.problems import allowed, unit_of
from daemon.config.schema import LimitsSettings


@pytest.mark.parametrize("value", [0.0, 10.0, 5000.0])
def test_a_pace_that_works(value: float) -> None:
    assert LimitsSettings(read_mib_per_s=value).read_mib_per_s == value


@pytest.mark.parametrize("value", [-1.0, 0.5, 9.9])
def test_a_pace_that_does_not(value: float) -> None:
    with pytest.raises(ValidationError, match=r"10|greater"):
        LimitsSettings(read_mib_per_s=value)


def test_a_pace_is_told_in_its_own_unit_with_the_gap_below_the_slowest() -> None:
    assert unit_of("read_mib_per_s") == "MiB/s"
    field = LimitsSettings.model_fields["read_mib_per_s"]
    assert allowed("read_mib_per_s", field) == "0, or 10 to 1048576 MiB/s"
